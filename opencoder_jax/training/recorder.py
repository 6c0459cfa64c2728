"""The figures of the steps, on their way from the devices to a line of metrics.

Figures of a step are fetched after the next one is under way, so that the devices never wait
for the host. A line holds what the step computed, what data had been seen, and, under
`timing/`, how fast it went. A step that was skipped (`spikes`) always has a line; too many in
a row, or a figure that is no number where none is skipped, end the run here.
"""

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax

from opencoder_jax.data.batches import BatchSource
from opencoder_jax.distributed import is_primary
from opencoder_jax.errors import InputError
from opencoder_jax.training import flops
from opencoder_jax.training.checkpoints import CheckpointMetadata
from opencoder_jax.training.goodput import Stopwatch
from opencoder_jax.training.metrics import MetricsWriter, SilentMetrics
from opencoder_jax.training.spikes import REASONS

_LOSS = "loss_per_nonpadding_target_token"
_TOKENS = "nonpadding_target_tokens"
_GRAD_NORM = "learning/grad_norm"


class DivergedError(InputError):
    """The loss or the parameters are no longer finite, or too many steps were skipped."""


@dataclasses.dataclass(frozen=True)
class RecorderConfig:
    """What the figures are measured by.

    Attributes:
      max_skipped_in_a_row: skipped steps after which the run stops; None: none is skipped.
      flops_per_token: sequence length to operations of training on a token.
      peak_flops: operations a second of all devices together; None where it is not known.
    """

    max_skipped_in_a_row: int | None = None
    flops_per_token: Callable[[int], float] = lambda length: 0.0
    peak_flops: float | None = None


class _StepFigures(NamedTuple):
    step: int
    metrics: Mapping[str, jax.Array]
    tokens_by_source: dict[str, int]
    due: bool


