"""A search plans, runs and measures its trials, remembers them, and goes on where it was."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.sweep import search as search_action
from opencoder_jax.sweep.definition import (
    Arms,
    Chain,
    Choice,
    Metric,
    Range,
    Search,
    Stage,
    Sweep,
)
from opencoder_jax.sweep.plan_file import Plan, PlannedRun, read_plan
from opencoder_jax.sweep.results.measurements import Measured, RunFigures, StageFigures, measure
from opencoder_jax.sweep.searchers import RandomSearcher
from tests import packed_example
from tests.opencoder_jax import small_run
from tests.opencoder_jax.sweep.small_sweep import wait_until

PEAK = Range("pretrain", "schedules.WarmupStable.peak", 1e-4, 1e-2, log=True)
DECAY = Choice("pretrain", "optimizers.AdamW.weight_decay", (0.0, 0.1))
SEARCH = Search((PEAK, DECAY), trials=3, searcher=RandomSearcher(), batch=2)
WRITTEN = Arms({"as_written": {}})
_SWEEP = """
from __gin__ import dynamic_registration

from opencoder_jax.sweep import definition
from opencoder_jax.sweep import searchers

include 'sweeps/base.gin'

definition.Sweep:
  name = 'search'
  title = 'Which rate?'
  stages = [@definition.Stage()]
  arms = @definition.Search()
  seeds = [0]
  metrics = [@definition.Metric()]
definition.Metric:
  stage = 'pretrain'
  measure = 'heldout_loss'
definition.Stage:
  name = 'pretrain'
  command = 'opencoder_jax.train'
  gin_files = ['pretrain/demo.gin']
  bindings = {bindings}
  output = 'MODEL_DIR'
  seed = 'RANDOM_SEED'
definition.Search:
  space = [@definition.Range()]
  trials = 2
  searcher = @searchers.RandomSearcher()
definition.Range:
  stage = 'pretrain'
  binding = 'schedules.WarmupStable.peak'
  low = 1e-4
  high = 1e-1
  log = True
