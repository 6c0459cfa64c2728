"""What Orbax would tell the user that is no news to them, or said better by us."""

import contextlib
import functools
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

_OF_A_THREAD = "_SignalingThread.run() raised an exception"


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


def _never_asked_for(record: logging.LogRecord) -> bool:
    """Whether this is of a failure in Orbax, or its TensorStore, that nobody has waited for."""
    if "exception was never retrieved" not in record.getMessage() or not record.exc_info:
        return False
    _, error, trace = record.exc_info
    of_orbax = any("orbax" in frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace))
    return of_orbax or "OCDBT database" in str(error)


@functools.cache
def ignore_abandoned_operations() -> None:
    """Keeps from stderr what reads and writes say when one beside them has failed.

    Only the first failure is raised. Orbax closes the others' event loop, and each complains
    when it ends, at any time after, also when the writer is closed; or they fail too, which a
    thread of Orbax logs, or asyncio when their memory is freed.
    """
    logging.getLogger("asyncio").addFilter(lambda record: not _never_asked_for(record))
    logging.getLogger("absl").addFilter(lambda record: _OF_A_THREAD not in str(record.msg))
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        code = getattr(unraisable.object, "cr_code", None)
        of_orbax = code is not None and "orbax" in code.co_filename
        if not of_orbax and "Event loop is closed" not in str(unraisable.exc_value):
            before(unraisable)

    sys.unraisablehook = hook
