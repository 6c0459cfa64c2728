"""A program's room as the zygote holds it: the process that becomes the program, and its pipes.

Its process waits for the program. Where programs are isolated it has a pid namespace of its own,
in whose init nothing ever runs (`namespaces.Inits`): ending that ends all processes of the room.
Next: `zygote` makes rooms and `watch` what happens in one.
"""

import contextlib
import marshal
import os
import signal
from typing import Any, NamedTuple


class Ended(NamedTuple):
    """How a room's process ended, as the kernel tells.

    Attributes:
      exit_code: or minus the number of the signal that ended it.
      cpu_seconds: its own and those of all children it waited for.
    """

    exit_code: int
    cpu_seconds: float


class Room:
    """A process that waits for its program, and all that comes of it."""

    def __init__(
        self, process: int, init: int | None, pipes: dict[str, int], requests: int, compiles: bool
    ) -> None:
        """Args:
        process: the process id of who waits.
        init: that of its namespace's init; None where it is not isolated.
        pipes: the ends to read, by the names in `watch.PIPES`.
        requests: the pipe that the process reads its program from.
        compiles: whether the room is large enough for a compiler.
        """
        self.process = process
        self.init = init
        self.pipes = pipes
        self.compiles = compiles
        self._requests = requests
        # Readable when the process has ended.
        self.ending = os.pidfd_open(process)

    def give(self, request: dict[str, Any]) -> None:
        """Hands over the program."""
        message = marshal.dumps(request)
        with contextlib.suppress(BrokenPipeError), open(self._requests, "wb") as pipe:
            pipe.write(len(message).to_bytes(8) + message)

    def is_alive(self) -> bool:
        return os.waitid(os.P_PID, self.process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def kill(self) -> None:
        """Ends the process and, where it is isolated, all others of the room."""
        os.kill(self.init or self.process, signal.SIGKILL)

    def wait(self) -> Ended:
        """Returns when the process has ended and, where it is isolated, all others have."""
        # First: init itself is only gone when the zygote's own children have been waited for.
        _, status, usage = os.wait4(self.process, 0)
        if self.init:
            os.kill(self.init, signal.SIGKILL)
            os.waitpid(self.init, 0)
        os.close(self.ending)
        return Ended(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime)

    def discard(self) -> None:
        """Ends a room that no program was given to."""
        self.kill()
        self.wait()
        for fd in (self._requests, *self.pipes.values()):
            os.close(fd)


def receive(requests: int) -> dict[str, Any]:
    """In the room's process: what `Room.give` sent. Ends it where nobody will send anything."""
    with open(requests, "rb") as pipe:
        size = int.from_bytes(pipe.read(8))
        if not size:
            os._exit(0)
        # From the zygote: nothing that a program could have written.
        request: dict[str, Any] = marshal.loads(pipe.read(size))
        return request
