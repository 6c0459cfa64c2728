"""Runs a planned sweep: `python -m opencoder_jax.sweep run SWEEP_DIR`, once or many times.

Every process that is started so is a worker: one on each machine, several on one, joining and
leaving as they like. `--backend` prints what starts workers elsewhere in place of working.
"""

import inspect
import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from typing import Literal

from rich.console import Console

from opencoder_jax import configuration
from opencoder_jax.errors import InputError, require_at_least, require_positive
from opencoder_jax.sweep.plan_file import FAILED_NAME, Plan, read_plan
from opencoder_jax.sweep.running import backends, board, leases
from opencoder_jax.sweep.running.attempt import BAD_INPUT_EXIT_STATUS
from opencoder_jax.sweep.running.backends import Cluster
from opencoder_jax.sweep.running.board import Board, StageState
from opencoder_jax.sweep.running.slices import Follower, Slice
from opencoder_jax.sweep.running.worker import Settings, Worker, follow, stopped_by_signals

# 128 + SIGTERM.
_STOPPED_EXIT_STATUS = 143
# Stages failed; what could be done is done.
FAILED_EXIT_STATUS = 1
_LINES_SHOWN = 12


def run(
    sweep_dir: Sequence[str] = (),
    workers: int = 1,
    pools: str | None = None,
    arms: str | None = None,
    seeds: str | None = None,
    attempts: int = 3,
    lost_attempts: int = 100,
    retry_failed: bool = False,
    lease_seconds: float = 90.0,
    grace_seconds: float = 120.0,
    poll_seconds: float | None = None,
    cpus_per_worker: int | None = None,
    pool_flags: str | None = None,
    slice_name: str | None = None,
    process_index: int = 0,
    process_count: int = 1,
    host_flags: str = "",
    backend: Literal["local", "script", "slurm", "kubernetes"] = "local",
    replicas: int = 1,
    nodes: int = 1,
    topology: str | None = None,
    image: str | None = None,
    volume: str | None = None,
    queue: str | None = None,
    resources: str | None = None,
    time_limit: str | None = None,
) -> None:
    """Works on a planned sweep until nothing is left to do.

    Args:
      sweep_dir: that `plan` wrote; a folder that all workers see, or a url.
      workers: stages at a time in this process.
      pools: kinds of stages to take, e.g. `data,train`; all by default.
      arms: arms to run, `a,b`; all by default.
      seeds: seeds to run, `0,1`; all by default.
      attempts: at a stage that fails, before it counts as failed.
      lost_attempts: at a stage whose workers vanish or whose process is told to stop, before it
        does.
      retry_failed: try again what counts as failed.
      lease_seconds: a worker that shows no sign for so long is gone, and its stage another's.
      grace_seconds: after SIGTERM, for stages to save and leave.
      poll_seconds: between two looks for something to do; by default 2, or 10 in a store.
      cpus_per_worker: CPUs that each stage may use; by default those of this process divided by
        `workers`.
      pool_flags: further words of all stages of a pool, `data:--runner=DataflowRunner --region=x`;
        several pools are separated by `;`.
      slice_name: of a group of hosts that run each training together, e.g. those of a TPU slice;
        each is started with the same flags but `process_index`.
      process_index: number of this host, from 0.
      process_count: hosts of the group.
      host_flags: further words of a training on each host, with `{index}` and `{count}`.
      backend: `local` works here; the others print: `script` the commands, `slurm` and `kubernetes`
        files that start workers.
      replicas: printed workers; each is a host, a TPU slice, or a group of nodes.
      nodes: of each printed Slurm worker.
      topology: TPU slice of each printed Kubernetes worker, e.g. `v5e-16`.
      image: container of printed Kubernetes workers.
      volume: persistent volume that they mount, `CLAIM:/path`.
      queue: of Kueue, or Slurm's partition.
      resources: what a printed Kubernetes worker asks for, `cpu=8,memory=32Gi`.
      time_limit: of a printed Slurm job.

    Raises:
      InputError: no plan, or flags that do not fit it.
      SystemExit: status 1 where stages failed, 143 after a signal.
    """
    if len(sweep_dir) != 1:
        raise InputError("give one folder of a sweep: python -m opencoder_jax.sweep run SWEEP_DIR")
    require_at_least(1, workers=workers, attempts=attempts, lost_attempts=lost_attempts)
    require_positive(lease_seconds=lease_seconds)
    require_at_least(0, grace_seconds=grace_seconds)
    given = {name: value for name, value in locals().items() if value != _DEFAULTS.get(name)}
    _check_are_used(given, backend)
    plan = read_plan(sweep_dir[0])
    keys = board.chosen(plan, arms, seeds)
    pool_words = _pool_words(plan, pool_flags)
    taken = _pools(plan, pools)
    if backend != "local":
        cluster = Cluster(replicas, nodes, topology, image, volume, queue, resources, time_limit)
        words = [f"--{name}={given[name]}" for name in _WORKER_FLAGS if name in given]
        if backend == "script":
            wanted = [key for key in keys if taken is None or plan.stages[key].pool in taken]
            text = backends.script(plan, wanted, pool_words)
        else:
            printed = backends.slurm if backend == "slurm" else backends.kubernetes
            text = printed(plan, words, cluster, grace_seconds)
        print(text, end="")
        return
    watched = Board(plan, keys)
    if poll_seconds is None:
        poll_seconds = 10.0 if "://" in plan.records_folder("") else 2.0
    require_positive(poll_seconds=poll_seconds)
    settings = Settings(
        slots=workers,
        pools=taken,
        attempts=attempts,
        lost_attempts=lost_attempts,
        lease_seconds=lease_seconds,
        grace_seconds=grace_seconds,
        poll_seconds=poll_seconds,
        cpus=divided_cpus(workers, cpus_per_worker),
        pool_words=pool_words,
        group=_group(slice_name, process_index, process_count, host_flags, workers),
    )
    if process_index > 0:
        follower = Follower(watched.records, settings.group) if settings.group else None
        assert follower
        with stopped_by_signals(follower):
            status = follow(plan, watched.records, follower, settings)
        raise SystemExit(_STOPPED_EXIT_STATUS if status is None else status)
    if retry_failed:
        for key in leases.retry(watched.records, watched.keys):
            print(f"{key}: to be tried again", file=sys.stderr)
    worker = Worker(watched, settings)
    with stopped_by_signals(worker):
        try:
            states = worker.run()
        except InputError:
            worker.dismiss(BAD_INPUT_EXIT_STATUS)
            raise
    status = _tell(plan, watched, states)
    if worker.stopping.is_set():
        raise SystemExit(_STOPPED_EXIT_STATUS)
    worker.dismiss(status)
    if status:
        raise SystemExit(status)


