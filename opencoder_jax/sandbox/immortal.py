"""Objects that forks share without a page copied for them: their references are not counted.

CPython counts references in the objects themselves, so a forked interpreter that only looks at
a function or a type writes to it, and the kernel copies the page. Since 3.12 some objects are
immortal (PEP 683): their count is a mark that nobody changes. The zygote gives it to all that
it has when it is ready, and a third fewer pages are copied for a program.
"""

import ctypes
import gc
import sys
import types
from typing import Any

# The count is in the first four bytes; immortal from this on, whatever the version's own mark.
_LEAST_MARK = 1 << 31


def make_immortal() -> bool:
    """Of every object that there is now no reference is counted any more, and none is freed.

    Returns:
      Whether this interpreter knows immortal objects; otherwise nothing has changed.
    """
    mark = sys.getrefcount(None)
    if not _LEAST_MARK <= mark < 1 << 32 or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    found: dict[int, Any] = {}
    left: list[Any] = gc.get_objects()
    while left:
        some = left.pop()
        # Not what this very function works with.
        if id(some) in found or some is left or some is found or isinstance(some, types.FrameType):
            continue
        found[id(some)] = some
        left += gc.get_referents(some)
        if isinstance(some, types.CodeType):
            # No collection looks into it, so it tells of no referents.
            left += (some.co_consts, some.co_names, some.co_filename, some.co_name)
    for address in found:
        ctypes.c_uint32.from_address(address).value = mark
    return True
