import collections
import itertools
import random

import numpy as np
import pytest

from beam_pipelines.packing.sequences import Vocabulary, pack, pieces_of
from beam_pipelines.packing.tokenize import conversation_item, document_item
from opencoder_jax.formats.conversation import Conversation
from opencoder_jax.formats.packed import encode_packed, features
from opencoder_jax.formats.sentencepiece_tokenizer import BOS, EOS
from tests import packed_example

S = 128


def packed_items():
    tokenizer = packed_example.tokenizer()
    items = [document_item(d, tokenizer) for d in packed_example.documents()]
    return items, list(pack(items, S, Vocabulary(tokenizer.byte_lengths, tokenizer.pad)))


def segments(sequence):
    """(document id, slice, bytes) of each piece."""
    for index, name in enumerate(sequence.document_ids):
        where = np.flatnonzero(sequence.segment_ids == index + 1)
        assert (np.diff(where) == 1).all()
        yield name, slice(where[0], where[-1] + 1), sequence.document_bytes[index]


def test_every_token_of_every_document_is_predicted_exactly_once():
    items, sequences = packed_items()
    predicted = collections.defaultdict(collections.Counter)
    for sequence in sequences:
        for name, span, _ in segments(sequence):
            weighted = sequence.loss_weights[span] == 1
            pairs = zip(sequence.tokens[span], sequence.tokens[span][1:], strict=False)
            for (before, token), counted in zip(pairs, weighted[1:], strict=True):
                predicted[name][int(before), int(token)] += int(counted)

    for item in items:
        tokens = item.tokens.tolist()
        assert tokens[0] == BOS
        assert tokens[-1] == EOS
        assert predicted[item.id] == collections.Counter(itertools.pairwise(tokens))


def test_the_bytes_of_a_documents_pieces_sum_to_its_utf8_bytes():
    _, sequences = packed_items()
    counted = collections.Counter()
    for sequence in sequences:
        for name, _, size in segments(sequence):
            counted[name] += size

    for document in packed_example.documents():
        assert counted[document.id] == len(document.text.encode())


def test_sequences_have_one_size_and_positions_start_anew_in_each_segment():
    _, sequences = packed_items()

    for sequence in sequences:
        assert len(sequence.tokens) == S + 1
        for _, span, _ in segments(sequence):
            assert sequence.positions[span].tolist() == list(range(span.stop - span.start))
        padding = sequence.segment_ids == 0
        assert not sequence.loss_weights[padding].any()
        assert not sequence.positions[padding].any()
        assert set(sequence.tokens[padding]) <= {3}


def test_the_first_token_of_a_piece_has_no_weight():
    _, sequences = packed_items()

    for sequence in sequences:
        firsts = np.flatnonzero((sequence.positions == 0) & (sequence.segment_ids > 0))
        assert not sequence.loss_weights[firsts].any()


def test_a_loss_of_each_prediction_sums_to_the_same_packed_and_unpacked():
    """Whatever a model computes from (position, input, target), documents keep their loss."""
    items, sequences = packed_items()

    def loss(positions, inputs, targets):
        return ((positions * 31 + inputs * 7 + targets) % 101).astype(np.int64)

    packed = collections.Counter()
    for sequence in sequences:
        batch = features(sequence)
        each = batch["decoder_loss_weights"] * loss(
            batch["decoder_positions"],
            batch["decoder_input_tokens"],
            batch["decoder_target_tokens"],
        )
        for index, name in enumerate(sequence.document_ids):
            packed[name] += int(each[batch["decoder_segment_ids"] == index + 1].sum())

    for item in items:
        tokens = item.tokens.astype(np.int32)
        positions = np.arange(len(tokens) - 1) % S
        assert packed[item.id] == loss(positions, tokens[:-1], tokens[1:]).sum()


def test_packing_depends_on_the_set_of_items_only():
    items, sequences = packed_items()
    shuffled = random.Random(7).sample(items, len(items))

    tokenizer = packed_example.tokenizer()
    again = pack(shuffled, S, Vocabulary(tokenizer.byte_lengths, tokenizer.pad))

    assert [encode_packed(s) for s in again] == [encode_packed(s) for s in sequences]


def test_only_documents_longer_than_a_sequence_are_cut_and_into_the_fewest_pieces():
    items, sequences = packed_items()
    pieces = collections.Counter(name for s in sequences for name in s.document_ids)

    for item in items:
        assert pieces[item.id] == max(1, -(-(len(item.tokens) - 1) // S))


def test_a_conversation_is_never_cut():
    tokenizer = packed_example.tokenizer()
    conversation = Conversation(
        "c" * 32, (("user", "hi"), ("assistant", "word " * 200)), "python", "repo", "test"
    )

    with pytest.raises(ValueError, match="must not be cut"):
        pieces_of(conversation_item(conversation, tokenizer), S)
