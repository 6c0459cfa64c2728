"""The plan's file: written and read back, places filled in, damage told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from opencoder_jax.sweep.definition import Metric
from opencoder_jax.sweep.plan_file import (
    PLAN_NAME,
    Plan,
    PlanError,
    PlannedRun,
    PlannedStage,
    as_json,
    read_plan,
    write_plan,
)

CORPUS, TRAIN = "corpus-0123456789ab", "train-ba9876543210"


def small_plan(folder: str) -> Plan:
    return Plan(
        folder=folder,
        name="small",
        title="Is it small?",
        baseline="file",
        seeds=(0, 1),
        metrics=(Metric("train", "loss"), Metric("evaluate", "pass@1", "humaneval", "pass")),
        runs=(
            PlannedRun("file", 0, {"corpus": CORPUS, "train": TRAIN}),
            PlannedRun("file", 1, {"corpus": CORPUS}, {"corpus": ["a.gin"]}, same_as="x"),
        ),
        stages={
            CORPUS: PlannedStage(
                CORPUS, "corpus", "beam_pipelines.refinecode", ["--gin.OUTPUT_DIR={output}"]
            ),
            TRAIN: PlannedStage(
                TRAIN,
                "train",
                "opencoder_jax.train",
                [f"--gin.PACKED_DIR={{{CORPUS}}}/packed", "--gin.x={'output': 1, 'a': {}}"],
                ["--flag={output}", "{unknown}"],
                [CORPUS],
                "train",
                {"train.train_steps": "5"},
                ["train.stats_period"],
                {"steps": 5},
            ),
        },
        expected="yes",
        warnings=("odd",),
    )


def test_written_and_read_back(tmp_path: Path):
    plan = small_plan(f"{tmp_path}/sweep")
    write_plan(plan)
    read = read_plan(tmp_path / "sweep")
    assert json.dumps(as_json(read)) == json.dumps(as_json(plan))
    assert list(read.stages) == [CORPUS, TRAIN]
    assert [metric.title for metric in read.metrics] == ["train loss", "pass"]
    assert [metric.better for metric in read.metrics] == ["lower", "higher"]
    assert read.run("file", 1).same_as == "x"
    with pytest.raises(PlanError, match="no run file/7; arms: file; seeds: 0, 1"):
        read.run("file", 7)


def test_folders_of_stages(tmp_path: Path):
    plan = small_plan(f"{tmp_path}/sweep")
    assert plan.stage_folder(CORPUS) == f"{tmp_path}/stages/{CORPUS}"
    assert plan.records_folder(CORPUS) == f"{tmp_path}/work/{CORPUS}"
    assert plan.arguments(TRAIN) == [
        f"--gin.PACKED_DIR={tmp_path}/stages/{CORPUS}/packed",
        "--gin.x={'output': 1, 'a': {}}",
        f"--flag={tmp_path}/stages/{TRAIN}",
        "{unknown}",
    ]


def test_a_sweep_in_a_bucket():
    plan = small_plan("gs://bucket/sweeps/small")
    assert plan.stage_folder(CORPUS) == f"gs://bucket/sweeps/stages/{CORPUS}"


def test_a_store_holds_a_plan_too(tmp_path: Path):
    plan = small_plan(f"file://{tmp_path}/sweep")
    write_plan(plan)
    assert json.dumps(as_json(read_plan(plan.folder))) == json.dumps(as_json(plan))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda value: value.clear(), "damaged"),
        (lambda value: value.update(format_version=7), "has format 7, this code reads 1"),
        (lambda value: value["stages"].pop(CORPUS), f"has stage {CORPUS}, which is not there"),
        (lambda value: value["stages"][TRAIN].update(inputs=["no-1"]), "reads no-1"),
        (lambda value: value["runs"][0].pop("arm"), "damaged"),
        (lambda value: value.update(metrics=[1]), "damaged"),
    ],
)
def test_damage_is_told(tmp_path: Path, damage, message):
    write_plan(small_plan(f"{tmp_path}"))
    value = json.loads((tmp_path / PLAN_NAME).read_text())
    damage(value)
    (tmp_path / PLAN_NAME).write_text(json.dumps(value))
    with pytest.raises(PlanError, match=message):
        read_plan(tmp_path)


def test_no_plan(tmp_path: Path):
    with pytest.raises(PlanError, match="no sweep was planned there"):
        read_plan(tmp_path / "missing")
    (tmp_path / PLAN_NAME).write_text("{")
    with pytest.raises(PlanError, match="damaged"):
        read_plan(tmp_path)


def test_readers_of_a_plan_import_neither_gin_nor_jax():
    code = "import sys, opencoder_jax.sweep.plan_file; print({'gin', 'jax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
