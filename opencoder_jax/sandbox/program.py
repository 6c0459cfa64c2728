"""The last step inside: this process becomes the program.

The source runs as `__main__` of a fresh module, from a file in the scratch folder so
that tracebacks and `inspect` have its lines. How it ended is marked on a pipe: exit
code 0 alone would also be a program that left early.
"""

import contextlib
import os
import sys
import traceback
import types
from collections.abc import Mapping
from typing import NoReturn

MARK_ENDED = b"E"
MARK_MEMORY = b"M"
_OURS = "opencoder_jax"


def run_program(source: str, files: Mapping[str, str], scratch: str, mark: int) -> NoReturn:
    """Runs `source` and ends the process.

    Args:
      source: a whole Python program.
      files: relative path to content, written into the scratch folder first.
      scratch: the folder to work in.
      mark: file descriptor that gets `MARK_ENDED` at the program's end.
    """
    exit_code = 1
    try:
        _enter(scratch, files)
        exit_code = _execute(source, os.path.join(scratch, "program.py"), mark)
    except BaseException:
        # Out of memory or stack even for a traceback: the exit code says enough.
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(exit_code)


def _enter(scratch: str, files: Mapping[str, str]) -> None:
    for name in [n for n in sys.modules if n == _OURS or n.startswith(f"{_OURS}.")]:
        del sys.modules[name]
    os.chdir(scratch)
    for variable in ("HOME", "TMPDIR"):
        os.environ[variable] = scratch
    for path, content in files.items():
        if os.path.dirname(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(content)
    sys.path[:] = [scratch, *(path for path in sys.path if not path.startswith("/proc"))]


def _execute(source: str, path: str, mark: int) -> int:
    module = types.ModuleType("__main__")
    module.__file__ = path
    sys.modules["__main__"] = module
    sys.argv = [path]
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(source)
        exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
        sys.stdout.flush()
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)
        return 1
    except MemoryError:
        os.write(mark, MARK_MEMORY)
        raise
    except BaseException as error:
        # The first frame is this one.
        frames = error.__traceback__.tb_next if error.__traceback__ else None
        traceback.print_exception(type(error), error, frames)
        return 1
    os.write(mark, MARK_ENDED)
    return 0
