"""Batch k, a pure function of (seed, plan, k), where a plan is one mixture or several stages.

Rows kB to (k+1)B of a mixture (`dataset`) are batch k. A run whose mixture, sequence length
or batch size changes at a step is a list of stages on one axis of steps: batch k knows its
stage, and a set that goes on in the next stage goes on where it was. Batch 400,000 costs what
batch 0 costs, in any process, on any number of hosts, whatever was read before. A checkpoint
needs the step and the `fingerprint` (`fingerprints`), and no iterator state.
"""

import bisect
import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from opencoder_jax.data import prefetch as prefetching
from opencoder_jax.data.dataset import Dataset, DatasetConfig, Order
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats.packed import ARRAYS, features_of

__all__ = ["Batch", "BatchSource", "DatasetConfig", "DatasetStage"]

Batch = dict[str, np.ndarray]

# Records that are fetched from a store at a time.
_REQUESTS = 32


@dataclasses.dataclass(frozen=True)
class DatasetStage:
    """So many steps on one mixture, sequence length and batch size.

    Attributes:
      steps: of this stage.
      dataset: what to train on during them.
    """

    steps: int
    dataset: DatasetConfig


DatasetPlan = DatasetConfig | Sequence[DatasetStage]


def plan_shapes(plan: DatasetPlan) -> tuple[tuple[int, int], ...]:
    """(B, S) of each stage, as configured; a training step is compiled for each that differs."""
    datasets = [plan] if isinstance(plan, DatasetConfig) else [stage.dataset for stage in plan]
    return tuple((d.batch_size, d.task_feature_lengths["targets"]) for d in datasets)


