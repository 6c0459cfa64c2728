"""What the kernel counts of a program, and what the zygote counts where it cannot.

`set_limits` is called by the process that becomes a program or a compiler, `descendants`
and `all_held_bytes` by who watches it from outside its namespace.
"""

import contextlib
import dataclasses
import os
import re
import resource
from collections.abc import Sequence

from opencoder_jax.sandbox.privileges import libc

# Room beside the heap of a runtime that reserves address space: stacks, code, its own tables.
_RUNTIME_BYTES = 512 << 20
# As long as processes end in between, and not for ever.
_CLOSER_LOOKS = 5
# Of all processes together: each is kernel memory, and they count for the host's user too.
_PENDING_SIGNALS = 1024
# What of a process is held: in memory, in page tables, swapped out.
_HELD = re.compile(rb"^(?:VmRSS|VmPTE|VmSwap|HugetlbPages):\s*(\d+) kB", re.MULTILINE)
# The same where a page that several processes have counts as that part of one.
_SHARE = re.compile(rb"^(?:Pss|SwapPss|Shared_Hugetlb|Private_Hugetlb):\s*(\d+) kB", re.MULTILINE)
_PAGE_TABLES = re.compile(rb"^VmPTE:\s*(\d+) kB", re.MULTILINE)
_SYS_KCMP, _KCMP_VM = 312, 1


@dataclasses.dataclass(frozen=True, slots=True)
class Rlimits:
    """Limits of each process of a program.

    Attributes:
      cpu_seconds: whole seconds.
      memory_bytes: address space; where `reserves_addresses`, what may be written to.
      processes: of the user in its namespace; None: no limit.
      file_bytes: size of one file.
      reserves_addresses: the runtime asks for more address space than it uses.
    """

    cpu_seconds: int
    memory_bytes: int
    processes: int | None
    file_bytes: int
    reserves_addresses: bool = False


def set_limits(limits: Rlimits) -> None:
    """Sets this process's limits for good, as far as its own ceilings allow."""
    wanted = {
        resource.RLIMIT_CPU: (limits.cpu_seconds, limits.cpu_seconds + 1),
        resource.RLIMIT_FSIZE: (limits.file_bytes,) * 2,
        resource.RLIMIT_NOFILE: (256, 256),
        resource.RLIMIT_STACK: (8 << 20, 8 << 20),
        # Not 0, which the kernel ignores where the host pipes core dumps into a program of its
        # own, and runs that, as the host's root, for each program that crashes. 1 it heeds.
        resource.RLIMIT_CORE: (1, 1),
        resource.RLIMIT_SIGPENDING: (_PENDING_SIGNALS,) * 2,
        resource.RLIMIT_MEMLOCK: (0, 0),
        resource.RLIMIT_MSGQUEUE: (0, 0),
    }
    if limits.reserves_addresses:
        wanted[resource.RLIMIT_DATA] = (limits.memory_bytes + _RUNTIME_BYTES,) * 2
    else:
        wanted[resource.RLIMIT_AS] = (limits.memory_bytes,) * 2
    if limits.processes is not None:
        wanted[resource.RLIMIT_NPROC] = (limits.processes, limits.processes)
    for kind, (soft, hard) in wanted.items():
        ceiling = resource.getrlimit(kind)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(kind, (soft, hard))


def descendants(pid: int) -> list[int]:
    """All processes below `pid`; none where /proc cannot be read."""
    children: list[int] = []
    with contextlib.suppress(OSError):
        # Those that another thread started are not the first one's.
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                children += map(int, file.read().split())
    return [each for child in children for each in (child, *descendants(child))]


def all_held_bytes(pids: Sequence[int], base: int, limit: int) -> int:
    """What these processes hold together, beyond `base`.

    Args:
      pids: which.
      base: bytes that each of them shares with the zygote.
      limit: below it nobody looks closer: what two processes share counts twice.
    """
    tasks = _holders(pids, base)
    if sum(tasks.values()) <= limit:
        return sum(tasks.values())
    for _ in range(_CLOSER_LOOKS):
        # From `vfork` to `exec` a process has the memory of its parent.
        counted: list[int] = []
        for task in tasks:
            if not any(_are_one_memory(task, other) for other in counted):
                counted.append(task)
        total = sum(_share(task, tasks[task]) for task in counted)
        before, tasks = tasks, _holders(pids, base)
        # What those that ended meanwhile shared may have been counted in full for others.
        if total <= limit or tasks.keys() >= before.keys():
            break
    return total


def _holders(pids: Sequence[int], base: int) -> dict[int, int]:
    """Threads that have the memory of these processes, and how much beyond `base`."""
    return {task: held - base for task, held in map(_holder, pids) if held > base}


def held_bytes(pid: int) -> int:
    """What `pid` holds, pages that it shares included; 0 if it has ended."""
    return _holder(pid)[1]


def _holder(pid: int) -> tuple[int, int]:
    """A thread of `pid` that has not ended, and what it holds."""
    held = _held_by_task(f"/proc/{pid}")
    if held is None:
        # The first has ended, and maybe no other.
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                held = _held_by_task(f"/proc/{pid}/task/{task}")
                if held is not None:
                    return int(task), held
    return pid, held or 0


def _held_by_task(folder: str) -> int | None:
    """None where it has no memory any more."""
    try:
        with open(f"{folder}/status", "rb") as file:
            kilobytes = _HELD.findall(file.read())
    except OSError:
        return None
    return sum(map(int, kilobytes)) << 10 if kilobytes else None


def _share(task: int, otherwise: int) -> int:
    """What ends with a task, in bytes: its part of what forks have in common."""
    try:
        with open(f"/proc/{task}/smaps_rollup", "rb") as file:
            kilobytes = _SHARE.findall(file.read())
        with open(f"/proc/{task}/status", "rb") as file:
            kilobytes += _PAGE_TABLES.findall(file.read())
    except OSError:
        # It forbids to look, or has ended.
        return 0 if _held_by_task(f"/proc/{task}") is None else otherwise
    return min(otherwise, sum(map(int, kilobytes)) << 10)


def _are_one_memory(task: int, other: int) -> bool:
    # Where the kernel has no such call they count as two.
    return bool(libc.syscall(_SYS_KCMP, task, other, _KCMP_VM, 0, 0) == 0)


def address_bytes(pid: int) -> int:
    """The address space of `pid`; 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0
