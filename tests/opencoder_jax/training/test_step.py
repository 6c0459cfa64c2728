"""One step is the same step however it is packed, split or placed."""

import dataclasses

import jax
import numpy as np
import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.training import step
from tests.opencoder_jax.training import small


def _assert_close(one, other, rtol=2e-5, atol=2e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), one, other)


def test_packed_loss_equals_unpacked_loss_per_document():
    documents = small.random_documents(0, [5, 9, 3, 12, 7, 2])
    rows = [documents[:3], documents[3:5], documents[5:]]
    where = small.placement()
    params = small.initial_state(small.CONFIG, where).params
    with where.activate():
        # Each document's own loss: the packed row with every other weight at zero.
        packed = small.packed_batch(rows, 24)
        for r, row in enumerate(rows):
            for segment, document in enumerate(row, start=1):
                mine = np.pad(packed["decoder_segment_ids"][:, 1:], ((0, 0), (0, 1))) == segment
                weights = packed["decoder_loss_weights"] * mine
                in_pack = small.losses(
                    small.CONFIG, params, packed | {"decoder_loss_weights": weights}
                )
                alone = small.losses(small.CONFIG, params, small.packed_batch([[document]] * 3, 24))
                assert in_pack.weight[r] == len(document) - 1
                np.testing.assert_allclose(in_pack.loss[r], alone.loss[0], rtol=1e-5)


@pytest.mark.parametrize("sizes", [(8, 1, 1), (1, 8, 1), (2, 2, 2)])
def test_one_and_eight_devices_agree(sizes):
    one, one_figures = small.trained(small.CONFIG, small.placement(), 3)
    eight, eight_figures = small.trained(small.CONFIG, small.placement(*sizes), 3)
    _assert_close(one_figures, eight_figures)
    _assert_close(jax.device_get(one.params), jax.device_get(eight.params), atol=1e-4)


@pytest.mark.parametrize("parts", [{"num_microbatches": 4}, {"loss_vocab_blocks": 3}], ids=str)
def test_microbatches_and_blocks_of_words_do_not_change_the_step(parts):
    whole, figures = small.trained(small.CONFIG, small.placement(fsdp=2), 2)
    config = dataclasses.replace(small.CONFIG, **parts)
    parts, part_figures = small.trained(config, small.placement(fsdp=2), 2)
    _assert_close(figures, part_figures)
    _assert_close(jax.device_get(whole.params), jax.device_get(parts.params), atol=1e-4)


def test_the_train_step_compiles_once():
    where = small.placement(fsdp=2)
    with where.activate():
        state = small.initial_state(small.CONFIG, where)
        train_step = step.make_train_step(small.CONFIG, where)
        for k in range(4):
            state, _ = train_step(state, step.put_batch(where, small.random_batch(k)))
        assert train_step._cache_size() == 1
        # Nor does a state that comes from a checkpoint look different to it.
        again = step.state_at(where, 4, state.params, state.opt_state)
        train_step(again, step.put_batch(where, small.random_batch(4)))
    assert train_step._cache_size() == 1


def test_a_seed_gives_the_same_parameters_on_any_mesh():
    states = [step.init_state(small.CONFIG, small.placement(fsdp=n), seed=3) for n in (1, 4)]
    jax.tree.map(np.testing.assert_array_equal, *[jax.device_get(s.params) for s in states])


def test_two_runs_agree_to_the_last_bit():
    runs = [small.trained(small.CONFIG, small.placement(data=2, fsdp=2), 3) for _ in range(2)]
    assert runs[0][1] == runs[1][1]
    jax.tree.map(np.testing.assert_array_equal, *[jax.device_get(s.params) for s, _ in runs])


def test_the_loss_falls_on_data_seen_before():
    where = small.placement(fsdp=2)
    with where.activate():
        state = small.initial_state(small.CONFIG, where)
        train_step = small.train_step(small.CONFIG, where)
        losses = []
        for _ in range(30):
            state, metrics = train_step(state, step.put_batch(where, small.random_batch(0)))
            losses.append(float(metrics["loss_per_nonpadding_target_token"]))
    assert losses[-1] < 0.5 * losses[0]


def test_a_batch_that_the_mesh_does_not_divide_is_refused():
    with pytest.raises(InputError, match=r"microbatch.*does not divide its length 6"):
        step.check_sizes(small.CONFIG, small.placement(fsdp=4), 6, 16)
    config = dataclasses.replace(small.CONFIG, num_microbatches=3)
    with pytest.raises(InputError, match="num_microbatches 3 does not divide"):
        step.check_sizes(config, small.placement(), 8, 16)


def test_sequences_longer_than_the_model_are_refused():
    with pytest.raises(InputError, match="128 tokens, but the model's max_length is 64"):
        step.check_sizes(small.CONFIG, small.placement(), 8, 128)


@pytest.mark.parametrize("num_microbatches", [1, 2])
def test_each_source_has_the_loss_of_its_own_sequences(num_microbatches):
    where = small.placement(fsdp=2)
    config = dataclasses.replace(
        small.CONFIG, sources=("code", "text", "absent"), num_microbatches=num_microbatches
    )
    arrays = small.random_batch(0)
    rows = np.array([0, 1, 1, 0, 1, 0, 0, 0], np.int32)
    with where.activate():
        state = small.initial_state(small.CONFIG, where)
        alone = small.losses(small.CONFIG, state.params, arrays)
        batch = step.put_batch(where, {**arrays, step.SOURCE_IDS: rows})
        _, metrics = step.make_train_step(config, where)(state, batch)
    for number, source in enumerate(config.sources[:2]):
        weight = alone.weight[rows == number].sum()
        assert float(metrics[f"nonpadding_target_tokens/{source}"]) == weight
        np.testing.assert_allclose(
            metrics[f"loss_per_nonpadding_target_token/{source}"],
            alone.loss[rows == number].sum() / weight,
            rtol=1e-5,
        )
    assert float(metrics["nonpadding_target_tokens/absent"]) == 0
    assert np.isfinite(float(metrics["learning/grad_norm"]))


@pytest.mark.parametrize(
    "name", ["num_microbatches", "loss_chunk_length", "loss_vocab_blocks", "z_loss"]
)
def test_a_step_of_impossible_numbers_is_refused(name):
    with pytest.raises(InputError, match=f"{name} is -1, expected at least"):
        step.StepConfig.of_training({**vars(small.CONFIG), name: -1, "model_dir": "left aside"})
