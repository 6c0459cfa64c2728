"""`plan` of a sweep that trains: its price, its budget, and what does not fit, told at the end."""

from pathlib import Path

import pytest

from opencoder_jax.sweep import plan
from opencoder_jax.sweep.plan_file import read_plan

SWEEP = """
from __gin__ import dynamic_registration
import __main__ as sweep_script
from opencoder_jax.sweep import definition

sweep_script.plan:
  sweep = @definition.Sweep()
  sweep_dir = %SWEEP_DIR
definition.Sweep:
  name = 'sizes'
  title = 'Which size?'
  stages = [@definition.Stage()]
  arms = @definition.Arms()
  metrics = [@definition.Metric()]
  seeds = [0, 1]
  budget = [@definition.Budget()]
definition.Metric:
  stage = 'pretrain'
  measure = 'loss'
definition.Budget:
  stage = 'pretrain'
  flops = 1e13
definition.Stage:
  name = 'pretrain'
  command = 'opencoder_jax.train'
  gin_files = ['pretrain/demo.gin']
  bindings = [
      'PACKED_DIR=unset', 'TOKENIZER_DIR=unset', 'sharding.MeshConfig.fsdp=1',
      'sharding.MeshConfig.virtual_cpu_devices=0', 'BATCH_SIZE=8',
  ]
  seed = 'RANDOM_SEED'
  output = 'MODEL_DIR'
"""
ARMS = {
    "demo": {},
    "faster": {"pretrain": ["schedules.WarmupStable.peak=3e-3"]},
    "deeper": {"pretrain": ["config.TransformerConfig.num_layers=8"]},
}
# 1.4e9 parameters in the tables alone.
HUGE = {"huge": {"pretrain": [f"config.TransformerConfig.vocab_size={350_000 * 16}"]}}


def run_plan(folder: Path, arms: dict, *flags: str) -> int:
    (folder / "sizes.gin").write_text(SWEEP + f"definition.Arms.arms = {arms}\n")
    words = [f"--gin_file={folder}/sizes.gin", f"--gin.SWEEP_DIR={folder}/sweeps/sizes"]
    return plan.main([*words, *flags])


def test_a_budget_of_operations_and_an_arm_that_cannot_fit(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run_plan(tmp_path, {**ARMS, **HUGE}, "--chip=v5e", "--price=1.2")
    assert stop.value.code == 3
    shown = capsys.readouterr().out
    made = read_plan(tmp_path / "sweeps" / "sizes")
    facts = {run.arm: made.stages[run.stages["pretrain"]].facts for run in made.runs}
    for arm in ("demo", "faster", "deeper"):
        assert facts[arm]["flops"] == pytest.approx(1e13, rel=0.01)
    assert facts["deeper"]["steps"] < facts["demo"]["steps"]
    assert facts["demo"]["program"] == facts["faster"]["program"] != facts["deeper"]["program"]
    bound = {run.arm: made.stages[run.stages["pretrain"]].bindings for run in made.runs}
    assert bound["deeper"]["train.train_steps"] == str(facts["deeper"]["steps"])
    assert "pretrain: 1e+13 flops are" in shown
    assert "8 training stage(s) of 8 run(s), each once: " in shown
    assert "a line is of seed 0; sums are of all 2 seeds" in shown
    (line,) = (line for line in shown.splitlines() if "DOES NOT FIT" in line)
    assert line.startswith("DOES NOT FIT arm huge, stage pretrain: does not fit v5e: parameters, ")
    assert line.endswith(" too much")


@pytest.mark.slow
def test_with_a_topology_the_compiler_decides_and_is_asked_once(tmp_path, capsys):
    pytest.importorskip("libtpu")
    flags = ("--topology=v5e:1x1", "--price=1.2", "--mfu=0.3")
    assert run_plan(tmp_path, ARMS, *flags) == 0
    first = capsys.readouterr()
    assert first.err.count("compiling program") == 2
    assert "chip-h at MFU 0.3" in first.out
    assert run_plan(tmp_path, ARMS, *flags) == 0
    again = capsys.readouterr()
    assert "compiling program" not in again.err
    assert again.out == first.out
