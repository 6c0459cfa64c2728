"""Who says what to try next: random draws, or Optuna, behind one interface.

A searcher is asked with everything that is known, the space and all trials so far with their
results, and keeps nothing between two questions: the same trials give the same suggestions, on
any machine and after any kill. No server and no database is needed.
Next: `search` runs the trials.
"""

import dataclasses
import importlib.util
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from opencoder_jax.errors import InputError
from opencoder_jax.sweep.definition import Choice, Range, Value

Point = Mapping[str, Value]


class Trial(NamedTuple):
    """One point of the space.

    Attributes:
      point: name of a dimension to its value.
      result: the deciding metric, mean over the seeds; None: not known yet; NaN: it failed.
    """

    point: Point
    result: float | None = None


class Searcher(Protocol):
    """Suggests points."""

    def suggest(
        self,
        space: Sequence[Range | Choice],
        trials: Sequence[Trial],
        count: int,
        better: Literal["lower", "higher"],
    ) -> list[dict[str, Value]]:
        """`count` points to try next, given all `trials` suggested so far, in their order."""
        ...


@dataclasses.dataclass(frozen=True)
class RandomSearcher:
    """Independent draws, uniform or log-uniform as each dimension says.

    Attributes:
      seed: of the draws.
    """

    seed: int = 0

    def suggest(
        self,
        space: Sequence[Range | Choice],
        trials: Sequence[Trial],
        count: int,
        better: Literal["lower", "higher"],
    ) -> list[dict[str, Value]]:
        numbers = range(len(trials), len(trials) + count)
        # A generator for each trial: what is drawn does not depend on how many are asked at once.
        generators = [random.Random(f"{self.seed}/{number}") for number in numbers]
        return [{d.title: _drawn(d, generator) for d in space} for generator in generators]


@dataclasses.dataclass(frozen=True)
class OptunaSearcher:
    """Optuna's tree-structured Parzen estimators (https://optuna.org), all trials replayed.

    Attributes:
      startup_trials: random trials before the sampler follows results.
      seed: of the sampler.
    """

    startup_trials: int = 10
    seed: int = 0

    def suggest(
        self,
        space: Sequence[Range | Choice],
        trials: Sequence[Trial],
        count: int,
        better: Literal["lower", "higher"],
    ) -> list[dict[str, Value]]:
        """As `Searcher.suggest`.

        Raises:
          InputError: Optuna is not installed, or a trial is no point of the space.
        """
        if importlib.util.find_spec("optuna") is None:
            raise InputError("OptunaSearcher needs Optuna: pip install opencoder-jax[search]")
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        distributions = {dimension.title: _distribution(dimension) for dimension in space}
        study = optuna.create_study(
            direction="minimize" if better == "lower" else "maximize",
            # Of another seed at each question, or every batch would begin with the same draws.
            # `constant_liar` keeps it away from trials that are running.
            sampler=optuna.samplers.TPESampler(
                n_startup_trials=self.startup_trials,
                seed=self.seed + len(trials),
                constant_liar=True,
            ),
        )
        for trial in trials:
            try:
                study.add_trial(_frozen(trial, distributions))
            except ValueError as error:
                raise InputError(
                    f"trial {dict(trial.point)} is no point of the search's space ({error}): the "
                    "space has changed since; search in a new SWEEP_DIR (finished stages are kept)"
                ) from error
        return [dict(study.ask(distributions).params) for _ in range(count)]


def _drawn(dimension: Range | Choice, generator: random.Random) -> Value:
    if isinstance(dimension, Choice):
        return generator.choice(list(dimension.values))
    if dimension.integer and not dimension.log:
        return generator.randint(int(dimension.low), int(dimension.high))
    if not dimension.log:
        return generator.uniform(dimension.low, dimension.high)
    value = math.exp(generator.uniform(math.log(dimension.low), math.log(dimension.high)))
    value = min(max(value, dimension.low), dimension.high)
    return round(value) if dimension.integer else value


def _distribution(dimension: Range | Choice) -> Any:
    import optuna

    if isinstance(dimension, Choice):
        return optuna.distributions.CategoricalDistribution(list(dimension.values))
    if dimension.integer:
        return optuna.distributions.IntDistribution(
            int(dimension.low), int(dimension.high), log=dimension.log
        )
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _frozen(trial: Trial, distributions: Mapping[str, Any]) -> Any:
    import optuna

    running, failed = trial.result is None, trial.result is not None and math.isnan(trial.result)
    state = (
        optuna.trial.TrialState.RUNNING
        if running
        else optuna.trial.TrialState.FAIL
        if failed
        else optuna.trial.TrialState.COMPLETE
    )
    return optuna.trial.create_trial(
        params=dict(trial.point),
        distributions=dict(distributions),
        value=None if running or failed else trial.result,
        state=state,
    )
