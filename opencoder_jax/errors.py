"""The one exception that means: the input, not the code, has to change.

Commands print its message as one line and exit with status 2; anything else is a bug
and keeps its traceback.
"""


class InputError(ValueError):
    """Bad input. The message names the file, key or record, what was expected, what to do."""


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
