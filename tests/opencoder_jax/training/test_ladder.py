"""The ladder: one dial gives models, batches, rates and steps by the rules that it names."""

import dataclasses

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.training import ladder
from opencoder_jax.training.ladder import Ladder

LARGE = Ladder(vocab_size=96_640, sequence_length=4096, batch_multiple=256)
SMALL = Ladder(vocab_size=2048, sequence_length=512, head_dim=32, mlp_multiple=32, dtype="float32")
DEPTHS = (6, 8, 10, 12, 16, 20)


def test_all_sizes_have_one_shape_and_fit_the_hardware():
    for depth in DEPTHS:
        model = ladder.model(LARGE, depth)
        assert model.emb_dim == model.num_heads * 128 == model.num_layers * 128
        assert model.mlp_dim % 256 == 0
        assert 8 / 3 <= model.mlp_dim / model.emb_dim < 8 / 3 + 256 / model.emb_dim
        assert ladder.batch_size(LARGE, depth) % 256 == 0


def test_parameters_are_those_of_the_model_without_embeddings():
    model = ladder.model(LARGE, 8)
    tied = model.replace(tie_embeddings=True)
    table = model.parameter_count() - tied.parameter_count()
    assert ladder.parameters(LARGE, 8) == model.parameter_count() - 2 * table


def test_each_size_trains_on_twenty_tokens_a_parameter():
    for depth in DEPTHS:
        tokens = ladder.train_steps(LARGE, depth) * ladder.batch_size(LARGE, depth) * 4096
        assert tokens == pytest.approx(20 * ladder.parameters(LARGE, depth), rel=1e-3)


def test_batch_and_rate_go_through_the_fitted_model():
    # arXiv 2406.19146: 108 million parameters take 160 sequences of 2,048 tokens and 0.0047.
    fitted = dataclasses.replace(LARGE, batch_multiple=1)
    assert ladder.parameters(fitted, 8) == pytest.approx(108e6, rel=0.06)
    assert ladder.batch_size(fitted, 8) * 4096 == pytest.approx(160 * 2048, rel=0.06)
    assert ladder.learning_rate(fitted, 8) == pytest.approx(0.0047, rel=0.03)


def test_eight_times_the_parameters_take_four_times_the_batch_at_half_the_rate():
    fitted = dataclasses.replace(LARGE, batch_multiple=1)
    grown = ladder.parameters(fitted, 16) / ladder.parameters(fitted, 8)
    batches = ladder.batch_size(fitted, 16) / ladder.batch_size(fitted, 8)
    rates = ladder.learning_rate(fitted, 16) / ladder.learning_rate(fitted, 8)
    assert grown == pytest.approx(8, rel=0.01)
    assert batches == pytest.approx(4, rel=0.02)
    assert rates == pytest.approx(1 / 2, rel=0.02)


def test_the_rate_has_a_ceiling_for_small_models():
    assert ladder.learning_rate(SMALL, 2) == SMALL.max_rate
    assert ladder.schedule(SMALL, 2).stable.peak == SMALL.max_rate


def test_the_schedule_warms_up_for_as_many_tokens_as_parameters_and_ends_with_the_run():
    for depth in DEPTHS:
        steps = ladder.train_steps(LARGE, depth)
        schedule = ladder.schedule(LARGE, depth)
        assert schedule.total_steps == steps
        assert schedule.stable.warmup_steps == pytest.approx(steps / 20, abs=1)
        assert schedule.decay_steps == pytest.approx(LARGE.decay_share * steps, abs=1)
        assert float(schedule(steps)) == pytest.approx(schedule.stable.peak / 30, rel=1e-4)


@pytest.mark.parametrize("tokens_per_parameter", [0.001, 1.0])
def test_a_run_shorter_than_its_warm_up_is_still_one(tokens_per_parameter):
    short = dataclasses.replace(SMALL, tokens_per_parameter=tokens_per_parameter)
    schedule = ladder.schedule(short, 1)
    assert ladder.train_steps(short, 1) >= 1
    assert schedule.stable.warmup_steps + schedule.decay_steps <= schedule.total_steps


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens_per_parameter": 0.0},
        {"decay_share": 1.5},
        {"final_share": 0.0},
        {"batch_multiple": 0},
    ],
)
def test_an_impossible_ladder_is_refused(changes):
    with pytest.raises(InputError, match=next(iter(changes))):
        dataclasses.replace(SMALL, **changes)


def test_a_depth_of_nothing_is_refused():
    with pytest.raises(InputError, match="depth"):
        ladder.model(SMALL, 0)
