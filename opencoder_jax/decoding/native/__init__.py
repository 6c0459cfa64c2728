"""The CPU kernels of decoding: compiled from `kernels.cc` on first use, and kept.

XLA's CPU compiler reads 16-bit weights at a fifth of the memory's speed, and between two
products a token has too little work for its machinery; so the layers are written out
(`kernels.cc` says how) and called as a foreign function of JAX, the unembedding as another.
They are compiled for the very processor, with the machine's own `g++` or `clang++`, into
the user's cache folder. Without a compiler decoding goes on with XLA's own: slower, and the
same up to rounding. Next: `opencoder_jax.decoding.forward`.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jax

from opencoder_jax.host_memory import keep_heap

_FOLDER = Path(__file__).parent
_SOURCE = _FOLDER / "kernels.cc"
_FLAGS = ("-std=c++20", "-O3", "-march=native", "-fno-math-errno", "-shared", "-fPIC", "-pthread")
_HANDLERS = {"opencoder_linear": "OpencoderLinear", "opencoder_layers": "OpencoderLayers"}
_COMPILER_SECONDS = 300


@functools.cache
def available() -> bool:
    """Whether the kernels can be called here; says once, on stderr, why not."""
    try:
        library = ctypes.CDLL(str(_compiled()))
    except _UnavailableError as error:
        print(
            f"decoding runs without its CPU kernels, several times slower: {error}", file=sys.stderr
        )
        return False
    for name, symbol in _HANDLERS.items():
        handler = jax.ffi.pycapsule(getattr(library, symbol))
        jax.ffi.register_ffi_target(name, handler, platform="cpu")
    return True


def prepare_process() -> None:
    """Sets a process up for decoding on a CPU; to be called before JAX looks for devices.

    The heap is kept (`host_memory`). And JAX runs programs in the thread that calls them: handed to
    threads of its own, which have to be woken while the kernels' spin on every processor, a step
    takes a twelfth longer. Other threads go on meanwhile. Accelerators are not concerned.
    """
    keep_heap()
    jax.config.update("jax_cpu_enable_async_dispatch", False)


class _UnavailableError(Exception):
    """There is no compiler, or it failed."""


def _compiled() -> Path:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise _UnavailableError("there is no C++ compiler (Debian: apt install g++)")
    library = _cache_folder() / f"decoding-{_key(compiler)}.so"
    if not library.exists():
        # Complete or not there at all, also where two processes come at the same time.
        with tempfile.TemporaryDirectory(dir=library.parent) as work:
            made = Path(work) / library.name
            _compile(compiler, made)
            made.replace(library)
    return library


def _compile(compiler: str, to: Path) -> None:
    headers = ("-isystem", jax.ffi.include_dir())
    command = [compiler, *_FLAGS, *headers, str(_SOURCE), "-o", str(to)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILER_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _UnavailableError(f"{compiler}: {error}") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise _UnavailableError(f"{compiler} failed: {errors[0]}")


def _key(compiler: str) -> str:
    """What the library depends on: another of any of these is another file."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    sources = [path.read_text() for path in sorted(_FOLDER.glob("*.[ch]*"))]
    parts = (*sources, " ".join(_FLAGS), version, jax.__version__, _processor())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    """The instructions that `-march=native` may use: home folders are shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "opencoder_jax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        # A home that cannot be written: for this user and start alone.
        folder = Path(tempfile.mkdtemp(prefix="opencoder_jax-"))
    return folder
