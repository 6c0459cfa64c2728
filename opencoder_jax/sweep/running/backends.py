"""Texts that start workers elsewhere: a plain script, a Slurm job, Kubernetes manifests.

They are printed, for people to read, change and submit; nothing here talks to a cluster. Other
than the script, which runs the stages themselves, they start `run` as often as asked, and those
workers pull from the sweep's folder.
"""

import dataclasses
import json
import math
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opencoder_jax.data import stores
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.sweep.plan_file import Plan
from opencoder_jax.sweep.running.worker import command

# What GKE calls them (`cloud.google.com/gke-tpu-accelerator`); it has hosts of 4 chips, or of 1.
_ACCELERATORS = {
    "v4": "tpu-v4-podslice", "v5e": "tpu-v5-lite-podslice", "v5p": "tpu-v5p-slice",
    "v6e": "tpu-v6e-slice", "tpu7x": "tpu7x",
}  # fmt: skip
# What Cloud and XPK call a slice: chip, then chips or TensorCores.
_SLICE_NAMES = {"v5e": "v5litepod"}
_CHIPS_OF_A_HOST = 4
# For the worker to say how its stages ended, after their time to save.
_LAST_SECONDS = 60
_MAX_RESTARTS = 1000
_A_POOL_OF_ITS_OWN = {
    "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
}
_PLAIN = re.compile(r"[A-Za-z_./][\w./-]*")
_YAML_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


@dataclasses.dataclass(frozen=True)
class Cluster:
    """What the printed files ask for.

    Attributes:
      workers: hosts, or slices or groups of nodes, that work at a time.
      nodes: of each Slurm worker, that run trainings together.
      topology: TPU slice of each worker, e.g. `v5e-16`; None: no TPU.
      image: container that has this project.
      volume: `CLAIM:/path`, a persistent volume that all workers mount.
      queue: Slurm's partition, or the local queue of Kueue.
      resources: requests of a Kubernetes worker, `cpu=8,memory=32Gi`.
      time_limit: of a Slurm job, as Slurm writes it.
    """

    workers: int = 1
    nodes: int = 1
    topology: str | None = None
    image: str | None = None
    volume: str | None = None
    queue: str | None = None
    resources: str | None = None
    time_limit: str | None = None

    def __post_init__(self) -> None:
        require_at_least(1, replicas=self.workers, nodes=self.nodes)


def script(plan: Plan, keys: Iterable[str], pool_words: Mapping[str, Sequence[str]]) -> str:
    """Bash that runs the stages one after another: the commands as one would type them."""
    lines = [
        "#!/usr/bin/env bash",
        *_comment(f"{plan.name}: {plan.title}"),
        "# Each command goes on where it was, and does nothing where it is finished.",
        "set -euo pipefail",
        "PYTHON=${PYTHON:-python}",
    ]
    for key in keys:
        stage = plan.stages[key]
        arms = ", ".join(dict.fromkeys(run.arm for run in plan.users(key)))
        lines += ["", *_comment(f"{key} (pool {stage.pool}), for {arms}")]
        lines.append(f'"$PYTHON" {shlex.join(command(plan, key, pool_words))}')
    return "\n".join(lines) + "\n"


def slurm(plan: Plan, words: Sequence[str], cluster: Cluster, grace_seconds: float) -> str:
    """An sbatch file: an array of workers, each of some nodes."""
    name = _dns_name(plan.name)
    grace = math.ceil(grace_seconds) + _LAST_SECONDS
    options = {
        "job-name": f"sweep-{name}",
        "array": f"0-{cluster.workers - 1}",
        "nodes": str(cluster.nodes),
        "ntasks-per-node": "1",
        "partition": cluster.queue,
        "time": cluster.time_limit,
        "output": f"sweep-{name}-%A-%a.log",
    }
    start = f'"${{PYTHON:-python}}" {_run_words(plan, words)}'
    if cluster.nodes > 1:
        # In quotes of its own: the numbers are known to each task alone.
        group = (
            '--slice_name="slurm-$SLURM_JOB_ID" --process_index="$SLURM_PROCID" '
            '--process_count="$SLURM_NTASKS" '
            "--host_flags=--gin.distributed.DistributedConfig.detect=True"
        )
        start = f"srun --kill-on-bad-exit=1 bash -c {shlex.quote(f'exec {start} {group}')}"
    return "\n".join(
        [
            "#!/usr/bin/env bash",
            *(f"#SBATCH --{option}={value}" for option, value in options.items() if value),
            "#SBATCH --open-mode=append",
            "#SBATCH --requeue",
            "# Before the time is over, and to this script alone, which passes it on.",
            f"#SBATCH --signal=B:TERM@{grace}",
            *_comment(f"{plan.name}: {plan.title}"),
            "",
            f"{start} &",
            "worker=$!",
            "trap 'told=yes; kill -TERM \"$worker\"' TERM INT",
            "# A signal ends `wait`, not the worker.",
            'while told=; wait "$worker"; status=$?; [ "$told" ]; do :; done',
            "# 143: it was told to stop, and its stages have saved what they had.",
            'if [ "$status" = 143 ]; then',
            "  scontrol requeue "
            '"${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"',
            "fi",
            'exit "$status"',
            "",
        ]
    )


