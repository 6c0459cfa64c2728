"""What Orbax would tell the user that is no news to them, or said better by us."""

import contextlib
import functools
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def hidden(unwanted: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """Inside, log records of Orbax that are `unwanted` are not shown."""

    def wanted(record: logging.LogRecord) -> bool:
        return not unwanted(record)

    logger = logging.getLogger("absl")
    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)


def beginning(text: str) -> Callable[[logging.LogRecord], bool]:
    """Records whose message begins so."""
    return lambda record: str(record.msg).startswith(text)


def errors(record: logging.LogRecord) -> bool:
    """Orbax logs, with tracebacks, errors that it raises as well."""
    return record.levelno >= logging.ERROR


@functools.cache
def ignore_abandoned_operations() -> None:
    """Keeps from stderr what reads and writes say when one beside them has failed.

    Orbax closes their event loop; each complains when it ends, at any time after.
    """
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        code = getattr(unraisable.object, "cr_code", None)
        of_orbax = code is not None and "orbax" in code.co_filename
        if not of_orbax and "Event loop is closed" not in str(unraisable.exc_value):
            before(unraisable)

    sys.unraisablehook = hook