"""


COMMAND = "tests.opencoder_jax.sweep.searched_command"
SEARCHED = """
from __gin__ import dynamic_registration
import __main__ as script
OUTPUT_DIR = %gin.REQUIRED
script.searched.output_dir = %OUTPUT_DIR
"""
RATE = Range("searched", "searched.rate", 0.1, 0.9)


def _searched(
    tmp_path: Path, *bindings: str, space: Range = RATE, trials: int = 4, searcher=None
) -> list[dict]:
    """Searches in this process, one trial at a time; the points that it leaves."""
    (tmp_path / "searched.gin").write_text(SEARCHED)
    stage = Stage("searched", COMMAND, [f"{tmp_path}/searched.gin"], list(bindings))
    sweep = Sweep(
        name="search",
        title="Which rate?",
        stages=[stage],
        arms=Search([space], trials=trials, searcher=searcher or RandomSearcher()),
        metrics=[Metric("searched", "bytes a token")],
    )
    folder = f"{tmp_path}/sweeps/search"
    search_action.plan(sweep, folder)
    return search_action.read_points(folder)


def _search(tmp_path, *more):
    steps = small_run.flags(
        "--gin.schedules.WarmupStable.warmup_steps=2",
        "--gin.train.eval_period=0",
        steps=6,
        save_period=6,
    )
    bindings = [flag.removeprefix("--gin.") for flag in steps if flag.startswith("--gin.")]
    path = tmp_path / "sweep.gin"
    path.write_text(_SWEEP.format(bindings=bindings))
    command = [sys.executable, "-m", "opencoder_jax.sweep", "search", f"--gin_file={path}"]
    return subprocess.run(
        [*command, f"--sweep_dir={tmp_path / 'sweeps' / 'search'}", *more],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_search_runs_real_trainings_and_does_nothing_twice(tmp_path):
    packed_example.packed_dir()
    first = _search(tmp_path)
    assert first.returncode == 0, first.stderr
    sweep_dir = str(tmp_path / "sweeps" / "search")
    plan = read_plan(sweep_dir)
    assert plan.arms == ["trial-0001", "trial-0002"]
    points = search_action.read_points(sweep_dir)
    for number, point in enumerate(points):
        key = plan.run(search_action.name(number), 0).stages["pretrain"]
        assert plan.stages[key].bindings["train.schedule.peak"] == repr(point["peak"])
    trials = search_action.measured_trials(measure(plan), points)
    (run,) = measure(plan).of_arm("trial-0002")
    assert trials[1].result == run.value(plan.metrics[0])
    assert trials[0].result != trials[1].result

    again = _search(tmp_path)
    assert again.returncode == 0, again.stderr
    assert search_action.read_points(sweep_dir) == points
    assert ": started" not in again.stderr


def test_a_trial_that_fails_is_left_out(tmp_path):
    rates = [point["rate"] for point in RandomSearcher().suggest([RATE], [], 4, "lower")]
    # The third one is the highest, and impossible.
    assert max(rates) == rates[2]
    points = _searched(tmp_path, f"searched.highest={sorted(rates)[-2]}")
    assert [point["rate"] for point in points] == rates
    measured = measure(read_plan(tmp_path / "sweeps" / "search"))
    results = [trial.result for trial in search_action.measured_trials(measured, points)]
    assert math.isnan(results.pop(2))
    assert results == rates[:2] + rates[3:]


def test_trial_after_trial_that_fails_ends_a_search_that_may_be_started_again(tmp_path):
    folder = str(tmp_path / "sweeps" / "search")
    for tried in (3, 5, 5):
        with pytest.raises(InputError, match="trials failed, or have no finite searched bytes"):
            _searched(tmp_path, "searched.highest=0.0", trials=5)
        assert len(search_action.read_points(folder)) == tried


def test_a_mistake_in_the_space_leaves_no_trials(tmp_path):
    with pytest.raises(InputError, match="RATTE"):
        _searched(tmp_path, space=Range("searched", "RATTE", 0.1, 0.9), trials=1)
    assert len(_searched(tmp_path, trials=1)) == 1


class Meddled:
    """Before it has answered a second time, another process has written its trials."""

    def __init__(self, folder: Path):
        self.place = folder / search_action.TRIALS_NAME

    def suggest(self, space, trials, count, better):
        if trials:
            self.place.write_text(json.dumps({"points": [{"rate": 0.5}]}))
        return RandomSearcher().suggest(space, trials, count, better)


class Tired:
    def suggest(self, space, trials, count, better):
        return []


def test_a_searcher_without_suggestions_ends_the_search(tmp_path):
    with pytest.raises(InputError, match="Tired suggested no points, expected 1"):
        _searched(tmp_path, searcher=Tired(), trials=1)


def test_two_searches_in_one_folder_do_not_go_on_together(tmp_path):
    with pytest.raises(InputError, match="one process searches in a folder"):
        _searched(tmp_path, searcher=Meddled(tmp_path / "sweeps" / "search"))


def test_a_stage_of_a_search_that_is_told_to_stop_saves_before_it_ends(tmp_path):
    (tmp_path / "searched.gin").write_text(SEARCHED)
    text = _SWEEP.format(bindings=["searched.waits=True"])
    for before, after in (
        ("opencoder_jax.train'", f"{COMMAND}'"),
        ("pretrain/demo.gin", f"{tmp_path}/searched.gin"),
        ("'MODEL_DIR'", "'OUTPUT_DIR'"),
        ("  seed = 'RANDOM_SEED'\n", ""),
        ("schedules.WarmupStable.peak", "searched.rate"),
    ):
        assert before in text
        text = text.replace(before, after)
    (tmp_path / "sweep.gin").write_text(text)
    command = [sys.executable, "-m", "opencoder_jax.sweep", "search"]
    search = subprocess.Popen(
        [*command, f"--gin_file={tmp_path}/sweep.gin", f"--sweep_dir={tmp_path}/sweeps/search"]
    )
    wait_until(lambda: search.poll() is not None or list(tmp_path.glob("sweeps/*/*/waiting")))
    search.send_signal(signal.SIGTERM)
    assert search.wait(120) == 143
    assert list(tmp_path.glob("sweeps/stages/*/saved"))


def test_a_trial_is_the_mean_over_its_seeds_and_without_one_of_them_none():
    metric = Metric("pretrain", "heldout_loss")
    runs = []
    for number, losses in enumerate([(1.0, 2.0), (1.0, None)]):
        for seed, loss in enumerate(losses):
            values = {} if loss is None else {"heldout_loss": loss}
            state = "failed" if loss is None else "finished"
            figures = StageFigures("pretrain-0", "pretrain", state, values)
            planned = PlannedRun(search_action.name(number), seed, {"pretrain": "pretrain-0"})
            runs.append(RunFigures(planned, {"pretrain": figures}))
    plan = Plan("x", "x", "x", "trial-0001", (0, 1), (metric,), [r.run for r in runs], {})
    points = [{"peak": 1e-3}, {"peak": 2e-3}]
    trials = search_action.measured_trials(Measured(plan, runs, {}), points)
    assert trials[0] == (points[0], 1.5)
    assert math.isnan(trials[1].result)


def test_trials_stand_in_the_place_of_the_search():
    points = [{"peak": 1e-3, "weight_decay": 0.1}, {"peak": 2e-3, "weight_decay": 0.0}]
    found = search_action.with_trials(Chain([WRITTEN, SEARCH]), SEARCH, points)
    assert found.of[0] is WRITTEN
    assert found.of[1].arms == {
        "trial-0001": {
            "pretrain": [
                "schedules.WarmupStable.peak=0.001",
                "optimizers.AdamW.weight_decay=0.1",
            ]
        },
        "trial-0002": {
            "pretrain": [
                "schedules.WarmupStable.peak=0.002",
                "optimizers.AdamW.weight_decay=0.0",
            ]
        },
    }


def test_trials_of_another_space_are_told():
    with pytest.raises(InputError, match="has a trial of peak, the search's space is peak, weigh"):
        search_action.with_trials(SEARCH, SEARCH, [{"peak": 1e-3}])


@pytest.mark.parametrize(
    "point",
    [
        {"peak": 0.5, "weight_decay": 0.1},
        {"peak": "high", "weight_decay": 0.1},
        {"peak": 1e-3, "weight_decay": 0.3},
        {"peak": 1e-3, "weight_decay": [0.1]},
    ],
)
def test_trials_outside_of_the_space_are_told(point):
    with pytest.raises(InputError, match="which is not in the search's space"):
        search_action.with_trials(SEARCH, SEARCH, [point])


@pytest.mark.parametrize("text", ["{", '{"points": 3}', '{"points": [3]}', "[]"])
def test_damaged_trials_are_told_with_their_file(tmp_path, text):
    (tmp_path / "trials.json").write_text(text)
    with pytest.raises(InputError, match=r"trials\.json"):
        search_action.read_points(str(tmp_path))


def test_no_trials_yet_are_none(tmp_path):
    assert search_action.read_points(str(tmp_path)) == []


@pytest.mark.parametrize("arms", [WRITTEN, Chain([SEARCH, SEARCH])])
def test_arms_without_one_search_are_refused(arms):
    with pytest.raises(InputError, match="expected one"):
        search_action._search_of(arms)
