"""Printed files do what they say: scripts are run by bash, manifests are read back."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from opencoder_jax.sweep import run
from tests.opencoder_jax.sweep.running.test_worker import finished
from tests.opencoder_jax.sweep.small_sweep import (
    ROOT,
    branching,
    journal,
    planned,
    stage,
    wait_until,
)

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable}


def printed(plan, capsys, backend, *flags):
    assert run.main([plan.folder, f"--backend={backend}", *flags]) == 0
    return capsys.readouterr().out


def test_the_script_runs_the_stages_in_order_and_again_does_no_harm(tmp_path, capsys):
    plan = branching(tmp_path, branches=2)
    script = tmp_path / "sweep.sh"
    script.write_text(printed(plan, capsys, "script", "--arms=evaluate-1"))
    for _ in range(2):
        subprocess.run(["bash", script], cwd=ROOT, env=ENVIRONMENT, check=True)

    assert journal(plan, "evaluate-1") == ["start 0", "end", "start 5", "end"]
    assert journal(plan, "evaluate-0") == []


def test_the_script_ends_with_the_stage_that_fails(tmp_path, capsys):
    plan = planned(tmp_path, stage("corpus-0", behaviour="fails"), stage("pretrain-0", "corpus-0"))
    text = printed(plan, capsys, "script")
    ended = subprocess.run(["bash", "-c", text], cwd=ROOT, env=ENVIRONMENT)

    assert ended.returncode == 1
    assert journal(plan, "pretrain-0") == []


def slurm_job(folder, text):
    """The file as Slurm starts it, with a `scontrol` that writes down what it was told."""
    (folder / "bin").mkdir()
    scontrol = folder / "bin" / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {folder}/scontrol.log\n')
    scontrol.chmod(0o755)
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    numbers = {"SLURM_JOB_ID": "8", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1"}
    return subprocess.Popen(
        ["bash", "-c", text], cwd=ROOT, env={**ENVIRONMENT, "PATH": path, **numbers}
    )


def test_a_slurm_job_works_and_ends_as_its_worker_does(tmp_path, capsys):
    plan = branching(tmp_path, branches=1)
    text = printed(plan, capsys, "slurm", "--replicas=3", "--queue=gpu", "--poll_seconds=0.2")
    job = slurm_job(tmp_path, text)

    assert job.wait(60) == 0
    assert finished(plan) == set(plan.stages)
    assert not (tmp_path / "scontrol.log").exists()
    assert "#SBATCH --array=0-2\n" in text
    assert "#SBATCH --partition=gpu\n" in text
    assert "#SBATCH --signal=B:TERM@180\n" in text


def test_a_slurm_job_whose_time_is_over_saves_and_is_queued_again(tmp_path, capsys):
    plan = planned(tmp_path, stage("pretrain-0", behaviour="waits"))
    job = slurm_job(tmp_path, printed(plan, capsys, "slurm"))
    wait_until(lambda: journal(plan, "pretrain-0"))
    job.terminate()

    assert job.wait(60) == 143
    assert journal(plan, "pretrain-0")[-1].startswith("saved")
    assert (tmp_path / "scontrol.log").read_text() == "requeue 7_1\n"


def test_slurm_nodes_are_the_hosts_of_one_worker(tmp_path, capsys):
    text = printed(branching(tmp_path), capsys, "slurm", "--nodes=4")
    (line,) = [line for line in text.splitlines() if line.startswith("srun ")]
    command = shlex.split(line.removesuffix(" &"))[-1]

    assert '--process_index="$SLURM_PROCID" --process_count="$SLURM_NTASKS"' in command
    assert "#SBATCH --nodes=4\n" in text


def test_one_kubernetes_job_has_all_workers_of_one_host(tmp_path, capsys):
    plan = branching(tmp_path)
    words = "data:--runner=DataflowRunner --job_name={key} --note='a \"b\"'"
    text = printed(
        plan, capsys, "kubernetes", "--image=registry/us/opencoder:1", "--replicas=3",
        "--pools=data", f"--pool_flags={words}", f"--volume=claim:{tmp_path}", "--queue=research",
        "--resources=cpu=8,memory=32Gi", "--grace_seconds=300",
    )  # fmt: skip
    job = yaml.safe_load(text)
    spec = job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]

    assert job["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "research"}
    assert (spec["suspend"], spec["completions"], spec["parallelism"]) == (True, 3, 3)
    assert pod["terminationGracePeriodSeconds"] == 360
    assert container["image"] == "registry/us/opencoder:1"
    assert container["resources"] == {"requests": {"cpu": "8", "memory": "32Gi"}}
    assert container["volumeMounts"] == [{"name": "sweeps", "mountPath": str(tmp_path)}]
    assert shlex.split(container["command"][2]) == [
        *("exec", "python", "-m", "opencoder_jax.sweep", "run", plan.folder),
        *("--pools=data", "--grace_seconds=300.0", f"--pool_flags={words}"),
    ]


def test_each_tpu_slice_of_several_hosts_is_a_job_set(tmp_path, capsys):
    flags = ("--image=i", "--topology=v5e-256", "--replicas=2")
    text = printed(branching(tmp_path), capsys, "kubernetes", *flags)
    first, second = yaml.safe_load_all(text)
    (hosts,) = second["spec"]["replicatedJobs"]
    spec = hosts["template"]["spec"]
    pod = spec["template"]["spec"]

    assert (first["kind"], second["metadata"]["name"]) == ("JobSet", "sweep-small-1")
    assert (spec["completions"], spec["completionMode"]) == (64, "Indexed")
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "16x16",
    }
    assert pod["containers"][0]["resources"] == {"limits": {"google.com/tpu": 4}}
    command = pod["containers"][0]["command"][2]
    assert "--slice_name=sweep-small-1 " in command
    assert '--process_index="$JOB_COMPLETION_INDEX" --process_count=64 ' in command
    assert f"# The workers have to see {tmp_path}/stages: mount it.\n" in text
    assert "# or: xpk workload create --cluster=CLUSTER --workload=sweep-small-1 " in text
    assert "--tpu-type=v5litepod-256 " in text


@pytest.mark.parametrize(
    ("topology", "accelerator", "shape", "chips"),
    [
        ("v5p-8", "tpu-v5p-slice", "2x2x1", 4),
        ("v6e-1", "tpu-v6e-slice", "1x1", 1),
        ("v4-8", "tpu-v4-podslice", "2x2x1", 4),
    ],
)
def test_a_slice_of_one_host_needs_no_job_set(
    tmp_path, capsys, topology, accelerator, shape, chips
):
    text = printed(branching(tmp_path), capsys, "kubernetes", "--image=i", f"--topology={topology}")
    pod = yaml.safe_load(text)["spec"]["template"]["spec"]

    assert list(pod["nodeSelector"].values()) == [accelerator, shape]
    assert pod["containers"][0]["resources"]["limits"] == {"google.com/tpu": chips}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--backend=kubernetes"], "--backend=kubernetes needs --image"),
        (["--backend=kubernetes", "--image=i", "--volume=claim"], "expected CLAIM:/path"),
        (["--backend=kubernetes", "--image=i", "--resources=8"], "e.g. cpu=8,memory=32Gi"),
        (["--backend=kubernetes", "--image=i", "--topology=v9-8"], "v9"),
        (["--backend=kubernetes", "--image=i", "--volume=c:/mnt"], "is not below /mnt, where"),
        (["--backend=kubernetes", "--image=i", "--nodes=2"], "nodes are Slurm's"),
        (["--backend=slurm", "--retry_failed"], "retry_failed: without effect with"),
        (["--backend=script", "--workers=2"], "workers: without effect with --backend=script"),
        (["--replicas=8", "--queue=gpu"], "replicas, queue: without effect with --backend=local"),
        (["--backend=condor"], "run.backend = 'condor', expected"),
        (["--pools=gpu"], "no pool gpu; the plan has data, default"),
        (["--pool_flags=--x"], "expected POOL:FLAGS"),
        (["--process_index=1"], "need a slice_name"),
        (["--slice_name=a", "--process_index=2", "--process_count=2"], "expected 0 to"),
        (["--slice_name=a", "--workers=2"], "hosts of a slice run one stage at a time"),
        (["--cpus_per_worker=100000"], "this process may use"),
    ],
)
def test_flags_that_do_not_fit_are_one_line(tmp_path, capsys, flags, message):
    plan = branching(tmp_path)
    assert run.main([plan.folder, *flags]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not Path(plan.records_folder("corpus-0")).exists()
