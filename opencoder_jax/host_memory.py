"""The C library's heap, kept: for programs whose arrays lie in the host's own memory.

XLA takes a step's temporary memory from the C library anew in every step, and gives it back.
glibc hands large pieces straight back to the system, which then fills every page with zeros
again: a fifth to a third of a step on two cores (docs/measured.md). Here glibc is told to keep
what it has, in one heap that the system backs by large pages where it can. The numbers that a
program computes do not change.
"""

import ctypes
import glob
import mmap
import os
import platform

import jax

# malloc.h. Only the main heap has no limit to a piece, so it is the only one, and keeps all.
_SETTINGS = {
    -8: 1,  # M_ARENA_MAX
    -4: 0,  # M_MMAP_MAX
    -1: -1,  # M_TRIM_THRESHOLD: never
}
_USERS_OWN = ("GLIBC_TUNABLES", "MALLOC_", "LD_PRELOAD")
# TPU, TPU, NVIDIA, AMD
_ACCELERATORS = ("/dev/accel*", "/dev/vfio/[0-9]*", "/dev/nvidia[0-9]*", "/dev/kfd")


def keep_heap() -> bool:
    """From now on the heap keeps what it was given, in large pages where there are any.

    To be called before JAX looks for devices: threads that have allocated before keep their
    own heaps. The process then holds on to the most memory that it ever used. Nothing happens
    where JAX computes on an accelerator, where the C library is not glibc, or where the
    environment says how to allocate (`GLIBC_TUNABLES`, `MALLOC_...`, `LD_PRELOAD`).

    Returns:
      Whether the heap is kept.
    """
    if not _computes_on_cpu() or platform.libc_ver()[0] != "glibc":
        return False
    if any(name.startswith(_USERS_OWN) for name in os.environ):
        return False
    libc = ctypes.CDLL(None)
    if not all(libc.mallopt(name, value) for name, value in _SETTINGS.items()):
        return False
    _advise_large_pages(libc)
    return True


def _computes_on_cpu() -> bool:
    if chosen := jax.config.jax_platforms:
        return chosen.partition(",")[0] == "cpu"
    return not any(glob.glob(pattern) for pattern in _ACCELERATORS)


def _advise_large_pages(libc: ctypes.CDLL) -> None:
    """Asks for large pages in as much heap as the machine has memory, none of it touched yet."""
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE
    while size > 1 << 30:
        # Addresses alone; a limit of the process's may forbid so many of them.
        if start := libc.malloc(size):
            skipped = -start % mmap.PAGESIZE
            libc.madvise(start + skipped, size - skipped, mmap.MADV_HUGEPAGE)
            libc.free(start)
            return
        size //= 2
