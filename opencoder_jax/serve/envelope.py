"""What stands around the choices of an answer, and of each part of a stream: one for both APIs.

All parts of an answer have its identity and time. Next: `completions`, `chat`.
"""

import time
import uuid
from typing import Any


class Envelope:
    """Of one answer."""

    def __init__(self, prefix: str, model: str) -> None:
        """`prefix`: of its identity, by which clients tell answers apart."""
        self._identity = f"{prefix}-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._model = model

    def around(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """The choices as an object of this kind."""
        return {
            "id": self._identity,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "choices": choices,
        }


def usage(prompt: int, completion: int) -> dict[str, int]:
    """Counts of tokens."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
