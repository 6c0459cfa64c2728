import pytest

from opencoder_jax.formats.document import Document, encode_document
from opencoder_jax.formats.example import RecordError
from opencoder_jax.formats.judged import Judged, decode_judged, encode_judged

JUDGED = Judged(
    id="0" * 32,
    repo="r",
    path="päth\n.py",
    language="python",
    doc_type="code",
    human_language="en",
    size_bytes=1 << 40,
    table="python",
    kept=False,
    signals='{"a": 0.1, "b": null}',
    violations='[{"signal": "a", "value": 0.1, "threshold": "< 1"}]',
)


def test_a_record_gives_back_what_was_encoded():
    again = decode_judged(encode_judged(JUDGED))
    assert again == JUDGED
    assert again.kept is False
    assert again.values() == {"a": 0.1, "b": None}
    assert again.violated()[0]["threshold"] == "< 1"


def test_another_kind_of_record_is_named_by_what_it_lacks():
    document = encode_document(Document(id="1", text="x", repo="r", path="p"))
    with pytest.raises(RecordError, match="judged document: without one 'human_language'"):
        decode_judged(document)