def divided_cpus(workers: int, each: int | None) -> list[list[int]]:
    """CPUs for each of several stages at a time, no two with the same while there are enough.

    Returns:
      A list a worker; empty where one may use all.
    """
    available = sorted(os.sched_getaffinity(0))
    if each is None:
        if workers == 1:
            return []
        each = max(1, len(available) // workers)
    require_at_least(1, cpus_per_worker=each)
    if each > len(available):
        raise InputError(f"cpus_per_worker is {each}, this process may use {len(available)}")
    return [
        [available[(start + i) % len(available)] for i in range(each)]
        for start in range(0, workers * each, each)
    ]


def _check_are_used(given: Iterable[str], backend: str) -> None:
    """Refuses flags that would be without effect."""
    used = {"sweep_dir", "backend", *_USED_FLAGS[backend]}
    unused = [name for name in given if name not in used]
    if unused:
        raise InputError(f"{', '.join(unused)}: without effect with --backend={backend}")


def _pools(plan: Plan, text: str | None) -> list[str] | None:
    if text is None:
        return None
    known = {stage.pool for stage in plan.stages.values()}
    names = [name for name in text.split(",") if name]
    _check_pools(names, known)
    return names


def _pool_words(plan: Plan, text: str | None) -> dict[str, list[str]]:
    known = {stage.pool for stage in plan.stages.values()}
    words = {}
    for part in filter(str.strip, (text or "").split(";")):
        pool, separator, flags = part.strip().partition(":")
        if not separator:
            raise InputError(f"pool_flags {part!r}: expected POOL:FLAGS, e.g. data:--num_workers=4")
        words[pool] = shlex.split(flags)
    _check_pools(words, known)
    return words


def _group(name: str | None, index: int, count: int, flags: str, workers: int) -> Slice | None:
    if name is None:
        if (index, count) != (0, 1) or flags:
            raise InputError("process_index, process_count and host_flags need a slice_name")
        return None
    if workers != 1:
        raise InputError(f"workers is {workers}: hosts of a slice run one stage at a time")
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name):
        raise InputError(f"slice_name {name!r}: expected letters, digits, '.', '_', '+' or '-'")
    return Slice(name, index, count, shlex.split(flags))


