"""The integer lists of a `tf.train.Example`, straight from its bytes into numpy.

protobuf makes a Python int of every value: a millisecond for a sequence of 4,096 tokens, and
a training host would spend its cores on that. Here a list is decoded by a few numpy
operations over its varints. Only the plain encoding that every writer of ours (and protobuf
itself) gives is read this way; whatever looks otherwise is left to `example.decode_example`,
so both read the same (the tests compare them on damaged records too). Features that nobody
asked for are passed over unread.
"""

from collections.abc import Iterable

import numpy as np

# Field numbers and wire types of tensorflow/core/example/*.proto, as tag bytes.
_FIRST_MESSAGE = 0x0A  # Example.features, Features.feature, FeatureEntry.key, Int64List.value
_ENTRY_VALUE = 0x12
_INT64_LIST = 0x1A
_LONGEST_VARINT = 9  # Bytes, of 7 bits; a negative number takes ten.


class _NotPlainError(ValueError):
    """Not encoded the plain way."""


def int64_lists(record: bytes, names: Iterable[str]) -> dict[str, np.ndarray] | None:
    """int32 arrays of the features `names` of a serialized Example.

    Args:
      record: a serialized `tf.train.Example`.
      names: of int64 features, all of which have to be there.

    Returns:
      None where the record is not plainly encoded, lacks a feature, or holds a value outside
      0 ... 2^31 - 1: `example.decode_example` knows what to make of it, or why it cannot.
    """
    wanted = {name.encode(): name for name in names}
    found = {}
    try:
        position, end = _message(record, 0, _FIRST_MESSAGE, len(record))
        if end != len(record):
            return None
        while position < end:
            entry, entry_end = _message(record, position, _FIRST_MESSAGE, end)
            key, key_end = _message(record, entry, _FIRST_MESSAGE, entry_end)
            name = wanted.get(record[key:key_end])
            if name is not None:
                value, value_end = _message(record, key_end, _ENTRY_VALUE, entry_end)
                if name in found or value_end != entry_end:
                    return None
                found[name] = _int64_list(record, value, value_end)
            position = entry_end
    except _NotPlainError:
        return None
    return found if len(found) == len(wanted) else None


def _message(record: bytes, position: int, tag: int, limit: int) -> tuple[int, int]:
    """Where the length-delimited field that begins at `position` holds its content."""
    if position >= limit or record[position] != tag:
        raise _NotPlainError
    position += 1
    length = shift = 0
    while True:
        if position >= limit or shift > 28:
            raise _NotPlainError
        byte = record[position]
        position += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    if position + length > limit:
        raise _NotPlainError
    return position, position + length


def _int64_list(record: bytes, position: int, limit: int) -> np.ndarray:
    position, end = _message(record, position, _INT64_LIST, limit)
    if end != limit:
        raise _NotPlainError
    if position == end:
        return np.zeros(0, np.int32)
    position, end = _message(record, position, _FIRST_MESSAGE, limit)
    if end != limit:
        raise _NotPlainError
    values = varints(np.frombuffer(record, np.uint8, end - position, position))
    # Negative ones are among those that are too large.
    if values.dtype != np.uint8 and values.max() > np.iinfo(np.int32).max:
        raise _NotPlainError
    return values.astype(np.int32)


def varints(encoded: np.ndarray) -> np.ndarray:
    """The values of a run of varints, as int64, or as they are where each is one byte.

    Args:
      encoded: uint8[n], the whole run and nothing else.

    Raises:
      ValueError: the last one is cut short, or one does not fit 63 bits.
    """
    if not encoded.size or encoded.max() < 0x80:
        return encoded
    ends = np.flatnonzero(encoded < 0x80)
    if not ends.size or ends[-1] != encoded.size - 1:
        raise _NotPlainError("a varint is cut short")
    lengths = np.diff(ends, prepend=-1)
    longest = int(lengths.max())
    if longest > _LONGEST_VARINT:
        raise _NotPlainError(f"a varint of {longest} bytes")
    # From the last byte, which has the highest bits, to the first.
    values = encoded[ends].astype(np.int64)
    for back in range(1, longest):
        longer = lengths > back
        # Every value reads a byte, those that are too short for it their own last one again.
        earlier = encoded[ends - back * longer] & 0x7F
        values = np.where(longer, values << 7 | earlier, values)
    return values
