"""The last step inside: this process becomes the Python program.

The source runs as `__main__` of a fresh module, from a file in the scratch folder so
that tracebacks and `inspect` have its lines. How it ended is marked on a pipe, since exit
code 0 alone would also be a program that left early. The mark counts only together with
a secret that the zygote gave, and from this process: writing to every file there is forges
nothing, nor does another function in the place of `os.write`; calling what is in this module
does.
"""

import _sitebuiltins
import atexit
import builtins
import contextlib
import os
import sys
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

MARK_ENDED = b"E"
MARK_MEMORY = b"M"
SECRET_BYTES = 16
_OURS = "opencoder_jax"
# Modules that go on working though nobody can import them again.
_kept: list[types.ModuleType] = []


def prepare_interpreter() -> None:
    """What programs find or do not find in the interpreter that they are forked from."""
    for name in [n for n in sys.modules if n == _OURS or n.startswith(f"{_OURS}.")]:
        _kept.append(sys.modules.pop(name))
    sys.path[:] = [folder for folder in sys.path if not folder.startswith("/proc")]
    # Until here it may: the zygote's own modules start faster for it.
    sys.dont_write_bytecode = True
    # Which only `site` would define.
    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "end of file"))


def run_program(
    source: str,
    files: Mapping[str, str],
    arguments: Sequence[str],
    scratch: str,
    mark: int,
    secret: bytes,
) -> NoReturn:
    """Runs `source` and ends the process.

    Args:
      source: a whole Python program.
      files: relative path to content, written into the scratch folder first.
      arguments: of its command line.
      scratch: the folder to work in.
      mark: file descriptor that gets `MARK_ENDED` and the secret at the program's end.
      secret: what makes it count. Never there before: a program may read its own pipes.
    """
    exit_code = 1
    try:
        enter(scratch, files)
        path = os.path.join(scratch, "program.py")
        sys.path.insert(0, scratch)
        sys.argv = [path, *arguments]
        if "numpy.random" in sys.modules:
            # Unlike Python's own, its generator is the same in each fork.
            sys.modules["numpy.random"].seed()
        exit_code = _execute(source, path, _marker(mark, secret))
    except BaseException:
        # Out of memory or stack even for a traceback: the exit code says enough.
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(exit_code)


def enter(scratch: str, files: Mapping[str, str]) -> None:
    """Makes `scratch` the working folder and home, and writes `files` into it."""
    os.chdir(scratch)
    if os.environ["HOME"] != scratch:
        os.environ["HOME"] = os.environ["TMPDIR"] = scratch
    for path, content in files.items():
        if os.path.dirname(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        _write(path, content)


def _write(path: str, content: str) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(content.encode("utf-8", "surrogatepass"))


def _marker(fd: int, secret: bytes) -> Callable[[bytes], None]:
    """Writes a mark that counts, from this process only."""
    # As they are now: the program may put others in their place.
    write, getpid = os.write, os.getpid
    pid = getpid()

    def mark(what: bytes) -> None:
        if getpid() == pid:
            write(fd, what + secret)

    return mark


def _execute(source: str, path: str, mark: Callable[[bytes], None]) -> int:
    module = types.ModuleType("__main__")
    module.__file__ = path
    sys.modules["__main__"] = module
    # Programs expect them of an interpreter; `site`, which defines them, is not run here.
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]
    try:
        _write(path, source)
        exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
        _finish()
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            _finish()
            return (error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)
        return 1
    except BaseException as error:
        if isinstance(error, MemoryError):
            mark(MARK_MEMORY)
        # The first frame is this one.
        frames = error.__traceback__.tb_next if error.__traceback__ else None
        traceback.print_exception(type(error), error, frames)
        return 1
    mark(MARK_ENDED)
    return 0


def _finish() -> None:
    """What an interpreter does at its end: wait for threads, call exit handlers, flush."""
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
    atexit._run_exitfuncs()
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()
