"""A command that runs while the server does, and ends with it: `serve --model=DIR -- COMMAND`.

It starts when connections are taken, so it need not wait for the server; when it ends, the
server ends with its exit status; when the server ends first, it is ended. Nothing is left
behind, not even by SIGKILL of the server: the command then runs into refused connections.
"""

import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence

from opencoder_jax.errors import InputError

# In the command's words: where the server is.
URL = "{url}"
# For a command to end after SIGTERM.
_END_SECONDS = 30


class Command:
    """One command, started once.

    Raises:
      InputError: there is no such program.
    """

    def __init__(self, words: Sequence[str]):
        if shutil.which(words[0]) is None:
            raise InputError(f"{words[0]}: no such command, to run while the model is served")
        self._words = words
        self._process: subprocess.Popen | None = None
        self._error: OSError | None = None

    def start(self, url: str, stop: Callable[[], None]) -> None:
        """Returns at once; `stop` is called, by another thread, when the command has ended."""
        try:
            self._process = subprocess.Popen([word.replace(URL, url) for word in self._words])
        except OSError as error:
            self._error = error
            stop()
            return
        threading.Thread(target=_call_after, args=(self._process, stop), daemon=True).start()

    def end(self) -> int:
        """The exit status, as a shell has it, once the command has ended; now it has to.

        Raises:
          InputError: it could not be started.
        """
        if self._error is not None:
            raise InputError(f"{self._words[0]} cannot be run: {self._error}") from self._error
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            status = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        return status if status >= 0 else 128 - status


def _call_after(process: subprocess.Popen, stop: Callable[[], None]) -> None:
    process.wait()
    stop()
