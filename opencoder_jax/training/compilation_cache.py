"""Compiled programs kept beside the checkpoints, so that a run that goes on need not compile.

JAX's persistent cache does the work: a program is found again by a hash of its code, the
options and the versions of JAX and XLA, and is the very program that ran before. What JAX
leaves open is closed here. It writes entries in place, so a kill can cut one short, and trusts
what it reads; so an entry counts once the file beside it holds its SHA-256, and everything
else is removed before it can be read. Programs for a CPU use the instructions of that CPU, so
each kind of device has a folder of its own.
"""

import contextlib
import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from opencoder_jax import distributed
from opencoder_jax.formats import manifest

FOLDER_NAME = "compilation_cache"
_ENTRIES = "*-cache"
_SEAL_SUFFIX = ".sha256"
_OPTIONS = {
    # Every program, however small: a start compiles a dozen of them.
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@contextlib.contextmanager
def kept_in(model_dir: str | Path) -> Iterator[Callable[[Callable], Callable]]:
    """Inside, programs come from `model_dir/compilation_cache` and go there.

    A cache of the user's own (`JAX_COMPILATION_CACHE_DIR`) is left as it is, and used.

    Yields:
      `sealing(function)`: `function`, after whose 1st, 2nd, 4th, 8th ... call what the cache has
      gained is sealed; a process that is killed later leaves it usable.
    """
    if jax.config.jax_compilation_cache_dir:
        yield lambda function: function
        return
    folder = Path(model_dir).absolute() / FOLDER_NAME / _device_kind()
    primary = distributed.is_primary()
    if primary:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_unsealed(folder)
    distributed.barrier()
    before = {name: getattr(jax.config, name) for name in _OPTIONS}
    _configure({**_OPTIONS, "jax_compilation_cache_dir": str(folder)})
    seal = functools.partial(_seal, folder) if primary else lambda: None
    try:
        yield functools.partial(_sealed_after, seal)
        seal()
    finally:
        _configure({**before, "jax_compilation_cache_dir": None})


def _configure(options: dict[str, Any]) -> None:
    for name, value in options.items():
        jax.config.update(name, value)
    jax_cache.reset_cache()  # Or JAX goes on with the folder that it looked at first.


def _sealed_after(seal: Callable[[], None], function: Callable[..., Any]) -> Callable[..., Any]:
    calls = 0

    def sealing(*arguments: Any) -> Any:
        nonlocal calls
        result = function(*arguments)
        calls += 1
        if not calls & (calls - 1):
            seal()
        return result

    return sealing


def _seal(folder: Path) -> None:
    for entry in folder.glob(_ENTRIES):
        path = _seal_path(entry)
        if not path.exists():
            manifest.write_json(path, manifest.file_sha256(entry))


def _remove_unsealed(folder: Path) -> None:
    for entry in folder.glob(_ENTRIES):
        path = _seal_path(entry)
        expected = manifest.json_text(manifest.file_sha256(entry))
        if not path.exists() or path.read_text(errors="replace") != expected:
            entry.unlink()
            path.unlink(missing_ok=True)


def _seal_path(entry: Path) -> Path:
    return entry.with_name(entry.name + _SEAL_SUFFIX)


def _device_kind() -> str:
    """The devices' name; with a CPU's, a hash of the instructions that it has."""
    kind = jax.local_devices()[0].device_kind
    if kind == "cpu":
        kind += f"-{hashlib.sha256(_cpu_features().encode()).hexdigest()[:16]}"
    return re.sub(r"[^\w.-]+", "_", kind)


def _cpu_features() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    wanted = ("model name", "flags", "Features")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
