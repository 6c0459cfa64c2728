"""`plan`: every arm resolved by its command, shared stages found, mistakes told together."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from opencoder_jax.sweep import diff, plan
from opencoder_jax.sweep.__main__ import ACTIONS
from opencoder_jax.sweep.__main__ import main as sweep_main
from opencoder_jax.sweep.plan_file import Plan, read_plan
from tests.opencoder_jax.sweep.tiny_sweep import TINY, write_sweep

IDLE = """
from __gin__ import dynamic_registration
from tests.opencoder_jax.sweep import tiny_command
other/tiny_command.Recipe.rate = 0.7
"""


def planned(folder: Path, arms: str, more: str = "", **files: str) -> Plan:
    words = write_sweep(folder, arms, more, **files)
    assert plan.main(words) == 0
    return read_plan(folder / "sweeps" / "tiny")


def test_stages_are_shared_where_arms_do_the_same_up_to_there(tmp_path, capsys):
    arms = "{'base': {}, 'corpus': {'corpus': ['RATE=0.7']}, 'late': {'evaluate': ['RATE=0.7']}}"
    made = planned(tmp_path, arms)
    assert [run.name for run in made.runs] == [
        *("base/0", "base/1", "corpus/0", "corpus/1", "late/0", "late/1")
    ]
    base, other_seed, corpus, _, late, _ = (run.stages for run in made.runs)
    assert list(base) == ["corpus", "train", "evaluate"]
    assert base["corpus"] == other_seed["corpus"]
    assert base["train"] != other_seed["train"]
    assert all(base[name] != corpus[name] for name in base)
    assert base["train"] == late["train"]
    assert base["evaluate"] != late["evaluate"]
    assert list(made.stages) == list(
        dict.fromkeys(key for run in made.runs for key in run.stages.values())
    )
    train = made.stages[base["train"]]
    assert train.inputs == [base["corpus"]]
    assert train.bindings["tiny.input_dir"] == "'<corpus>'"
    assert train.bindings["tiny.output_dir"] == "'<output>'"
    assert train.bindings["tiny.recipe.words"] == "['a', 'b']"
    assert train.facts == {"steps": 10, "tokens": 1000, "flops": 1e7}
    folder = f"{tmp_path}/sweeps/stages/{base['train']}"
    assert f"--gin.OUTPUT_DIR='{folder}'" in made.arguments(base["train"])
    shown = capsys.readouterr().out
    assert "3 arms × 2 seeds: 6 runs; 12 stages to do, where each run by itself" in shown
    rows = [line.split() for line in shown.splitlines()]
    assert ["base", "corpus,", "train", "×", "2,", "evaluate", "×", "2"] in rows
    assert ["late", "evaluate", "×", "2", "base:", "all", "else"] in rows


def test_what_a_plan_says_is_what_runs(tmp_path):
    made = planned(tmp_path, "{'base': {}, 'high': {'corpus': ['RATE=0.75'], 'train': ['RATE=1']}}")
    for key, stage in made.stages.items():
        command = [sys.executable, "-m", stage.command, *made.arguments(key)]
        subprocess.run(command, check=True)
    results = {}
    for run in made.runs:
        folder = Path(made.stage_folder(run.stages["evaluate"]))
        value = json.loads((folder / "made.json").read_text())
        results[run.name] = value["before"]["before"]["rate"], value["before"]["seed"]
    assert results == {
        "base/0": (0.5, 0),
        "base/1": (0.5, 1),
        "high/0": (0.75, 0),
        "high/1": (0.75, 1),
    }


def test_equal_arms_are_run_once_however_they_are_written(tmp_path, capsys):
    arms = """{
        'base': {},
        'default': {'corpus': ['RATE=0.5', 'tiny.steps=10', 'Recipe.words=("a", "b")']},
        'file': {'train': ['rate_07.gin']},
        'macro': {'train': ['RATE=0.7']},
        'other_way': {'train': ['tiny.recipe=@x/tiny_command.Recipe()', 'RATE=0.7']},
        'as_is': {'evaluate': ['tiny.verbose=True']},
    }"""
    made = planned(tmp_path, arms, rate_07="RATE = 0.7\n")
    same = {run.arm: run.same_as for run in made.runs}
    assert same == {
        "base": None,
        "default": "base",
        "file": None,
        "macro": "file",
        "other_way": "file",
        "as_is": "base",
    }
    shown = " ".join(capsys.readouterr().out.split())
    assert "the same as arm file, and run once with it: arms macro, other_way" in shown
    assert "tiny.verbose: False, not True" in shown


def test_two_stages_that_are_the_same_are_one(tmp_path):
    arms = "{'base': {'train': ['EXTRA <- reference', 'extra.gin']}, 'b': {'corpus': ['RATE=0.7'],"
    arms += " 'train': ['EXTRA <- reference', 'extra.gin']}}"
    extra = """
