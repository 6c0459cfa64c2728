"""Exceptions that mean: not the code has to change, but the input, or the machine.

Commands print the message as one line. Bad input gives exit status 2, storage that failed
74; anything else is a bug and keeps its traceback.
"""

import errno

# `EX_IOERR` of sysexits.h: the machine's storage, not the input; the same command may work later.
STORAGE_EXIT_STATUS = 74
# What a shell says of a process that SIGINT ended.
INTERRUPTED_EXIT_STATUS = 130
_STORAGE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


class InputError(ValueError):
    """Bad input. The message names the file, key or record, what was expected, what to do."""


class StorageError(OSError):
    """A result could not be written; what had been written before is whole."""


def is_storage_failure(error: OSError) -> bool:
    """Whether the storage failed (full, broken, read-only), rather than a path being wrong."""
    return isinstance(error, StorageError) or error.errno in _STORAGE_ERRNOS


def require_at_least(minimum: float, **settings: float) -> None:
    """Refuses settings below `minimum`; NaN is below everything.

    Raises:
      InputError: with the name and the value.
    """
    for name, value in settings.items():
        if not value >= minimum:
            raise InputError(f"{name} is {value}, expected at least {minimum}")


def require_positive(**settings: float) -> None:
    """Refuses settings that are not above 0.

    Raises:
      InputError: with the name and the value.
    """
    for name, value in settings.items():
        if not value > 0:
            raise InputError(f"{name} is {value}, expected more than 0")
