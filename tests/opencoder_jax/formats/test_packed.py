import numpy as np
import pytest

from opencoder_jax.formats.example import RecordError, encode_example
from opencoder_jax.formats.packed import (
    BATCH_KEYS,
    PackedSequence,
    decode_packed,
    encode_packed,
    features,
)


def sequence():
    return PackedSequence(
        tokens=np.array([1, 70, 71, 1, 72, 3], np.int32),
        segment_ids=np.array([1, 1, 1, 2, 2, 0], np.int32),
        positions=np.array([0, 1, 2, 0, 1, 0], np.int32),
        loss_weights=np.array([0, 1, 1, 0, 1, 0], np.int32),
        document_ids=("a", "b"),
        document_languages=("python", "c"),
        document_bytes=(5, 2),
    )


def test_a_sequence_comes_back_from_its_record():
    back = decode_packed(encode_packed(sequence()))

    for name in PackedSequence.__slots__:
        np.testing.assert_array_equal(getattr(back, name), getattr(sequence(), name))
    assert back.tokens.dtype == np.int32


def test_each_target_is_the_next_token_and_has_its_own_weight():
    batch = features(sequence())

    assert tuple(batch) == BATCH_KEYS
    assert batch["decoder_input_tokens"].tolist() == [1, 70, 71, 1, 72]
    assert batch["decoder_target_tokens"].tolist() == [70, 71, 1, 72, 3]
    assert batch["decoder_loss_weights"].tolist() == [1, 1, 0, 1, 0]
    assert batch["decoder_segment_ids"].tolist() == [1, 1, 1, 2, 2]


def test_no_target_is_predicted_from_another_document():
    batch = features(sequence())
    target_segments = sequence().segment_ids[1:]

    crossing = batch["decoder_segment_ids"] != target_segments

    assert not batch["decoder_loss_weights"][crossing].any()


def test_a_record_of_another_kind_is_refused_with_what_it_lacks():
    with pytest.raises(RecordError, match="segment_ids"):
        decode_packed(encode_example({"tokens": [1, 2]}))