from __gin__ import dynamic_registration
from tests.opencoder_jax.sweep import tiny_command
tiny_command.Recipe.words = [%EXTRA]
"""
    made = planned(tmp_path, arms, extra=extra)
    base, other = made.run("base", 0).stages, made.run("b", 0).stages
    assert base["corpus"] == base["reference"] == other["reference"]
    assert base["corpus"].startswith("corpus-")
    assert made.stages[base["train"]].bindings["tiny.recipe.words"] == "['<corpus>']"
    rows = list(diff.differences(made, made.run("base", 0), made.run("b", 0)))
    assert [(row.stage, row.setting) for row in rows] == [("corpus", "tiny.recipe.rate")]


def test_every_mistake_of_every_arm_is_told(tmp_path, capsys):
    arms = """{
        'base': {},
        'typo': {'train': ['RTAE=0.7']},
        'parameter': {'train': ['tiny.setps=3']},
        'type': {'train': ["RATE='high'"]},
        'idle': {'train': ['idle.gin'], 'corpus': ['nowhere.gin']},
        'facts': {'evaluate': ['tiny.steps=0']},
        'shadowed': {'evaluate': ['shadowed.gin']},
        'module': {'train': ['module.gin']},
        'default': {'train': ['shadowed.gin', 'RATE=0.1']},
        'not_run': {'reference': ['RATE=0.1']},
    }"""
    files = {"idle": IDLE, "shadowed": "RATE = 0.9\n"}
    files["module"] = IDLE.replace("other/", "").replace("rate = 0.7", "words = ['x']")
    more = """
evaluate/definition.Stage.bindings = ['RATE=0.3']
train/definition.Stage.bindings = ["Recipe.words=['a']"]
"""
    assert plan.main(write_sweep(tmp_path, arms, more, **files)) == 2
    said = capsys.readouterr().err
    for line in (
        "arm not_run: changes stage 'reference', which it does not run",
        "arm typo, stage 'train': these gin bindings never take effect on tiny",
        "arm parameter, stage 'train': --gin.tiny.setps=3: Configurable 'tiny' doesn't have",
        "arm type, stage 'train': wrong type of value: RATE = 'high', expected float",
        "arm idle, stage 'train': these gin bindings never take effect on tiny",
        "arm idle, stage 'corpus': Unable to open file: nowhere.gin",
        "arm facts, stage 'evaluate': steps is 0, expected at least 1",
        "arm shadowed, stage 'evaluate': shadowed.gin sets RATE, which a binding of the stage sets",
        "arm module, stage 'train': module.gin sets tiny_command.Recipe.words, which a binding of",
    ):
        assert line in said
    assert len(said.splitlines()) == 9
    assert not (tmp_path / "sweeps").exists()


def test_what_is_allowed_and_probably_not_meant_is_told(tmp_path, capsys):
    more = "definition.Sweep.seeds = [3]"
    made = planned(tmp_path, "{'base': {}, 'long': {'train': ['tiny.steps=20']}}", more)
    assert any("one seed" in line for line in made.warnings)
    assert any("arms train on different numbers of tokens" in line for line in made.warnings)
    made = planned(tmp_path, "{'base': {}}", "train/definition.Stage.seed = None")
    assert any("no stage that it runs has a seed" in line for line in made.warnings)
    capsys.readouterr()


def test_a_budget_gives_every_arm_its_steps(tmp_path, capsys):
    more = """