def kubernetes(plan: Plan, words: Sequence[str], cluster: Cluster, grace_seconds: float) -> str:
    """YAML: a Job of workers; where a worker is a slice of several hosts, a JobSet for each.

    Raises:
      InputError: no image, no such slice, or texts that cannot be read.
    """
    if not cluster.image:
        raise InputError("--backend=kubernetes needs --image, a container with this project")
    if cluster.nodes > 1:
        raise InputError("nodes are Slurm's; hosts of a Kubernetes worker follow from --topology")
    unseen = _unmounted(plan, cluster.volume)
    grace = math.ceil(grace_seconds) + _LAST_SECONDS
    name = f"sweep-{_dns_name(plan.name)}"
    hosts, selectors, chips = _slice(cluster.topology)
    start = f"exec python {_run_words(plan, words)}"
    head = [*_comment(f"{plan.name}: {plan.title}"), *unseen]
    if hosts == 1:
        pod = _pod(start, cluster, grace, selectors, chips)
        job: dict[str, Any] = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": _metadata(name, cluster),
            "spec": {
                **_suspended(cluster),
                "completionMode": "Indexed",
                "completions": cluster.workers,
                "parallelism": cluster.workers,
                "backoffLimitPerIndex": _MAX_RESTARTS,
                # Stages that failed, or bad input: the same again would come of it.
                "podFailurePolicy": {"rules": [_on_disruption(), _on_failure("FailIndex")]},
                "template": pod,
            },
        }
        return "\n".join([*head, *_yaml(job)]) + "\n"
    detect = "--gin.distributed.DistributedConfig.detect=True"
    documents = []
    for number in range(cluster.workers):
        own = f"{name}-{number}"
        group = (
            f'--slice_name={own} --process_index="$JOB_COMPLETION_INDEX" '
            f"--process_count={hosts} --host_flags={detect}"
        )
        pod = _pod(f"{start} {group}", cluster, grace, selectors, chips)
        hosts_job: dict[str, Any] = {
            "completionMode": "Indexed",
            "completions": hosts,
            "parallelism": hosts,
            # One host that is gone takes the slice's training with it: all hosts begin again.
            "backoffLimit": 0,
            "podFailurePolicy": {"rules": [_on_failure("FailJob")]},
            "template": pod,
        }
        hosts_of_slice = {"name": "hosts", "replicas": 1, "template": {"spec": hosts_job}}
        document: dict[str, Any] = {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": {**_metadata(own, cluster), "annotations": _A_POOL_OF_ITS_OWN},
            "spec": {
                **_suspended(cluster),
                "failurePolicy": {
                    "maxRestarts": _MAX_RESTARTS,
                    "rules": [
                        {
                            "name": "failedStages",
                            "action": "FailJobSet",
                            "onJobFailureReasons": ["PodFailurePolicy"],
                        }
                    ],
                },
                "replicatedJobs": [hosts_of_slice],
            },
        }
        xpk = [
            *("xpk", "workload", "create", "--cluster=CLUSTER", f"--workload={own}"),
            *(f"--tpu-type={_xpk_type(cluster.topology or '')}", "--num-slices=1"),
            *(f"--docker-image={cluster.image}", f"--max-restarts={_MAX_RESTARTS}"),
            *(f"--termination-grace-period-seconds={grace}", f"--command={start} {group}"),
        ]
        documents += ["---", "# or: " + shlex.join(xpk), *_yaml(document)]
    return "\n".join([*head, *documents]) + "\n"


def _pod(
    command: str, cluster: Cluster, grace: int, selectors: Mapping[str, str], chips: int
) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    if cluster.resources:
        resources["requests"] = _resources(cluster.resources)
    if chips:
        resources["limits"] = {"google.com/tpu": chips}
    container: dict[str, Any] = {
        "name": "worker",
        "image": cluster.image,
        "command": ["bash", "-c", command],
    }
    if resources:
        container["resources"] = resources
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": grace,
    }
    if selectors:
        pod["nodeSelector"] = dict(selectors)
    if cluster.volume:
        claim, path = _claim_and_path(cluster.volume)
        container["volumeMounts"] = [{"name": "sweeps", "mountPath": path}]
        pod["volumes"] = [{"name": "sweeps", "persistentVolumeClaim": {"claimName": claim}}]
    pod["containers"] = [container]
    return {"spec": pod}


