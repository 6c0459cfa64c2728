"""Step after step: batch k makes step k, and nothing else does.

The loop keeps no state that a checkpoint lacks. The batch is a function of the step, the
learning rate is, and so is every line of the metrics; a run that is killed and started
again computes what it would have computed. Next: `step` (what is computed), `recorder` (what
is written of it).
"""

import collections
import contextlib
import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from opencoder_jax import progress
from opencoder_jax.data.batches import BatchSource
from opencoder_jax.distributed import termination
from opencoder_jax.training.checkpoints import (
    CheckpointMetadata,
    CheckpointWriter,
    SaveCheckpointConfig,
)
from opencoder_jax.training.checkpoints.occasions import Occasions
from opencoder_jax.training.goodput import Stopwatch
from opencoder_jax.training.metrics import MetricsWriter, SilentMetrics
from opencoder_jax.training.profiling import Profiler
from opencoder_jax.training.recorder import Recorder, RecorderConfig
from opencoder_jax.training.step import SOURCE_IDS, TrainState

# 128 + SIGTERM: what a shell reports of a process that the signal ended.
TERMINATED_EXIT_STATUS = 143


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """How long, and how often what.

    Attributes:
      last_step: the step count to end at.
      save: when to save; the last step always is.
      stats_period: steps between lines of metrics; the last step always has one.
      eval_period: steps between held-out losses; 0 for none.
      num_prefetch_processes: processes that prepare batches; 0 for threads of this one.
      figures: what the figures are measured by.
    """

    last_step: int
    save: SaveCheckpointConfig
    stats_period: int
    eval_period: int
    figures: RecorderConfig
    num_prefetch_processes: int = 0


@dataclasses.dataclass(frozen=True)
class Writers:
    """Where a run writes, and what looks on."""

    checkpoints: CheckpointWriter
    train: MetricsWriter | SilentMetrics
    heldout: MetricsWriter | SilentMetrics
    stopwatch: Stopwatch
    profiler: Profiler


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
      DivergedError: loss or parameters are not finite and steps are not skipped, or too many
        in a row were; that state is not saved.
      StorageError: a checkpoint could not be written.
      SystemExit: status 143 after SIGTERM, with everything done so far saved.
    """
    stopwatch = writers.stopwatch
    recorder = Recorder(config.figures, writers.train, stopwatch, source, metadata)
    tokens = collections.Counter(metadata.tokens_by_source)
    prepared = source.iterate(metadata.step, num_processes=config.num_prefetch_processes)
    remaining = config.last_step - metadata.step
    occasions = Occasions(config.save.period, config.save.period_minutes, metadata.step)
    train_step = _with_compile_time(functions.train_step, stopwatch)
    stopwatch.begin(metadata.step)
    with (
        contextlib.closing(prepared) as batches,
        progress.track(title, remaining, "steps") as advance,
        termination() as terminated,
    ):
        for step in range(metadata.step + 1, config.last_step + 1):
            with recorder.waiting_for_data():
                batch = next(batches)
            batch = {**batch, SOURCE_IDS: source.row_source_ids(step - 1)}
            state = _forgetting_spikes(state, source, step - 1)
            with writers.profiler.step(step, before=state) as traced:
                state, metrics = train_step(state, functions.put_batch(batch))
                traced.append(metrics)
            for name, rows in source.source_counts(step - 1).items():
                tokens[name] += rows * source.shape(step - 1)[1]
            last = step == config.last_step
            recorder.add(step, metrics, tokens, due=last or _due(step, config.stats_period))
            advance(note=recorder.note)

            if functions.heldout_metrics and (last or _due(step, config.eval_period)):
                recorder.flush()
                with stopwatch.lost("evaluation"):
                    writers.heldout.write(step, functions.heldout_metrics(state.params))
            stop = terminated(step)
            if last or stop or occasions.now(step):
                recorder.flush()
                metadata = dataclasses.replace(
                    metadata,
                    step=step,
                    tokens_by_source=dict(sorted(tokens.items())),
                    spikes=state.spikes.to_json() if state.spikes else None,
                )
                with stopwatch.lost("checkpoint"):
                    writers.checkpoints.save(state.params, state.opt_state, metadata)
                occasions.saved(step)
                # What a process that resumes here does not have to make again ends here.
                stopwatch.record(step)
            else:
                writers.checkpoints.check()
            if stop and not last:
                writers.checkpoints.wait()
                print(f"SIGTERM: saved checkpoint_{step}; run again to go on", file=sys.stderr)
                raise SystemExit(TERMINATED_EXIT_STATUS)
    return state, metadata


def _forgetting_spikes(state: TrainState, source: BatchSource, k: int) -> TrainState:
    """`state` before batch k; another stage's losses are no measure of it."""
    if state.spikes is None or k == 0 or source.stage(k) == source.stage(k - 1):
        return state
    return dataclasses.replace(state, spikes=state.spikes.forget())


def _with_compile_time(train_step: Callable[..., Any], stopwatch: Stopwatch) -> Callable[..., Any]:
    """`train_step`; its first call with batches of a shape compiles."""
    seen = set()

    def timed(state: TrainState, batch: Mapping[str, jax.Array]) -> Any:
        shape = batch["decoder_input_tokens"].shape
        new = shape not in seen
        seen.add(shape)
        with stopwatch.lost("compile") if new else contextlib.nullcontext():
            return train_step(state, batch)

    return timed


def _due(step: int, period: int) -> bool:
    return period > 0 and step % period == 0