def _check_pools(names: Sequence[str] | dict[str, list[str]], known: set[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"no pool {', '.join(unknown)}; the plan has {', '.join(sorted(known))}")


def _tell(plan: Plan, watched: Board, states: dict[str, StageState]) -> int:
    """Prints what failed, and how many are done; returns the exit status."""
    failed = [state for state in states.values() if state.status == "failed"]
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for state in failed:
        key = state.stage.key
        record = leases.read_json(watched.records, f"{key}/{FAILED_NAME}") or {}
        users = ", ".join(dict.fromkeys(run.arm for run in plan.users(key)))
        console.print(
            f"{key} failed: {record.get('reason')}, exit status {record.get('exit_status')}; "
            f"needed by {users}",
            markup=False,
            style="bold red",
        )
        for line in record.get("log", "").splitlines()[-_LINES_SHOWN:]:
            console.print(f"    {line}", markup=False)
        log = leases.log_name(key, record.get("attempt", 0)).partition("/")[2]
        console.print(f"    whole log: {plan.records_folder(key)}/{log}", markup=False)
    blocked = sum(state.status == "blocked" for state in states.values())
    done = sum(state.status == "done" for state in states.values())
    console.print(
        f"{done} of {len(states)} stages are done"
        + (f", {len(failed)} failed, {blocked} cannot be run for that" if failed else ""),
        markup=False,
    )
    if failed:
        console.print("to try again: the same command with --retry_failed", markup=False)
    return FAILED_EXIT_STATUS if failed else 0


# What a printed file hands on to its workers.
_WORKER_FLAGS = (
    "workers", "pools", "arms", "seeds", "attempts", "lost_attempts", "lease_seconds",
    "grace_seconds", "poll_seconds", "cpus_per_worker", "pool_flags",
)  # fmt: skip
_USED_FLAGS = {
    "local": (
        *_WORKER_FLAGS, "retry_failed", "slice_name", "process_index", "process_count",
        "host_flags",
    ),
    "script": ("pools", "arms", "seeds", "pool_flags"),
    "slurm": (*_WORKER_FLAGS, "replicas", "nodes", "queue", "time_limit"),
    "kubernetes": (
        *_WORKER_FLAGS, "replicas", "nodes", "topology", "image", "volume", "queue", "resources",
    ),
}  # fmt: skip
_DEFAULTS = {name: p.default for name, p in inspect.signature(run).parameters.items()}


def main(argv: Sequence[str]) -> int:
    return configuration.main(
        run,
        argv,
        words="sweep_dir",
        flags={name: f"run.{name}" for name in _DEFAULTS if name != "sweep_dir"},
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
