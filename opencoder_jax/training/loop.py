"""Step after step: batch k makes step k, and nothing else does.

The loop keeps no state that a checkpoint lacks. The batch is a function of the step, the
learning rate is, and so is every line of the metrics; a run that is killed and started
again computes what it would have computed. Figures of a step are fetched after the next
one is under way, so that the devices never wait for the host.
"""

import collections
import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from opencoder_jax import progress
from opencoder_jax.data.batches import BatchSource
from opencoder_jax.distributed import termination
from opencoder_jax.errors import InputError
from opencoder_jax.training.checkpoints import CheckpointMetadata, CheckpointWriter
from opencoder_jax.training.metrics import MetricsWriter, SilentMetrics
from opencoder_jax.training.step import TrainState

# 128 + SIGTERM: what a shell reports of a process that the signal ended.
TERMINATED_EXIT_STATUS = 143


class DivergedError(InputError):
    """The loss or the parameters are no longer finite."""


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """How long, and how often what.

    Attributes:
      last_step: the step count to end at.
      save_period: steps between checkpoints; the last step is always saved.
      stats_period: steps between lines of metrics; the last step always has one.
      eval_period: steps between held-out losses; 0 for none.
      num_prefetch_processes: processes that prepare batches; 0 for threads of this one.
    """

    last_step: int
    save_period: int
    stats_period: int
    eval_period: int
    num_prefetch_processes: int = 0


@dataclasses.dataclass(frozen=True)
class Writers:
    """Where a run writes."""

    checkpoints: CheckpointWriter
    train: MetricsWriter | SilentMetrics
    heldout: MetricsWriter | SilentMetrics


@dataclasses.dataclass(frozen=True)
class Functions:
    """What a step does, jitted.

    Attributes:
      put_batch: host arrays to device arrays.
      train_step: see `step.make_train_step`.
      heldout_metrics: parameters to held-out figures; None where nothing is held out.
    """

    put_batch: Callable[[Mapping[str, np.ndarray]], Any]
    train_step: Callable[[TrainState, Any], tuple[TrainState, Mapping[str, jax.Array]]]
    heldout_metrics: Callable[[Any], Mapping[str, float]] | None


def run(
    config: LoopConfig,
    state: TrainState,
    metadata: CheckpointMetadata,
    source: BatchSource,
    functions: Functions,
    writers: Writers,
    title: str,
) -> tuple[TrainState, CheckpointMetadata]:
    """Trains from `metadata.step` to `config.last_step` and saves on the way.

    Args:
      config: how long, and how often what.
      state: where to begin; its memory is taken.
      metadata: of that state.
      source: batch k of it makes the step from k to k + 1.
      functions: what a step does.
      writers: where to write.
      title: of the progress bar.

    Returns:
      The last state and its metadata.

    Raises:
      DivergedError: loss or parameters are not finite; that state is not saved.
      StorageError: a checkpoint could not be written.
      SystemExit: status 143 after SIGTERM, with everything done so far saved.
    """
    recorder = _Recorder(writers.train, source)
    tokens = collections.Counter(metadata.tokens_by_source)
    prepared = source.iterate(metadata.step, num_processes=config.num_prefetch_processes)
    remaining = config.last_step - metadata.step
    with (
        contextlib.closing(prepared) as batches,
        progress.track(title, remaining, "steps") as advance,
        termination() as terminated,
    ):
        for step in range(metadata.step + 1, config.last_step + 1):
            batch = next(batches)
            state, metrics = functions.train_step(state, functions.put_batch(batch))
            for name, rows in source.source_counts(step - 1).items():
                tokens[name] += rows * source.shape(step - 1)[1]
            last = step == config.last_step
            recorder.add(step, metrics, tokens, due=last or _due(step, config.stats_period))
            advance(note=recorder.note)

            if functions.heldout_metrics and (last or _due(step, config.eval_period)):
                writers.heldout.write(step, functions.heldout_metrics(state.params))
            stop = terminated(step)
            if last or stop or _due(step, config.save_period):
                recorder.flush()
                metadata = dataclasses.replace(
                    metadata, step=step, tokens_by_source=dict(sorted(tokens.items()))
                )
                writers.checkpoints.save(state.params, state.opt_state, metadata)
            else:
                writers.checkpoints.check()
            if stop and not last:
                writers.checkpoints.wait()
                print(f"SIGTERM: saved checkpoint_{step}; run again to go on", file=sys.stderr)
                raise SystemExit(TERMINATED_EXIT_STATUS)
    return state, metadata


class _StepFigures(NamedTuple):
    step: int
    metrics: Mapping[str, jax.Array]
    tokens_by_source: dict[str, int]
    due: bool


class _Recorder:
    """Writes the figures of a step while the next one runs."""

    def __init__(self, writer: MetricsWriter | SilentMetrics, source: BatchSource):
        self.note = ""
        self._writer = writer
        self._source = source
        self._waiting: _StepFigures | None = None
        self._previous: tuple[int, float] | None = None

    def add(
        self, step: int, metrics: Mapping[str, jax.Array], tokens: Mapping[str, int], due: bool
    ) -> None:
        """Takes a step's figures, still on the device, and writes those of the step before."""
        if self._waiting and self._waiting.due:
            self.flush()
        self._waiting = _StepFigures(step, metrics, dict(sorted(tokens.items())), due)

    def flush(self) -> None:
        """Waits for the latest step, checks its figures and writes them if they are due."""
        if self._waiting is None:
            return
        step, metrics, tokens, due = self._waiting
        self._waiting = None
        values = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
        _check_finite(step, values)
        if not due:
            return
        timing = self._timing(step)
        values["tokens_seen"] = sum(tokens.values())
        values |= {f"tokens_seen/{source}": count for source, count in tokens.items()}
        values |= {f"epochs/{name}": n for name, n in self._source.epochs(tokens).items()}
        self._writer.write(step, values | timing)
        self.note = "  ".join(
            [
                f"loss {values['loss_per_nonpadding_target_token']:.3f}",
                f"lr {values['learning_rate']:.1e}",
                *[f"{rate:,.0f} tokens/s" for rate in list(timing.values())[-1:]],
            ]
        )

    def _timing(self, step: int) -> dict[str, float]:
        """Rates since the last line; none at first, when the step is compiled."""
        now = time.monotonic()
        previous, self._previous = self._previous, (step, now)
        if previous is None:
            return {}
        seconds = max(now - previous[1], 1e-9)
        before, source = previous[0], self._source
        sequences = source.sequences_before(step) - source.sequences_before(before)
        tokens = source.tokens_before(step) - source.tokens_before(before)
        return {
            "timing/seqs_per_second": sequences / seconds,
            "timing/target_tokens_per_second": tokens / seconds,
        }


def _check_finite(step: int, values: Mapping[str, float]) -> None:
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        raise DivergedError(
            f"step {step}: {', '.join(wrong)} not finite "
            f"(learning rate {values['learning_rate']:.3g}); nothing past the last "
            "checkpoint was saved. Lower the learning rate, or look at this step's data"
        )


def _due(step: int, period: int) -> bool:
    return period > 0 and step % period == 0
