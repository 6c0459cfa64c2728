"""A step that is a spike, or no number, changes nothing but the counts."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.training import step
from opencoder_jax.training.spikes import SpikeConfig, SpikeState, judge
from tests.opencoder_jax.training import small

SPIKES = SpikeConfig(window=8, sigmas=6.0)


def _judged(losses, config=SPIKES, grad_norm=1.0, state=None):
    """Whether each loss was taken, and the last verdict."""
    verdicts = []
    state = state or SpikeState.fresh(config)
    for loss in losses:
        verdicts.append(judge(config, state, *map(jnp.float32, (loss, grad_norm, 1.0))))
        state = verdicts[-1].state
    return [bool(verdict.take) for verdict in verdicts], verdicts[-1]


def test_a_loss_far_above_the_last_ones_is_a_spike_and_one_below_is_not():
    before = [3.0, 3.1, 2.9, 3.0, 3.05]
    mean, deviation = np.mean(before), np.std(before, ddof=1)
    for loss, taken in ((mean + 5.9 * deviation, True), (mean + 6.1 * deviation, False)):
        assert _judged([*before, loss])[0] == [True] * 5 + [taken]
    assert _judged([*before, 0.1])[0][-1]


def test_nothing_is_a_spike_before_half_the_window_is_there():
    assert _judged([3.0, 3.1, 2.9, 1e9])[0] == [True] * 4
    assert _judged([3.0, 3.1, 2.9, 3.0, 1e9])[0] == [True] * 4 + [False]


def test_a_skipped_loss_makes_no_room_for_the_next_and_old_ones_leave_the_window():
    taken, last = _judged([3.0, 3.1, 2.9, 3.0, 1e3, 1e3, 3.0])
    assert taken == [True] * 4 + [False, False, True]
    assert last.state.skipped.tolist() == [0, 2, 0]
    assert int(last.state.in_a_row) == 0
    # Nine taken losses in a window of eight: the first, which alone would allow it, has left.
    falling = [9.0, *([3.0, 3.1] * 4)]
    assert _judged([*falling, 5.0])[0][-1] is False
    assert _judged([*falling[:-1], 5.0])[0][-1] is True


@pytest.mark.parametrize("figures", [(np.nan, 1, 1), (3, np.inf, 1), (3, 1, np.inf)])
def test_what_is_no_number_is_skipped_from_the_first_step_on(figures):
    verdict = judge(SPIKES, SpikeState.fresh(SPIKES), *map(jnp.float32, figures))
    assert not verdict.take
    assert verdict.state.skipped.tolist() == [1, 0, 0]
    assert np.isfinite(verdict.state.losses).all()
    assert np.isfinite(verdict.state.grad_norms).all()


def test_a_gradient_spike_has_a_reason_of_its_own():
    _, before = _judged([3.0, 3.1, 2.9, 3.0])
    taken, last = _judged([3.0], grad_norm=2.0, state=before.state)
    assert taken == [False]
    assert last.state.skipped.tolist() == [0, 0, 1]


def test_norms_are_judged_by_their_logarithm():
    norms = [1.0, 2.0, 4.0, 8.0]
    state = SpikeState.fresh(SPIKES)
    for norm in norms:
        state = judge(SPIKES, state, *map(jnp.float32, (3.0, norm, 1.0))).state
    verdict = judge(SPIKES, state, *map(jnp.float32, (3.0, 8.0, 1.0)))
    logs = np.log(norms)
    expected = np.exp(logs.mean() + 6 * logs.std(ddof=1))
    assert float(verdict.grad_norm_threshold) == pytest.approx(expected, rel=1e-4)


def test_the_state_comes_back_from_json_to_the_last_bit():
    _, last = _judged([3.1, 2.9, 1 / 3, 2.2, 1e9, np.nan])
    text = json.dumps(last.state.to_json())
    again = SpikeState.from_json(SPIKES, json.loads(text))
    jax.tree.map(np.testing.assert_array_equal, again, jax.device_get(last.state))
    assert jax.tree.map(lambda x: x.dtype, again) == jax.tree.map(lambda x: x.dtype, last.state)
    with pytest.raises(InputError, match="window is 16, the checkpoint's was 8"):
        SpikeState.from_json(SpikeConfig(window=16), json.loads(text))


def test_impossible_settings_are_refused():
    for wrong in ({"window": 2}, {"sigmas": 0.0}, {"max_in_a_row": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            SpikeConfig(**wrong)


def _steps(config, seeds, where):
    """The state and the figures after a step on the batch of each seed."""
    with where.activate():
        fresh = step.abstract_state(config, where)
        state = dataclasses.replace(
            small.initial_state(small.CONFIG, where),
            spikes=jax.device_put(
                SpikeState.fresh(config.spikes), jax.tree.map(lambda x: x.sharding, fresh.spikes)
            ),
        )
        train_step = small.train_step(config, where)
        for seed in seeds:
            before = jax.device_get(state)
            batch = step.put_batch(where, small.random_batch(seed))
            state, metrics = train_step(state, batch)
            yield before, jax.device_get(state), {k: float(v) for k, v in metrics.items()}
        assert train_step._cache_size() == 1


def test_a_skipped_step_leaves_parameters_and_optimizer_but_counts_as_a_step():
    config = dataclasses.replace(small.CONFIG, spikes=SPIKES)
    # One batch is learnt by heart; another one then is a spike of the loss.
    *learning, spike, after = _steps(config, [0] * 40 + [1, 0], small.placement(fsdp=2))
    assert all(figures["skipped_steps"] == 0 for *_, figures in learning)
    before, state, figures = spike
    assert figures["skipped_steps"] == figures["skipped_steps/loss_spike"] == 1
    assert (
        figures["loss_per_nonpadding_target_token"]
        > (figures["spike_threshold/loss_per_nonpadding_target_token"])
    )
    for field in ("params", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(before, field), getattr(state, field))
    assert (int(before.step), int(state.step)) == (40, 41)
    assert figures["learning/param_norm"] == pytest.approx(
        learning[-1][2]["learning/param_norm"], rel=1e-6
    )
    # The next one is taken as if nothing had been.
    assert after[2]["skipped_steps"] == 1
    assert (
        after[2]["loss_per_nonpadding_target_token"]
        < 1.1 * (learning[-1][2]["loss_per_nonpadding_target_token"])
    )


@dataclasses.dataclass(frozen=True)
class OnceTooFar:
    """Every third update would overflow the parameters."""

    def __call__(self, count):
        return jnp.where(count % 3 == 2, 1e38, 1e-2) * jnp.float32(10)


def test_an_update_that_overflows_the_parameters_is_not_taken():
    config = dataclasses.replace(small.CONFIG, spikes=SPIKES, schedule=OnceTooFar())
    for before, state, figures in _steps(config, range(4), small.placement()):
        skipped = int(before.step) == 2
        assert figures["skipped_steps/non_finite"] == (int(state.step) >= 3)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
        same = jax.tree.map(np.array_equal, before.params, state.params)
        assert all(jax.tree.leaves(same)) == skipped


def test_without_a_spike_the_step_is_what_it_is_without_a_config():
    where = small.placement()
    config = dataclasses.replace(small.CONFIG, spikes=SPIKES)
    plain, figures = small.trained(small.CONFIG, where, 3)
    *_, (_, judged, judged_figures) = _steps(config, range(3), where)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
        jax.device_get(plain.params),
        judged.params,
    )
    assert figures[-1]["loss"] == pytest.approx(judged_figures["loss"], rel=1e-6)


def test_another_stage_begins_with_an_empty_window_and_the_same_counts():
    _, last = _judged([3.0, 3.1, 2.9, 3.0, 1e3])
    forgotten = last.state.forget()
    assert forgotten.skipped.tolist() == [0, 1, 0]
    # A higher loss is no spike, and the window fills with it.
    taken, after = _judged([9.0, 9.1, 9.0, 8.9, 1e3], state=forgotten)
    assert taken == [True] * 4 + [False]
    assert float(after.loss_threshold) == pytest.approx(9.0 + 6 * 0.0816, rel=1e-3)


def test_a_gradient_of_nans_reaches_neither_parameters_nor_optimizer():
    config = dataclasses.replace(small.CONFIG, spikes=SPIKES, z_loss=math.inf)
    for before, state, figures in _steps(config, range(2), small.placement()):
        assert np.isnan(figures["learning/grad_norm"])
        assert figures["skipped_steps/non_finite"] == int(state.step)
        for field in ("params", "opt_state"):
            jax.tree.map(
                np.testing.assert_array_equal, getattr(before, field), getattr(state, field)
            )
