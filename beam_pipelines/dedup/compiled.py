"""Numba compilation that is kept on disk where that is possible, and works where it is not.

Compiling takes seconds, loading a cached function milliseconds. Numba keeps its cache
beside the module, or in the user's cache folder where the package is read-only
(`NUMBA_CACHE_DIR` names another place). On a worker where none of them can be written
Numba refuses to decorate at all; then the function is compiled once a process.
"""

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as machine code, compiled at its first call."""
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:  # "cannot cache function: no locator available"
        return numba.njit(function)
