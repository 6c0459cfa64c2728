import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencoder_jax.formats.document import Document, decode_document, encode_document
from opencoder_jax.formats.example import RecordError, decode_example, encode_example

FEATURES = st.dictionaries(
    st.text(min_size=1),
    st.one_of(
        st.lists(st.binary(), min_size=1),
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
        st.lists(st.floats(width=32, allow_nan=False), min_size=1),
    ),
)


@given(FEATURES)
def test_decoding_gives_back_what_was_encoded(features):
    assert decode_example(encode_example(features)) == features


@given(FEATURES)
def test_the_order_of_features_does_not_change_the_bytes(features):
    backwards = dict(reversed(features.items()))
    assert encode_example(backwards) == encode_example(features)


def test_tensorflow_reads_our_records_and_we_read_its():
    # A process of its own: TensorFlow takes seconds and a gigabyte to import.
    import subprocess
    import sys

    program = """
import numpy as np, tensorflow as tf
from opencoder_jax.formats.example import decode_example, encode_example
ours = encode_example({"text": "naïve", "ids": np.arange(5), "x": [0.5]})
theirs = tf.train.Example.FromString(ours)
assert theirs.features.feature["text"].bytes_list.value[0].decode() == "naïve"
assert list(theirs.features.feature["ids"].int64_list.value) == [0, 1, 2, 3, 4]
assert list(theirs.features.feature["x"].float_list.value) == [0.5]
assert decode_example(theirs.SerializeToString())["ids"] == [0, 1, 2, 3, 4]
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_garbage_is_refused_with_its_size():
    with pytest.raises(RecordError, match=r"not a tf\.train\.Example \(7 bytes\)"):
        decode_example(b"\xff" * 7)


def test_a_value_without_a_feature_type_is_refused_by_name():
    with pytest.raises(TypeError, match="'when'"):
        encode_example({"when": [object()]})


def test_a_document_survives_its_record():
    document = Document(
        id="0" * 32, text="é\0\n\u2581", repo="r", path="a b.py", stars=7, commit_time=2**40
    )
    assert decode_document(encode_document(document)) == document


def test_a_document_record_that_lacks_a_feature_names_it():
    features = decode_example(encode_document(Document(id="a", text="t", repo="r", path="p")))
    del features["licence"]
    with pytest.raises(RecordError, match="'licence'"):
        decode_document(encode_example(features))


def test_text_that_is_no_utf8_is_refused_by_name():
    features = decode_example(encode_document(Document(id="a", text="t", repo="r", path="p")))
    features["text"] = [b"\xff\xfe"]
    with pytest.raises(RecordError, match="'text' is no UTF-8"):
        decode_document(encode_example(features))


def test_numpy_integers_become_int64_lists():
    assert decode_example(encode_example({"a": np.int32([1, 2])})) == {"a": [1, 2]}
