"""What a sweep is: stages, arms that change some of them, seeds, a baseline, metrics.

These are the classes that a sweep's gin file binds; they only hold and check what was written.
Next: `expansion` makes arms of them, `planning.planner` the plan.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from opencoder_jax.errors import InputError, require_at_least, require_positive

# Names become parts of folder names, of `ARM/SEED` and of `STAGE:MEASURE`.
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")
Value = int | float | str | bool | None


@dataclasses.dataclass(frozen=True)
class Stage:
    """A command with its configuration; its folder is named after what that resolves to.

    Attributes:
      name: within the sweep, and the beginning of its folder's name.
      command: the module that `python -m` runs, one that ends in `configuration.main`.
      gin_files: as the command's `--gin_file`.
      bindings: as `--gin.` takes them (`TRAIN_STEPS=300`), or name to value, so that a macro of
        the sweep can be one: `{'SOURCE_FILES': %CORPUS_FILES}`.
      inputs: what is bound to another stage's folder: `{'PACKED_DIR': 'packed'}`, or to a folder
        in it: `{'INPUT_DIR': 'annealing_data/code_snippets'}`.
      output: what is bound to its own folder.
      seed: what the sweep's seed is bound to; None: one result serves every seed.
      pool: the kind of worker that runs it, e.g. `data` or `train` (`run --pools`).
      flags: further words of the command that do not change its result, e.g. Beam's
        `--runner=DataflowRunner`; no part of the key.
    """

    name: str
    command: str
    gin_files: Sequence[str] = ()
    bindings: Sequence[str] | Mapping[str, Any] = ()
    inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    output: str = "OUTPUT_DIR"
    seed: str | None = None
    pool: str = "default"
    flags: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_name("stage", self.name)
        check_name("pool", self.pool)
        if isinstance(self.bindings, Mapping):
            lines = tuple(f"{name}={value!r}" for name, value in self.bindings.items())
            object.__setattr__(self, "bindings", lines)


@dataclasses.dataclass(frozen=True)
class GatheredSets:
    """A stage that shows folders of several stages as one folder of packed sets, without a copy.

    Attributes:
      name: of the stage.
      sets: name of a set (what mixtures call it) to the stage whose folder it is.
    """

    name: str
    sets: Mapping[str, str]

    def __post_init__(self) -> None:
        check_name("stage", self.name)
        if not self.sets:
            raise InputError(f"GatheredSets {self.name!r} has no sets, expected one at least")


@dataclasses.dataclass(frozen=True)
class Arms:
    """Named arms, each a change of some stages.

    Attributes:
      arms: arm to stage to lines. A line is a gin file that is read after the stage's own
        (`refinecode/dedup/chunk.gin`), a binding (`FIM_RATE=0.5`), or another input
        (`INITIAL_CHECKPOINT_PATH <- pretrain`). `{}` changes nothing.
    """

    arms: Mapping[str, Mapping[str, Sequence[str]]]


@dataclasses.dataclass(frozen=True)
class Axis:
    """One binding of one stage at several values.

    Attributes:
      stage: whose binding it is.
      binding: what is bound, as in `--gin.BINDING=VALUE`.
      values: a list, or a name for each value.
      name: before the value in the arm's name, `NAME=VALUE`; None: the binding's last part, in
        lower case.
    """

    stage: str
    binding: str
    values: (
        Sequence[int | float | str | bool | None] | Mapping[str, int | float | str | bool | None]
    )
    name: str | None = None


@dataclasses.dataclass(frozen=True)
class Product:
    """Every combination of one arm of each, the last changing fastest.

    Attributes:
      of: what is combined.
    """

    of: Sequence["ArmSource"]


@dataclasses.dataclass(frozen=True)
class Zip:
    """The first arms of each together, the second ones, and so on; all have equally many.

    Attributes:
      of: what is combined.
    """

    of: Sequence["ArmSource"]


@dataclasses.dataclass(frozen=True)
class Chain:
    """One after the other.

    Attributes:
      of: what is listed.
    """

    of: Sequence["ArmSource"]


@dataclasses.dataclass(frozen=True)
class Range:
    """A dimension of a search: a number from `low` to `high`, both included.

    Attributes:
      stage: whose binding it is.
      binding: what is bound.
      low, high: its ends.
      log: equal ratios are equally likely, not equal differences.
      integer: only whole numbers.
      name: in the tables; None: the binding's last part, in lower case.
    """

    stage: str
    binding: str
    low: float
    high: float
    log: bool = False
    integer: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise InputError(
                f"Range of {self.binding!r} goes from {self.low} to {self.high}, expected a "
                "smaller and a larger number, both positive where log = True"
            )
        if self.integer and not (float(self.low).is_integer() and float(self.high).is_integer()):
            raise InputError(
                f"Range of {self.binding!r} has integer = True, expected whole numbers as ends"
            )

    @property
    def title(self) -> str:
        return self.name or last_part(self.binding)


@dataclasses.dataclass(frozen=True)
class Choice:
    """A dimension of a search: one of some values without an order.

    Attributes:
      stage: whose binding it is.
      binding: what is bound.
      values: the choices.
      name: in the tables; None: the binding's last part, in lower case.
    """

    stage: str
    binding: str
    values: Sequence[Value]
    name: str | None = None

    def __post_init__(self) -> None:
        if not self.values:
            raise InputError(f"Choice of {self.binding!r} has no values, expected one at least")

    @property
    def title(self) -> str:
        return self.name or last_part(self.binding)


@dataclasses.dataclass(frozen=True)
class Search:
    """Arms that follow from the results of others: `trial-0001`, `trial-0002`, ...

    The action `search` plans, runs and measures them, a batch at a time.

    Attributes:
      space: what is varied.
      trials: arms in all.
      searcher: who suggests them; a `searchers.Searcher`.
      batch: suggested at a time; as many as there are workers keep them busy.
    """

    space: Sequence[Range | Choice]
    trials: int
    searcher: Any
    batch: int = 1

    def __post_init__(self) -> None:
        if not self.space:
            raise InputError("Search has no space, expected one dimension at least")
        require_at_least(1, trials=self.trials, batch=self.batch)
        titles = [dimension.title for dimension in self.space]
        if len(set(titles)) != len(titles):
            raise InputError(f"dimensions {titles}: give each a name of its own")
        if not hasattr(self.searcher, "suggest"):
            raise InputError(
                f"Search.searcher is {self.searcher!r}, expected one of sweep.searchers, e.g. "
                "@searchers.OptunaSearcher()"
            )


ArmSource = Arms | Axis | Product | Zip | Chain | Search


@dataclasses.dataclass(frozen=True)
class Budget:
    """Trains every arm as long: sets the steps of a stage by what its model and batches are.

    Attributes:
      stage: a stage of `opencoder_jax.train`.
      tokens: target tokens of each arm.
      flops: or floating point operations of each arm (`training.flops`).
      binding: what the steps are bound to.
    """

    stage: str
    tokens: float | None = None
    flops: float | None = None
    binding: str = "TRAIN_STEPS"

    def __post_init__(self) -> None:
        given = {n: v for n, v in (("tokens", self.tokens), ("flops", self.flops)) if v is not None}
        if len(given) != 1:
            raise InputError(
                f"Budget of {self.stage!r} has {sorted(given) or 'neither tokens nor flops'}, "
                "expected one of tokens and flops"
            )
        require_positive(**given)


@dataclasses.dataclass(frozen=True)
class Metric:
    """A figure of one stage by which arms are compared.

    Attributes:
      stage: a stage of `opencoder_jax.evaluate` or `opencoder_jax.train`.
      measure: of `evaluate`: `bits_per_byte` (all languages of the set `of`, or
        `of='SET/LANGUAGE'`), `pass@K` of the benchmark `of`; of `train`: `heldout_loss`, `loss`.
      of: see `measure`.
      name: in tables; None: made of the other three.
    """

    stage: str
    measure: str
    of: str | None = None
    name: str | None = None

    @property
    def title(self) -> str:
        return self.name or f"{self.stage} {self.measure}" + (f" {self.of}" if self.of else "")

    @property
    def better(self) -> Literal["lower", "higher"]:
        return "higher" if self.of_problems else "lower"

    @property
    def of_problems(self) -> bool:
        """Whether it is a rate over the problems of a benchmark."""
        return self.measure.startswith("pass@")


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What one gin file describes.

    Attributes:
      name: of the sweep.
      title: one sentence: the question that it answers.
      stages: all stages that an arm may have, in any order. An arm runs those that its metrics
        and `keep` need, directly or through inputs.
      arms: what differs.
      baseline: the arm that others are compared with; None: the first.
      seeds: each arm is run with each.
      metrics: the first decides the verdict.
      keep: stages that are run though no metric needs them, e.g. an export.
      budget: how long stages train; none: what their gin files say.
      expected: what the paper found, for the report; empty where it says nothing.
    """

    name: str
    title: str
    stages: Sequence[Stage | GatheredSets]
    arms: ArmSource
    metrics: Sequence[Metric]
    baseline: str | None = None
    seeds: Sequence[int] = (0,)
    keep: Sequence[str] = ()
    budget: Sequence[Budget] = ()
    expected: str = ""

    def __post_init__(self) -> None:
        check_name("sweep", self.name)
        names = [stage.name for stage in self.stages]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"sweep {self.name!r} has several stages named {', '.join(twice)}")
        if not self.metrics:
            raise InputError(f"sweep {self.name!r} has no metrics: what should decide?")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise InputError(
                f"seeds are {list(self.seeds)}, expected one or more different numbers"
            )


def last_part(binding: str) -> str:
    """`schedules.WarmupStable.peak` as `peak`, for the names of arms."""
    return binding.rpartition(".")[2].lower()


def check_name(of: str, name: str) -> None:
    """Raises: InputError: it cannot be a part of a folder's name; an arm's may have a `=`."""
    if not _NAME.fullmatch(name.replace("=", "-") if of == "arm" else name):
        raise InputError(
            f"{of} {name!r}: expected letters, digits, '.', '_', '+' or '-', the first one a "
            "letter or digit"
        )