def _claim_and_path(volume: str) -> tuple[str, str]:
    claim, separator, path = volume.partition(":")
    if not separator or not path.startswith("/"):
        raise InputError(f"volume {volume!r}: expected CLAIM:/path")
    return claim, path


def _unmounted(plan: Plan, volume: str | None) -> list[str]:
    """Comments on folders that workers have to see; an error where the volume is not above them."""
    places = (plan.folder, plan.stage_folder(""), plan.records_folder(""))
    folders = [os.path.abspath(place) for place in places if not stores.is_remote(place)]
    if volume is None:
        return [f"# The workers have to see {folder}: mount it." for folder in folders]
    path = _claim_and_path(volume)[1].rstrip("/")
    for folder in folders:
        if not f"{folder}/".startswith(f"{path}/"):
            raise InputError(
                f"{folder} is not below {path}, where the workers mount {volume}: plan the sweep "
                "at the path that they see"
            )
    return []


def _slice(name: str | None) -> tuple[int, dict[str, str], int]:
    """Hosts, node selectors and chips of each host."""
    if name is None:
        return 1, {}, 0
    # It imports JAX, which workers and `status` do without.
    from opencoder_jax.precompilation import topology

    found = topology.parse(name)
    chips = math.prod(found.shape)
    each = min(chips, _CHIPS_OF_A_HOST)
    selectors = {
        "cloud.google.com/gke-tpu-accelerator": _ACCELERATORS[found.chip.kind],
        "cloud.google.com/gke-tpu-topology": "x".join(map(str, found.shape)),
    }
    return chips // each, selectors, each


def _xpk_type(name: str) -> str:
    from opencoder_jax.precompilation import topology

    found = topology.parse(name)
    count = math.prod(found.shape)
    if found.chip.name_counts == "cores":
        count *= found.chip.cores_per_chip
    return f"{_SLICE_NAMES.get(found.chip.kind, found.chip.kind)}-{count}"


def _metadata(name: str, cluster: Cluster) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    if cluster.queue:
        metadata["labels"] = {"kueue.x-k8s.io/queue-name": cluster.queue}
    return metadata


def _suspended(cluster: Cluster) -> dict[str, Any]:
    """Kueue starts it."""
    return {"suspend": True} if cluster.queue else {}


def _on_disruption() -> dict[str, Any]:
    """A pod that was taken away is no failure; another comes in its place."""
    return {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}


def _on_failure(action: str) -> dict[str, Any]:
    codes = {"containerName": "worker", "operator": "In", "values": [1, 2]}
    return {"action": action, "onExitCodes": codes}


def _resources(text: str) -> dict[str, str]:
    found = {}
    for part in text.split(","):
        name, separator, amount = part.partition("=")
        if not separator:
            raise InputError(
                f"resources {text!r}: expected NAME=AMOUNT,..., e.g. cpu=8,memory=32Gi"
            )
        found[name] = amount
    return found


def _run_words(plan: Plan, words: Sequence[str]) -> str:
    folder = plan.folder if stores.is_remote(plan.folder) else os.path.abspath(plan.folder)
    return shlex.join(["-m", "opencoder_jax.sweep", "run", folder, *words])


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in text.splitlines()]


def _dns_name(name: str) -> str:
    """As Kubernetes wants names, with place for what is added."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "sweep"


def _yaml(value: Any, indent: str = "") -> list[str]:
    """Lines of a mapping or list of plain values."""
    lines = []
    entries = value.items() if isinstance(value, Mapping) else ((None, item) for item in value)
    for key, item in entries:
        start = f"{indent}-" if key is None else f"{indent}{_yaml_text(key)}:"
        if not isinstance(item, Mapping | list):
            lines.append(f"{start} {_yaml_text(item)}")
        elif key is None:
            # An item's first line stands beside its dash.
            inner = _yaml(item, f"{indent}  ")
            lines += [f"{start} {inner[0].lstrip()}", *inner[1:]]
        else:
            lines += [start, *_yaml(item, f"{indent}  ")]
    return lines


def _yaml_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    plain = isinstance(value, int) or (_PLAIN.fullmatch(text) and text.lower() not in _YAML_WORDS)
    return text if plain else json.dumps(text, ensure_ascii=False)
