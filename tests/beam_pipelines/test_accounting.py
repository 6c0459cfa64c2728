"""Accounting: drops survive being written, and a sum that does not come out is an error."""

import pytest

from beam_pipelines.accounting import (
    AccountingError,
    Drop,
    check_equal,
    conservation,
    decode_drop,
    encode_drop,
)
from opencoder_jax.formats.document import Document, encode_document
from opencoder_jax.formats.example import RecordError

DROP = Drop("0" * 32, "repo", "a/b.py", "python", "rule", "qsc_code_num_words", 29.0, "< 30")


def test_a_drop_read_back_is_the_drop_written() -> None:
    assert decode_drop(encode_drop(DROP)) == DROP


def test_a_value_keeps_all_its_digits() -> None:
    drop = Drop("0" * 32, "repo", "a.py", "python", "near_duplicate", value=0.9785720620877001)
    assert decode_drop(encode_drop(drop)).value == 0.9785720620877001


def test_a_drop_without_a_value_has_none() -> None:
    drop = Drop("0" * 32, "repo", "a.py", "python", "empty")
    assert decode_drop(encode_drop(drop)) == drop


def test_another_record_is_no_drop() -> None:
    with pytest.raises(RecordError, match="not a drop record"):
        decode_drop(encode_document(Document(id="1", text="", repo="r", path="p")))


def test_input_equals_output_plus_drops() -> None:
    counts = conservation(10, 7, {"empty": 1, "binary": 2})
    assert counts == {"input": 10, "output": 7, "dropped": {"binary": 2, "empty": 1}}


@pytest.mark.parametrize(("output", "missing"), [(6, r"\+1"), (8, "-1")])
def test_lost_and_invented_documents_are_errors(output: int, missing: str) -> None:
    with pytest.raises(AccountingError, match=f"empty 3.*{missing} unaccounted"):
        conservation(10, output, {"empty": 3})


def test_two_ways_of_counting_must_agree() -> None:
    check_equal("documents", 3, 3, "Beam")
    with pytest.raises(AccountingError, match="documents: 3 were written, Beam counts 4"):
        check_equal("documents", 3, 4, "Beam")
