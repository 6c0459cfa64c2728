"""A sweep of the real commands, from its gin file to the verdicts: what is shared is shared."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from opencoder_jax.sweep.plan_file import read_plan
from tests import packed_example
from tests.opencoder_jax import small_run

pytestmark = pytest.mark.slow

STEPS = 60
MODEL = [flag.removeprefix("--gin.") for flag in small_run.model_flags()]
SWEEP = f"""
from __gin__ import dynamic_registration
import __main__ as sweep_script
from opencoder_jax.sweep import definition

sweep_script.plan:
  sweep = @definition.Sweep()
  sweep_dir = %SWEEP_DIR

definition.Sweep:
  name = 'infilling'
  title = 'What does fill-in-the-middle cost?'
  stages = [
      @tokenizer/definition.Stage(),
      @packed/definition.Stage(),
      @heldout/definition.Stage(),
      @sets/definition.GatheredSets(),
      @train/definition.Stage(),
      @evaluate/definition.Stage(),
  ]
  arms = @definition.Axis()
  seeds = [0, 1]
  metrics = [@bits/definition.Metric(), @loss/definition.Metric()]

definition.Axis:
  stage = 'packed'
  binding = 'FIM_RATE'
  values = [0.0, 0.9]
bits/definition.Metric:
  stage = 'evaluate'
  measure = 'bits_per_byte'
  of = 'heldout'
loss/definition.Metric:
  stage = 'train'
  measure = 'heldout_loss'

tokenizer/definition.Stage:
  name = 'tokenizer'
  command = 'opencoder_jax.train_tokenizer'
  gin_files = ['tokenizer/demo.gin']
  bindings = ['INPUT_DIR={packed_example.corpus_dir()}', 'train_tokenizer.vocab_size=700']
  pool = 'data'
definition.Stage.gin_files = ['pack/demo.gin']
packed/definition.Stage:
  name = 'packed'
  command = 'beam_pipelines.pack'
  bindings = %PACK
  inputs = {{'TOKENIZER_DIR': 'tokenizer'}}
  pool = 'data'
heldout/definition.Stage:
  name = 'heldout'
  command = 'beam_pipelines.pack'
  bindings = %PACK
  inputs = {{'TOKENIZER_DIR': 'tokenizer'}}
  pool = 'data'
PACK = [
    'INPUT_DIR={packed_example.corpus_dir()}',
    'SEQUENCE_LENGTH={packed_example.SEQUENCE_LENGTH}',
    'HELDOUT_FRACTION=0.3',
]
sets/definition.GatheredSets:
  name = 'sets'
  sets = {{'refinecode': 'packed', 'heldout': 'heldout'}}
train/definition.Stage:
  name = 'train'
  command = 'opencoder_jax.train'
  gin_files = ['pretrain/demo.gin']
  bindings = {[*MODEL, f"TRAIN_STEPS={STEPS}", "BATCH_SIZE=4", "train.eval_steps=2"]} + %LENGTH
  inputs = {{'PACKED_DIR': 'sets', 'TOKENIZER_DIR': 'tokenizer'}}
  output = 'MODEL_DIR'
  seed = 'RANDOM_SEED'
  pool = 'train'
evaluate/definition.Stage:
  name = 'evaluate'
  command = 'opencoder_jax.evaluate'
  gin_files = ['evaluate/bits_per_byte.gin']
  bindings = ["bits_per_byte.BitsPerByte.sets=['heldout']"]
  inputs = {{'MODEL_DIR': 'train', 'PACKED_DIR': 'sets'}}
  output = 'evaluate.output_dir'
  pool = 'train'
"""


def sweep(*words: str) -> str:
    command = [sys.executable, "-m", "opencoder_jax.sweep", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_sweep_from_its_gin_file_to_its_report(tmp_path: Path):
    length = f"TASK_FEATURE_LENGTHS={{'targets': {packed_example.SEQUENCE_LENGTH}}}"
    text = SWEEP.replace("] + %LENGTH", f', "{length}"]')
    (tmp_path / "sweep.gin").write_text(text)
    folder = tmp_path / "sweeps" / "infilling"
    shown = sweep("plan", f"--gin_file={tmp_path}/sweep.gin", f"--gin.SWEEP_DIR={folder}")
    assert "2 arms × 2 seeds: 4 runs; 13 stages to do" in shown
    plan = read_plan(folder)
    facts = plan.stages[plan.runs[0].stages["train"]].facts
    assert facts["tokens"] == STEPS * 4 * packed_example.SEQUENCE_LENGTH

    sweep("run", str(folder), "--workers=2")
    for key in plan.stages:
        assert Path(plan.records_folder(key), "done.json").exists()
    first, second = (plan.run(arm, 0).stages for arm in plan.arms)
    # The baseline's training set is the held-out one's, made once; `sets` names them both.
    assert first["packed"] == first["heldout"] == second["heldout"] != second["packed"]
    sets = json.loads(Path(plan.stage_folder(second["sets"]), "sets.json").read_text())
    assert sets == {"refinecode": f"../{second['packed']}", "heldout": f"../{second['heldout']}"}
    shown = sweep("report", str(folder), f"--output={tmp_path}/report")
    assert "fim_rate=0.9" in shown
    text = (tmp_path / "report" / "report.md").read_text().replace("\\", "")
    assert "evaluate bits_per_byte heldout" in text
    assert "4 of 4 runs" in text
    assert sweep("diff", str(folder), *plan.arms).splitlines()[3:] == [
        *("packed", "  pack_set.fim_rate: 0.0 -> 0.9")
    ]
    # Planned again, all of it is there.
    shown = sweep("plan", f"--gin_file={tmp_path}/sweep.gin", f"--gin.SWEEP_DIR={folder}")
    assert "13 are finished" in shown
