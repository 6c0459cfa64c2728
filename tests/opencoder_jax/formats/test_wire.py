import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencoder_jax.formats.example import RecordError, decode_example, encode_example
from opencoder_jax.formats.packed import ARRAYS, decode_arrays
from opencoder_jax.formats.wire import int64_lists, varints

SLOW_MACHINE = [HealthCheck.too_slow]
int32 = st.integers(0, 2**31 - 1)
small = st.integers(0, 300)
lists = st.lists(st.one_of(small, int32), max_size=40)


def as_protobuf_reads(record, names):
    """int32 arrays of the named features, or None where that cannot be said of a record."""
    try:
        stored = decode_example(record)
        return {name: np.asarray(stored[name], np.int32) for name in names}
    except (RecordError, KeyError, ValueError, OverflowError, UnicodeDecodeError):
        return None


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW_MACHINE)
@given(lists, lists)
def test_lists_are_what_protobuf_reads(first, second):
    record = encode_example({"first": first, "second": second, "name": "text", "rate": [0.5]})

    found = int64_lists(record, ["first", "second"])

    assert found is not None
    assert found["first"].tolist() == first
    assert found["second"].tolist() == second
    assert found["first"].dtype == np.int32


@settings(max_examples=500, deadline=None, suppress_health_check=SLOW_MACHINE)
@given(st.data())
def test_a_damaged_record_is_never_read_as_something_else(data):
    record = bytearray(encode_example({"first": data.draw(lists), "second": data.draw(lists)}))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(record) - 1))
        record[place] = data.draw(st.integers(0, 255))
    del record[data.draw(st.integers(0, len(record))) :]

    found = int64_lists(bytes(record), ["first", "second"])

    if found is not None:
        expected = as_protobuf_reads(bytes(record), ["first", "second"])
        assert expected is not None
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("wrong", [[-1], [2**31], [2**40], [0.5], ["a"]])
def test_what_is_no_int32_is_left_to_the_other_decoder(wrong):
    assert int64_lists(encode_example({"a": wrong}), ["a"]) is None


def test_a_feature_that_is_not_there_is_left_to_the_other_decoder():
    assert int64_lists(encode_example({"a": [1]}), ["a", "b"]) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": [-7, 2]}, None),
        ({"tokens": [2**31, 2]}, "no int32"),
        ({"tokens": ["a", "b"]}, "no int32"),
        ({"tokens": [1]}, "differ in length"),
        ({"tokens": None}, r"without \['tokens'\]"),
    ],
)
def test_arrays_that_are_not_plain_are_read_or_refused(change, message):
    features = {name: [1, 2] for name in ARRAYS} | change
    record = encode_example({name: value for name, value in features.items() if value})

    if message is None:
        assert decode_arrays(record)["tokens"].tolist() == change["tokens"]
        return
    with pytest.raises(RecordError, match=message):
        decode_arrays(record)


def test_a_run_of_varints_that_is_cut_short_is_refused():
    with pytest.raises(ValueError, match="cut short"):
        varints(np.array([1, 0x80], np.uint8))
    assert varints(np.array([0x80, 0x80, 1, 5], np.uint8)).tolist() == [1 << 14, 5]


def field(tag, content):
    """A length-delimited field; everything here is shorter than 128 bytes."""
    return bytes([tag, len(content)]) + content


def entry(name, values, more=b""):
    return field(0x0A, field(0x0A, name) + field(0x12, field(0x1A, field(0x0A, values))) + more)


def test_records_that_only_look_plain_are_left_to_the_other_decoder():
    """All of them are what protobuf accepts, with a meaning of its own, or refuses."""
    plain = field(0x0A, entry(b"a", b"\x01\x02"))
    assert int64_lists(plain, ["a"])["a"].tolist() == [1, 2]

    twice = field(0x0A, entry(b"a", b"\x01\x02") + entry(b"a", b"\x03"))
    replaced = field(0x12, field(0x1A, field(0x0A, b"\x07")))
    other_value = field(0x0A, entry(b"a", b"\x01\x02", more=replaced))
    reaches_out = bytearray(field(0x0A, entry(b"a", b"\x01\x02") + entry(b"b", b"\x03")))
    reaches_out[reaches_out.index(b"\x01\x02") - 1] += 2
    for record in (twice, other_value, bytes(reaches_out), plain + plain):
        assert int64_lists(record, ["a"]) is None
    assert decode_example(twice)["a"] == [3]
