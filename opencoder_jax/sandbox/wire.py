"""Messages between the caller and the zygote: a length and a JSON object.

JSON and not pickle: what the zygote sends comes from a process that forks programs of
strangers, and reading it must never execute anything. Like all that the zygote imports,
this needs nothing but the standard library.
Next: `pool` is the one side, `zygote` the other.
"""

import json
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("!I")


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    body = json.dumps(message).encode("ascii")
    connection.sendall(_LENGTH.pack(len(body)) + body)


def receive(connection: socket.socket) -> dict[str, Any] | None:
    """The next message, or None where the other side has gone.

    Raises:
      TimeoutError: as the connection's timeout says.
    """
    head = _receive_exactly(connection, _LENGTH.size)
    body = head and _receive_exactly(connection, _LENGTH.unpack(head)[0])
    return json.loads(body) if body else None


def _receive_exactly(connection: socket.socket, size: int) -> bytes | None:
    pieces = []
    while size:
        try:
            piece = connection.recv(min(size, 1 << 20))
        except ConnectionError:
            return None
        if not piece:
            return None
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