definition.Sweep.budget = [@definition.Budget()]
definition.Budget.stage = 'train'
definition.Budget.tokens = 3000
definition.Budget.binding = 'tiny.steps'
"""
    made = planned(tmp_path, "{'base': {}, 'b': {'train': ['RATE=0.7']}}", more)
    capsys.readouterr()
    wrong = "{'base': {}, 'b': {'train': ['tiny.steps=7']}, 'c': {'corpus': ['RTAE=1']}}"
    assert plan.main(write_sweep(tmp_path, wrong, more)) == 2
    said = capsys.readouterr().err
    assert "arm 'b' sets tiny.steps of 'train', which the budget sets too" in said
    assert "arm c, stage 'corpus': these gin bindings never take effect" in said
    for run in made.runs:
        assert made.stages[run.stages["train"]].bindings["tiny.steps"] == "30"
        assert "--gin.tiny.steps=30" in made.arguments(run.stages["train"])


def test_what_is_finished_is_told(tmp_path, capsys):
    made = planned(tmp_path, "{'base': {}}")
    key = made.runs[0].stages["corpus"]
    folder = Path(made.records_folder(key))
    folder.mkdir(parents=True)
    (folder / "done.json").write_text("{}")
    planned(tmp_path, "{'base': {}}")
    assert "1 are finished" in capsys.readouterr().out
    words = write_sweep(tmp_path, "{'base': {}}")
    words[-1] += "_dry"
    assert plan.main([*words, "--dry_run"]) == 0
    assert not (tmp_path / "sweeps" / "tiny_dry").exists()


def test_a_command_that_cannot_be_asked(tmp_path, capsys):
    more = "train/definition.Stage.command = 'no.such_module'\n"
    more += "evaluate/definition.Stage.command = 'json.tool'"
    assert plan.main(write_sweep(tmp_path, "{'base': {}}", more)) == 2
    said = capsys.readouterr().err
    assert "stage 'train': there is no module no.such_module" in said
    assert "stage 'evaluate': python -m json.tool cannot be asked (status 2)" in said


def test_diff_prints_what_differs_and_nothing_else(tmp_path, capsys):
    arms = "{'base': {}, 'b': {'corpus': ['RATE=0.7'], 'evaluate': ['tiny.verbose=True']}}"
    made = planned(tmp_path, arms)
    capsys.readouterr()
    assert diff.main([made.folder, "base", "b/1"]) == 0
    assert (
        capsys.readouterr().out
        == """\
- base/0
+ b/1

corpus
  tiny.recipe.rate: 0.5 -> 0.7

train
  tiny.seed: 0 -> 1

evaluate
  tiny.verbose (changes no result): False -> True
"""
    )
    assert diff.main([made.folder, "base", "base"]) == 0
    assert "base/0 and base/0 are the same" in capsys.readouterr().out
    assert diff.main([made.folder, "base", "c"]) == 2
    assert "no run c/0; arms: base, b; seeds: 0, 1" in capsys.readouterr().err
    assert diff.main([made.folder, "base", "b/7"]) == 2
    assert "no run b/7" in capsys.readouterr().err
    for seed in ("x", "--1", "²"):
        assert diff.main([made.folder, "base", f"b/{seed}"]) == 2
        assert f"b/{seed}: expected ARM/SEED with a number" in capsys.readouterr().err
    assert diff.main([made.folder, "base"]) == 2


def test_help_names_the_action():
    command = [sys.executable, "-m", "opencoder_jax.sweep", "diff", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: python -m opencoder_jax.sweep diff ")


@pytest.mark.parametrize("words", [[], ["paln"]])
def test_actions_are_told(words, capsys):
    assert sweep_main(words) == 2
    assert all(action in capsys.readouterr().err for action in ["plan"])
    assert sweep_main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(action in shown for action in ACTIONS)


# Other steps than the budget's: in a file of the arm, or past the macro that the budget binds.
STEPS = TINY + "STEPS = 10\nscript.tiny.steps = %STEPS\ntiny_command.Recipe.workers = %STEPS\n"
BUDGET = """
definition.Sweep.budget = [@definition.Budget()]
definition.Budget:
  stage = 'train'
  tokens = 700
  binding = 'STEPS'
"""


def test_no_arm_gets_past_a_budget(tmp_path, capsys):
    arms = "{'base': {}, 'file': {'train': ['long.gin']}, 'past': {'train': ['tiny.steps=30']}}"
    words = write_sweep(tmp_path, arms, BUDGET, tiny=STEPS, long="STEPS = 20\n")
    assert plan.main(words) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: arm 'past' has 30 steps of 'train' whatever STEPS is, which the budget sets: leave "
        "out what sets them",
        "arm file, stage 'train': long.gin sets STEPS, as the budget does: leave out one of them",
    ]


def test_a_budget_of_a_stage_that_no_arm_runs_is_told(tmp_path, capsys):
    more = BUDGET.replace("'train'", "'reference'")
    assert plan.main(write_sweep(tmp_path, "{'base': {}}", more, tiny=STEPS)) == 2
    assert capsys.readouterr().err == "error: budget of 'reference': no arm runs this stage\n"
