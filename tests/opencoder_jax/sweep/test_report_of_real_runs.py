"""A sweep that really runs: planned, trained, evaluated, reported, and counted again by hand."""

import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from opencoder_jax.sweep import plan
from opencoder_jax.sweep.plan_file import read_plan
from opencoder_jax.sweep.report import write_report
from tests import packed_example
from tests.opencoder_jax import small_run

STEPS = 60
SWEEP = """
from __gin__ import dynamic_registration
import __main__ as sweep_script
from opencoder_jax.sweep import definition

sweep_script.plan:
  sweep = @definition.Sweep()
  sweep_dir = %SWEEP_DIR
definition.Sweep:
  name = 'rate'
  title = 'Does it learn without a learning rate?'
  expected = 'No.'
  stages = [@pretrain/definition.Stage(), @evaluate/definition.Stage()]
  arms = @definition.Arms()
  seeds = [0, 1]
  metrics = [@bits/definition.Metric(), @heldout/definition.Metric()]
definition.Arms.arms = {
    'usual': {},
    'none': {'pretrain': ['schedules.WarmupStable.peak=1e-9']},
}
bits/definition.Metric:
  stage = 'evaluate'
  measure = 'bits_per_byte'
heldout/definition.Metric:
  stage = 'pretrain'
  measure = 'heldout_loss'
pretrain/definition.Stage:
  name = 'pretrain'
  command = 'opencoder_jax.train'
  gin_files = ['pretrain/demo.gin']
  bindings = BINDINGS
  output = 'MODEL_DIR'
  seed = 'RANDOM_SEED'
evaluate/definition.Stage:
  name = 'evaluate'
  command = 'opencoder_jax.evaluate'
  gin_files = ['evaluate/bits_per_byte.gin']
  bindings = ['PACKED_DIR=PLACE']
  inputs = {'MODEL_DIR': 'pretrain'}
  output = 'evaluate.output_dir'
"""


@pytest.mark.slow
def test_a_report_of_real_runs_is_what_their_files_say(tmp_path: Path) -> None:
    bindings = [
        word.removeprefix("--gin.")
        for word in small_run.flags(steps=STEPS, save_period=STEPS)
        if word.startswith("--gin.")
    ]
    text = SWEEP.replace("BINDINGS", repr(bindings))
    text = text.replace("PLACE", str(packed_example.packed_dir()))
    (tmp_path / "sweep.gin").write_text(text)
    sweep_dir = f"{tmp_path}/sweep"
    assert plan.main([f"--gin_file={tmp_path}/sweep.gin", f"--gin.SWEEP_DIR={sweep_dir}"]) == 0
    planned = read_plan(sweep_dir)
    for key, stage in planned.stages.items():
        subprocess.run(
            [sys.executable, "-m", stage.command, *planned.arguments(key)],
            check=True,
            capture_output=True,
        )
    page = write_report(sweep_dir)
    # Nothing kept records of it, as of a printed script.
    found = {(row["arm"], row["seed"]): row for row in read(page.with_name("report.csv"))}
    assert {row["state"] for row in found.values()} == {"finished"}
    bits: dict[str, list[float]] = {}
    for run in planned.runs:
        row = found[run.arm, str(run.seed)]
        model = Path(planned.stage_folder(run.stages["pretrain"]))
        manifest = json.loads((model / "manifest.json").read_text())["counts"]
        assert float(row["pretrain:heldout_loss"]) == manifest["heldout_loss"]
        assert float(row["pretrain:loss"]) == manifest["final_loss"]
        assert float(row["pretrain:tokens"]) == manifest["tokens_seen"]
        assert float(row["pretrain:steps"]) == STEPS
        assert float(row["pretrain:tokens"]) == planned.stages[row["pretrain:key"]].facts["tokens"]
        assert float(row["pretrain:wall_seconds"]) > 0
        assert int(row["pretrain:devices"]) >= 1
        folder = Path(planned.stage_folder(run.stages["evaluate"])) / "bits_per_byte"
        scores = json.loads((folder / "results.json").read_text())["sets"]["refinecode"]
        value = scores["total"]["bits_per_byte"]
        assert float(row["evaluate:bits_per_byte:refinecode"]) == value
        python = scores["languages"]["python"]["bits_per_byte"]
        assert float(row["evaluate:bits_per_byte:refinecode/python"]) == python
        bits.setdefault(run.arm, []).append(value)
    verdict = next(r for r in read(page.with_name("verdicts.csv")) if r["arm"] == "none")
    apart = [a - b for a, b in zip(bits["none"], bits["usual"], strict=True)]
    assert float(verdict["difference"]) == pytest.approx(statistics.mean(apart))
    assert float(verdict["difference"]) > 0
    text = page.with_name("report.md").read_text()
    # Only the learning rate differs: the batches are the same.
    assert "2 pairs of seeds, same batches" in text
    assert "| none | pretrain | train.schedule.peak | 0.0015 | 1e-09 |" in text


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
