"""What the kernel counts of a program, and what the zygote counts where it cannot.

`set_limits` is called by the process that becomes a program or a compiler, `descendants`
and `resident_bytes` by who watches it from outside its namespace.
"""

import dataclasses
import resource

# Room beside the heap of a runtime that reserves address space: stacks, code, its own tables.
_RUNTIME_BYTES = 512 << 20


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
        resource.RLIMIT_CORE: (0, 0),
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
    found: list[int] = []
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = [int(child) for child in file.read().split()]
    except (OSError, ValueError):
        return found
    for child in children:
        found += [child, *descendants(child)]
    return found


def resident_bytes(pid: int) -> int:
    """What `pid` holds in memory, pages that it shares included; 0 if it has ended."""
    return _pages(pid, 1) * resource.getpagesize()


def address_bytes(pid: int) -> int:
    """The address space of `pid`; 0 if it has ended."""
    return _pages(pid, 0) * resource.getpagesize()


def _pages(pid: int, column: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[column])
    except (OSError, ValueError, IndexError):
        return 0
