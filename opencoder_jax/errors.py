"""The one exception that means: the input, not the code, has to change.

Commands print its message as one line and exit with status 2; anything else is a bug
and keeps its traceback.
"""


class InputError(ValueError):
    """Bad input. The message names the file, key or record, what was expected, what to do."""
