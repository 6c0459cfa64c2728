"""Programs that run inside the sandbox, beside an answer, and judge it there.

Each is a file of the standard library alone that is read as text and never imported: it finds
`solution.py` and its inputs in the working folder, passes by running to its end and fails by an
exception that says why.
"""

import functools
from pathlib import Path


def driver(name: str) -> str:
    """Source of a Python one."""
    return driver_text(f"{name}.py")


@functools.cache
def driver_text(file: str) -> str:
    """Source of one in any language."""
    return Path(__file__).with_name(file).read_text(encoding="utf-8")
