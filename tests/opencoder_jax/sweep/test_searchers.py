"""Searchers keep nothing between questions, stay in the space and, where they learn, get better."""

import math

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.sweep.definition import Choice, Range, Search
from opencoder_jax.sweep.searchers import OptunaSearcher, RandomSearcher, Trial

PEAK = Range("pretrain", "schedules.WarmupStable.peak", 1e-5, 1e-1, log=True)
LAYERS = Range("pretrain", "config.TransformerConfig.num_layers", 2, 12, integer=True)
KIND = Choice("pretrain", "OPTIMIZER_KIND", ("adamw", "muon"))
SPACE = (PEAK, LAYERS, KIND)
SEARCHERS = {"random": RandomSearcher(), "tpe": OptunaSearcher(startup_trials=4)}


def _result(point):
    """Best at a rate of 1e-3, with 6 layers and Muon."""
    rate = (math.log10(point["peak"]) + 3) ** 2
    return rate + 0.1 * (point["num_layers"] - 6) ** 2 + (point["optimizer_kind"] == "adamw")


def _searched(searcher, count, batch=1):
    trials = []
    while len(trials) < count:
        points = searcher.suggest(SPACE, trials, min(batch, count - len(trials)), "lower")
        trials.extend(Trial(point, _result(point)) for point in points)
    return trials


@pytest.mark.parametrize("name", SEARCHERS)
def test_suggestions_are_points_of_the_space(name):
    for trial in _searched(SEARCHERS[name], 12, batch=4):
        assert 1e-5 <= trial.point["peak"] <= 1e-1
        assert isinstance(trial.point["num_layers"], int)
        assert 2 <= trial.point["num_layers"] <= 12
        assert trial.point["optimizer_kind"] in KIND.values


@pytest.mark.parametrize("name", SEARCHERS)
def test_the_same_trials_give_the_same_suggestions_and_no_point_twice(name):
    trials = _searched(SEARCHERS[name], 8, batch=4)
    assert _searched(SEARCHERS[name], 8, batch=4) == trials
    assert len({tuple(trial.point.values()) for trial in trials}) == 8


def test_draws_do_not_depend_on_how_many_are_asked_at_once():
    assert _searched(RandomSearcher(3), 6, batch=1) == _searched(RandomSearcher(3), 6, batch=4)


def test_optuna_follows_the_results():
    best = min(trial.result for trial in _searched(OptunaSearcher(), 40))
    # Random draws reach 0.2 or less in one of 60: a rate and a number of layers near the best.
    late = [trial.result for trial in _searched(OptunaSearcher(), 40)[20:]]
    drawn = [trial.result for trial in _searched(RandomSearcher(), 40)]
    assert sum(late) / len(late) < 0.5 * sum(drawn) / len(drawn)
    assert best < 0.5


def test_unknown_and_failed_trials_are_no_results():
    known = _searched(OptunaSearcher(startup_trials=2), 6)
    waiting = [*known, Trial(known[0].point, None), Trial(known[1].point, math.nan)]
    (point,) = OptunaSearcher(startup_trials=2).suggest(SPACE, waiting, 1, "lower")
    assert 1e-5 <= point["peak"] <= 1e-1


def test_a_trial_outside_of_the_space_is_told():
    with pytest.raises(InputError, match="no point of the search's space"):
        OptunaSearcher().suggest((PEAK,), [Trial({"peak": 0.5}, 1.0)], 1, "lower")


def test_higher_is_better_turns_the_search_round():
    trials = []
    while len(trials) < 30:
        (point,) = OptunaSearcher().suggest(SPACE, trials, 1, "higher")
        trials.append(Trial(point, -_result(point)))
    late = [-trial.result for trial in trials[15:]]
    assert sum(late) / len(late) < sum(-trial.result for trial in trials[:15]) / 15


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"low": 1.0, "high": 1.0}, "expected a smaller and a larger number"),
        ({"low": 0.0, "high": 1.0, "log": True}, "both positive"),
        ({"low": 0.5, "high": 2.0, "integer": True}, "whole numbers"),
    ],
)
def test_a_range_that_is_none_is_refused(settings, told):
    with pytest.raises(InputError, match=told):
        Range("pretrain", "X", **settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"space": ()}, "one dimension at least"),
        ({"trials": 0}, "trials is 0"),
        ({"space": (PEAK, PEAK)}, "a name of its own"),
        ({"searcher": "optuna"}, "expected one of sweep.searchers"),
    ],
)
def test_a_search_that_cannot_run_is_refused(settings, told):
    with pytest.raises(InputError, match=told):
        Search(**{"space": SPACE, "trials": 3, "searcher": RandomSearcher()} | settings)
