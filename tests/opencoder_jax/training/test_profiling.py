"""A trace holds the steps that were asked for, by number or by signal."""

import os
import signal

import jax
import jax.numpy as jnp
import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.training.profiling import FOLDER, ProfileConfig, profiler

# Of jaxlib's reader of traces.
pytestmark = pytest.mark.filterwarnings("ignore:builtin type event_stats:DeprecationWarning")


@jax.jit
def _work(x):
    return x @ x / 64


def _run(model_dir, config, steps, signal_at=None):
    with profiler(config, model_dir) as made:
        x = jnp.ones((64, 64))
        for step in range(1, steps + 1):
            if step == signal_at:
                os.kill(os.getpid(), signal.SIGUSR1)
            with made.step(step, before=x) as traced:
                x = _work(x)
                traced.append(x)


def _traced_steps(model_dir):
    """The numbers of the steps in each trace, in order of time."""
    traces = sorted((model_dir / FOLDER).glob("plugins/profile/*/*.xplane.pb"))
    found = []
    for path in traces:
        data = jax.profiler.ProfileData.from_file(str(path))
        found.append(
            sorted(
                dict(event.stats)["step_num"]
                for plane in data.planes
                for line in plane.lines
                for event in line.events
                if event.name == "train"
            )
        )
    return found


def test_planned_steps_are_traced(tmp_path, capsys):
    _run(tmp_path, ProfileConfig(steps=(3,), length=2), 6)
    assert _traced_steps(tmp_path) == [[3, 4]]
    assert f"profile written to {tmp_path / FOLDER}" in capsys.readouterr().err


def test_a_signal_traces_the_next_steps_and_afterwards_does_what_it_did_before(tmp_path):
    before = signal.getsignal(signal.SIGUSR1)
    _run(tmp_path, None, 8, signal_at=4)
    assert _traced_steps(tmp_path) == [[4, 5, 6]]
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_trace_that_the_end_of_the_run_cuts_short_is_written(tmp_path):
    _run(tmp_path, ProfileConfig(steps=(2,), length=100), 3)
    assert _traced_steps(tmp_path) == [[2, 3]]


def test_impossible_steps_are_refused():
    with pytest.raises(InputError, match=r"steps is \[0\], expected steps from 1 on"):
        ProfileConfig(steps=(0,))
    with pytest.raises(InputError, match="length is 0"):
        ProfileConfig(length=0)