class Recorder:
    """Writes the figures of a step while the next one runs.

    Attributes:
      note: the latest figures in a few words.
    """

    def __init__(
        self,
        config: RecorderConfig,
        writer: MetricsWriter | SilentMetrics,
        stopwatch: Stopwatch,
        source: BatchSource,
        before: CheckpointMetadata,
    ) -> None:
        """Args:
        config: what the figures are measured by.
        writer: gets the lines.
        stopwatch: knows which time is training; has a record for each line.
        source: of the batches.
        before: of the state before the first step that is added.
        """
        self.note = ""
        self._config = config
        self._writer = writer
        self._stopwatch = stopwatch
        self._source = source
        self._skipped = list(before.spikes["skipped"]) if before.spikes else [0] * len(REASONS)
        self._waiting: _StepFigures | None = None
        self._previous_step = before.step
        self._previous_seconds = 0.0
        self._data_wait = 0.0

    @contextlib.contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Around the wait for a batch."""
        started = time.monotonic()
        yield
        self._data_wait += time.monotonic() - started

    def add(
        self, step: int, metrics: Mapping[str, jax.Array], tokens: Mapping[str, int], due: bool
    ) -> None:
        """Takes a step's figures, still on the device, and writes those of the step before.

        Args:
          step: its number.
          metrics: its figures.
          tokens: taken from each set so far.
          due: whether it is to have a line in any case.
        """
        if self._waiting and (self._waiting.due or self._config.max_skipped_in_a_row):
            self.flush()
        self._waiting = _StepFigures(step, metrics, dict(sorted(tokens.items())), due)

    def flush(self) -> None:
        """Waits for the latest step, checks its figures and writes them if they are due.

        Raises:
          DivergedError: see the class.
        """
        if self._waiting is None:
            return
        step, metrics, tokens, due = self._waiting
        self._waiting = None
        values = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
        values = {n: v for n, v in values.items() if not _of_absent_source(n, values)}
        if self._config.max_skipped_in_a_row is None:
            _check_finite(step, values)
        elif values["skipped_steps"] > sum(self._skipped):
            due = True
            self._report_skipped(step, values)
        if not due:
            return
        # JSON has no word for them; the line of a step that was skipped may lack some.
        values = {name: value for name, value in values.items() if math.isfinite(value)}
        timing = self._timing(step)
        values["tokens_seen"] = sum(tokens.values())
        values |= {f"tokens_seen/{source}": count for source, count in tokens.items()}
        values |= {f"epochs/{name}": n for name, n in self._source.epochs(tokens).items()}
        self._writer.write(step, values | timing)
        self.note = "  ".join(
            [
                f"loss {values.get(_LOSS, math.nan):.3f}",
                f"lr {values['learning_rate']:.1e}",
                f"{timing['timing/target_tokens_per_second']:,.0f} tokens/s",
            ]
        )

    def _report_skipped(self, step: int, values: Mapping[str, float]) -> None:
        """Says which step was skipped and why, and stops the run after too many."""
        counts = [int(values[f"skipped_steps/{reason}"]) for reason in REASONS]
        reason = next(
            r for r, now, then in zip(REASONS, counts, self._skipped, strict=True) if now > then
        )
        self._skipped = counts
        figures = [
            f"{title} {values[name]:.4g}, limit {values[f'spike_threshold/{name}']:.4g}"
            for title, name in (("loss", _LOSS), ("gradient norm", _GRAD_NORM))
        ]
        if is_primary():
            text = f"step {step} skipped, {reason} ({'; '.join(figures)})"
            print(f"{text}; {sum(counts)} in this phase", file=sys.stderr, flush=True)
        in_a_row = int(values["skipped_steps/in_a_row"])
        if in_a_row >= (self._config.max_skipped_in_a_row or math.inf):
            by_reason = ", ".join(f"{count} {r}" for r, count in zip(REASONS, counts, strict=True))
            raise DivergedError(
                f"step {step}: the last {in_a_row} steps were all skipped ({by_reason} in this "
                "phase), so the model learns nothing any more. Look at the data of these steps; to "
                "go on from the last checkpoint all the same, raise SpikeConfig.max_in_a_row. "
                "Another learning rate, or more SpikeConfig.sigmas, are a run of their own"
            )

    def _timing(self, step: int) -> dict[str, float]:
        """Rates since the last line, over the time that was training, and where time went."""
        total = self._stopwatch.training_seconds()
        seconds = max(total - self._previous_seconds, 1e-9)
        before, source = self._previous_step, self._source
        sequences = source.sequences_before(step) - source.sequences_before(before)
        tokens = source.tokens_before(step) - source.tokens_before(before)
        timing = {
            "timing/seqs_per_second": sequences / seconds,
            "timing/target_tokens_per_second": tokens / seconds,
            "timing/data_wait_share": self._data_wait / seconds,
        }
        if self._config.peak_flops:
            # Steps may differ in length, and attention with them.
            shapes = [source.shape(k) for k in range(before, step)]
            work = sum(B * S * self._config.flops_per_token(S) for B, S in shapes)
            timing["timing/mfu"] = flops.mfu(work, seconds, self._config.peak_flops)
        self._previous_step, self._previous_seconds, self._data_wait = step, total, 0.0
        account = self._stopwatch.record(step)
        lost = {f"timing/lost_seconds/{name}": value for name, value in account.lost.items()}
        return {**timing, "timing/goodput": account.goodput or 0.0, **lost}


def _check_finite(step: int, values: Mapping[str, float]) -> None:
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        raise DivergedError(
            f"step {step}: {', '.join(wrong)} not finite "
            f"(learning rate {values['learning_rate']:.3g}); nothing past the last "
            "checkpoint was saved. Lower the learning rate, or look at this step's data"
        )


def _of_absent_source(name: str, values: Mapping[str, float]) -> bool:
    """Whether this is the loss of a source that the batch has no token of."""
    metric, _, source = name.partition("/")
    return metric == _LOSS and values.get(f"{_TOKENS}/{source}") == 0