class BatchSource:
    """Batches of a plan, by number.

    Attributes:
      num_steps: how many batches the plan has; None where it has no end.
      source_names: the sets of all stages; `row_source_ids` counts them from 0.
      fingerprint: JSON of everything that batch k depends on; store it in checkpoints and
        compare with `fingerprints.check_fingerprint`.
      packed_dir: of the (first) mixture.
      tokenizer_fingerprint: of the tokenizer that all sets were made with.
      num_records: sequences in each set, in the last stage that takes from it.
    """

    def __init__(
        self, plan: DatasetPlan, *, rows: Callable[[int], Sequence[int]] | None = None
    ) -> None:
        """Args:
          plan: one mixture without end, or stages one after another.
          rows: batch size to the rows of a batch that this host reads, ascending, for its
            devices (`sharding.local_rows`); None reads all.

        Raises:
          InputError: an unknown task, a set that is missing, empty or of another length or
            tokenizer than the others, an impossible batch size, a plan without stages.
        """
        self.plan = plan
        stages = _opened(plan)
        self._stages = stages
        self._starts = [stage.first_step for stage in stages]
        rows = rows or range
        self._rows = [list(rows(stage.dataset.config.batch_size)) for stage in stages]
        self.num_steps = stages[-1].end_step
        self.source_names = tuple(sorted({n for stage in stages for n in stage.dataset.names}))
        self.num_records = {
            name: stage.dataset.sets[name].num_records
            for stage in stages
            for name in stage.dataset.names
        }
        self._set_tokens = {
            name: stage.dataset.sets[name].num_records * stage.dataset.sequence_length
            for stage in stages
            for name in stage.dataset.names
        }
        self.packed_dir = stages[0].dataset.config.packed_dir
        first = stages[0].dataset.fingerprint
        self.tokenizer_fingerprint: str = first["tokenizer"]
        self.fingerprint: dict[str, Any] = first
        if not isinstance(plan, DatasetConfig):
            self.fingerprint = {
                "stages": {
                    str(number): {"steps": stage.steps, **stage.dataset.fingerprint}
                    for number, stage in enumerate(stages, start=1)
                }
            }
        # A store answers after some 50 ms, so rows are asked for side by side.
        remote = any(stage.dataset.is_remote for stage in stages)
        self._pool = concurrent.futures.ThreadPoolExecutor(_REQUESTS, "rows") if remote else None

    def batch(self, k: int) -> Batch:
        """Batch k, this host's rows: int32[b, S] of each of `formats.packed.BATCH_KEYS`.

        Raises:
          InputError: the plan ends before step k, or a record is damaged.
        """
        return _features(self.arrays(k))

    def arrays(self, k: int) -> np.ndarray:
        """What batch k is made of: int32[4, b, S+1], in the order of `formats.packed.ARRAYS`."""
        number, first = self._place(k)
        read = self._pool.map if self._pool else map
        numbers = [first + row for row in self._rows[number]]
        rows = list(read(self._stages[number].dataset.sequence, numbers))
        return np.array([[row[name] for row in rows] for name in ARRAYS])

    def iterate(
        self, first_step: int = 0, prefetch: int = 2, num_processes: int = 0
    ) -> Generator[Batch]:
        """Batches `first_step`, `first_step` + 1, ... to the end of the plan.

        Args:
          first_step: where to start; its size makes no difference to the time it takes.
          prefetch: batches that threads prepare ahead; the batches do not depend on it.
          num_processes: processes that prepare batches instead; 0 for threads.

        Raises:
          InputError: as `batch`, when it is that batch's turn.
          PrefetchError: a process ended.
        """
        require_at_least(1, prefetch=prefetch)
        require_at_least(0, num_prefetch_processes=num_processes)
        # A plan without end has more steps than anybody will make.
        end = sys.maxsize if self.num_steps is None else self.num_steps
        steps = iter(range(first_step, end))
        if num_processes:
            made = prefetching.arrays_from_processes(self, steps, num_processes)
            with contextlib.closing(made):
                yield from map(_features, made)
            return
        with concurrent.futures.ThreadPoolExecutor(min(prefetch, 4), "batches") as pool:
            pending = collections.deque(
                pool.submit(self.batch, k) for k in itertools.islice(steps, prefetch)
            )
            try:
                while pending:
                    yield pending.popleft().result()
                    pending.extend(pool.submit(self.batch, k) for k in itertools.islice(steps, 1))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def portable_plan(self) -> DatasetPlan:
        """The plan with rates in place of seqio's names, which another process does not know."""
        configs = [
            dataclasses.replace(
                stage.dataset.config, mixture_or_task_name=stage.dataset.fingerprint["mixture"]
            )
            for stage in self._stages
        ]
        if isinstance(self.plan, DatasetConfig):
            return configs[0]
        return [
            dataclasses.replace(stage, dataset=config)
            for stage, config in zip(self.plan, configs, strict=True)
        ]

    def rows_of_batch_sizes(self) -> dict[int, list[int]]:
        """Each stage's batch size to the rows of a batch that this host reads."""
        sizes = (stage.dataset.config.batch_size for stage in self._stages)
        return dict(zip(sizes, self._rows, strict=True))

    def shape(self, k: int) -> tuple[int, int]:
        """(B, S) of batch k, of all hosts together."""
        dataset = self._stages[self._number(k)].dataset
        return dataset.config.batch_size, dataset.sequence_length

    def stage(self, k: int) -> int:
        """The number, from 0, of the stage that batch k belongs to."""
        return self._number(k)

    def row_source_ids(self, k: int) -> np.ndarray:
        """int32[b]: the set in `source_names` of each of this host's rows of batch k."""
        number, first = self._place(k)
        dataset = self._stages[number].dataset
        ids = [self.source_names.index(name) for name in dataset.names]
        return np.array([ids[dataset.source(first + row)] for row in self._rows[number]], np.int32)

    def source_counts(self, k: int) -> dict[str, int]:
        """Rows of each set in batch k, of all hosts together."""
        number, first = self._place(k)
        dataset = self._stages[number].dataset
        before, after = dataset.counts(first), dataset.counts(first + dataset.config.batch_size)
        return {name: after[name] - before[name] for name in dataset.names}

    def spans(self, first_step: int, last_step: int) -> Iterator[tuple[Dataset, int, int]]:
        """Where batches `first_step` to `last_step` - 1 come from.

        Returns:
          For each stage that has some of them its mixture, the first of its rows, and the row
          after the last one.
        """
        for stage in self._stages:
            end = last_step if stage.end_step is None else min(last_step, stage.end_step)
            first, last = max(first_step - stage.first_step, 0), end - stage.first_step
            if last > first:
                size = stage.dataset.config.batch_size
                yield stage.dataset, first * size, last * size

    def epochs(self, tokens_by_source: Mapping[str, int]) -> dict[str, float]:
        """How often each set has been gone through.

        Args:
          tokens_by_source: target tokens taken from each set so far, in earlier phases too. A
            set that was packed at several lengths counts as one, its packings have as many.
        """
        return {
            name: tokens_by_source.get(name, 0) / tokens
            for name, tokens in self._set_tokens.items()
        }

    def sequences_before(self, k: int) -> int:
        """Sequences of all hosts in batches 0 to k - 1."""
        return sum(rows for _, _, rows in self.spans(0, k))

    def tokens_before(self, k: int) -> int:
        """Target tokens of all hosts in batches 0 to k - 1, each stage with its own S."""
        return sum(rows * dataset.sequence_length for dataset, _, rows in self.spans(0, k))

    def _number(self, k: int) -> int:
        if k < 0 or (self.num_steps is not None and k >= self.num_steps):
            raise InputError(
                f"there is no batch {k}: the stages have {self.num_steps} steps in all"
            )
        return bisect.bisect_right(self._starts, k) - 1

    def _place(self, k: int) -> tuple[int, int]:
        """The stage of batch k, and the row of its mixture that the batch begins with."""
        number = self._number(k)
        stage = self._stages[number]
        return number, (k - stage.first_step) * stage.dataset.config.batch_size


def _features(arrays: np.ndarray) -> Batch:
    return features_of(dict(zip(ARRAYS, arrays, strict=True)))


@dataclasses.dataclass(frozen=True)
class _Stage:
    first_step: int
    steps: int | None
    dataset: Dataset

    @property
    def end_step(self) -> int | None:
        return None if self.steps is None else self.first_step + self.steps


def _opened(plan: DatasetPlan) -> list[_Stage]:
    if isinstance(plan, DatasetConfig):
        return [_Stage(0, None, Dataset(plan))]
    if not plan:
        raise InputError("a plan of no stages, expected a DatasetConfig or at least one stage")
    stages: list[_Stage] = []
    taken: collections.Counter[Order] = collections.Counter()
    first_step = 0
    for number, stage in enumerate(plan, start=1):
        require_at_least(1, **{f"steps of stage {number}": stage.steps})
        dataset = Dataset(stage.dataset, taken)
        if stages:
            _check_tokenizer(number, dataset, stages[0].dataset)
        stages.append(_Stage(first_step, stage.steps, dataset))
        first_step += stage.steps
        for name, rows in dataset.counts(stage.steps * stage.dataset.batch_size).items():
            taken[dataset.orders[name]] += rows
    return stages


def _check_tokenizer(number: int, dataset: Dataset, first: Dataset) -> None:
    here, there = dataset.fingerprint["tokenizer"], first.fingerprint["tokenizer"]
    if here != there:
        raise InputError(
            f"stage {number}: {dataset.config.packed_dir} was packed with tokenizer {here}, that "
            f"of stage 1 with {there}; pack both with one"
        )
