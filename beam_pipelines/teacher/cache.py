"""Calls that were answered, each a file: what was paid for once is never asked again.

`<cache_dir>/calls/<2 digits>/<sha256>.json`, named by all that an answer depends on: model, API,
further fields, messages, sampling. It is there, whole, before the answer is used, so that a job
that is killed at any moment loses no completed call. Any number of processes and workers share a
folder. On a local disk the first answer of two at one time is both's; in a store each keeps its
own and the last one stays.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beam_pipelines import stores
from beam_pipelines.teacher.prompt import Prompt
from beam_pipelines.teacher.replies import Reply
from beam_pipelines.teacher.settings import Teacher

_FOLDER = "calls"
_PARTIAL = "partial"


class DamagedEntryError(Exception):
    """A file of the cache that is cut short, changed, or of another call."""


def request_of(teacher: Teacher, prompt: Prompt) -> dict[str, Any]:
    """All that the answer of a call depends on, as JSON."""
    return {
        **teacher.identity(),
        "messages": [list(message) for message in prompt.messages],
        **dataclasses.asdict(prompt.sampling),
    }


def call_key(request: Mapping[str, Any]) -> str:
    """SHA-256 of a request."""
    return hashlib.sha256(_canonical(request).encode("ascii")).hexdigest()


class CallCache:
    """The calls in a folder.

    Methods may be called from several threads.
    """

    def __init__(self, folder: str) -> None:
        """Args: folder: local path or url."""
        self._root = folder.rstrip("/") or "/"
        self._remote = stores.is_remote(folder)

    def place(self, key: str) -> str:
        """Path or url of a call."""
        return f"{self._root}/{_FOLDER}/{key[:2]}/{key}.json"

    def has(self, key: str) -> bool:
        """Whether there is a file of the call, damaged or not.

        Raises:
          OSError: the folder cannot be read.
        """
        place = self.place(key)
        return stores.exists(place) if self._remote else os.path.exists(place)

    def get(self, key: str, request: Mapping[str, Any]) -> Reply | None:
        """The reply of a call; None: it was not answered yet.

        Raises:
          DamagedEntryError: what is there cannot be used.
          OSError: the folder cannot be read.
        """
        content = self._read(self.place(key))
        if content is None:
            return None
        try:
            entry = json.loads(content)
            reply = entry["reply"]
            if entry["sha256"] != _digest(entry["request"], reply):
                raise DamagedEntryError("its content was changed")
            if entry["request"] != json.loads(_canonical(request)):
                raise DamagedEntryError("it is of another call")
            return Reply(**reply)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise DamagedEntryError(f"{type(error).__name__}: {error}") from error

    def put(self, key: str, request: Mapping[str, Any], reply: Reply, over: bool = False) -> Reply:
        """Keeps a reply and returns what is kept: another's, where that was first.

        Args:
          key: of the request.
          request: all that the reply depends on.
          reply: what came.
          over: there is a damaged file, which is replaced.

        Raises:
          OSError: it cannot be written.
        """
        told = dataclasses.asdict(reply)
        entry = {"request": request, "reply": told, "sha256": _digest(request, told)}
        content = _canonical(entry).encode("ascii")
        place = self.place(key)
        if self._remote:
            # Stores show an object when it is whole.
            stores.write(place, content)
            return reply
        if _write_once(Path(self._root), Path(place), content, over):
            return reply
        try:
            return self.get(key, request) or reply
        except DamagedEntryError:
            return self.put(key, request, reply, over=True)

    def _read(self, place: str) -> bytes | None:
        if not self._remote:
            try:
                return Path(place).read_bytes()
            except FileNotFoundError:
                return None
        try:
            return stores.read(place)
        except OSError:
            if stores.exists(place):
                raise
            return None


def _write_once(root: Path, place: Path, content: bytes, over: bool) -> bool:
    """Writes a file whole, on the disk when this returns; False: there was one."""
    partial = root / _PARTIAL / uuid.uuid4().hex
    for folder in (partial.parent, place.parent):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if not over:
            try:
                os.link(partial, place)
            except FileExistsError:
                return False
            except OSError:
                # A file system without hard links.
                over = True
        if over:
            os.replace(partial, place)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    folder_number = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(folder_number)
    finally:
        os.close(folder_number)
    return True


def _canonical(value: Any) -> str:
    """JSON in ASCII, so that any text of a server can be kept, half a surrogate pair too."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def _digest(request: Any, reply: Any) -> str:
    return hashlib.sha256(_canonical([request, reply]).encode("ascii")).hexdigest()
