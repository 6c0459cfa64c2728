"""Asks commands what they would be called with: `--resolve` of `configuration.main`.

Each command is asked by its own module in a process of its own, so nothing can be different
from a real start; one process answers for hundreds of arms. At most two run at a time. They
never open an accelerator.
"""

import concurrent.futures
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_PROCESSES = 2
# Command lines that one process answers for; starting one takes seconds.
_PER_PROCESS = 400
# Of what a command printed before it broke, for the message.
_LINES = 5
# `configuration.command`'s names; importing it would import gin.
_REQUESTS_NAME, _ANSWERS_NAME = "requests.json", "answers.json"


class Request(NamedTuple):
    """A command line.

    Attributes:
      command: the module.
      words: its arguments.
    """

    command: str
    words: tuple[str, ...]


class Answer(NamedTuple):
    """What a command says of a request.

    Attributes:
      error: why it would not start; then the rest is empty.
      bindings: the operative configuration, setting to its value in gin.
      incidental: those that change nothing about the result.
      facts: what else it knows of itself.
    """

    error: str | None = None
    bindings: Mapping[str, str] = {}
    incidental: Sequence[str] = ()
    facts: Mapping[str, Any] = {}


def resolve(requests: Sequence[Request]) -> dict[Request, Answer]:
    """The answer to each request; what cannot be asked has an `error`, too."""
    by_command: dict[str, list[Request]] = {}
    for request in dict.fromkeys(requests):
        by_command.setdefault(request.command, []).append(request)
    parts = [
        of_command[start : start + _PER_PROCESS]
        for of_command in by_command.values()
        for start in range(0, len(of_command), _PER_PROCESS)
    ]
    answers: dict[Request, Answer] = {}
    with concurrent.futures.ThreadPoolExecutor(_PROCESSES) as pool:
        # The longest first, so that the last one is short.
        for found in pool.map(_ask, sorted(parts, key=len, reverse=True)):
            answers.update(found)
    return answers


def _ask(requests: Sequence[Request]) -> dict[Request, Answer]:
    """Answers of one process; all of one command."""
    command = requests[0].command
    if not _is_module(command):
        return dict.fromkeys(requests, Answer(f"there is no module {command}"))
    with tempfile.TemporaryDirectory(prefix="resolve-") as folder:
        words = [list(request.words) for request in requests]
        (Path(folder) / _REQUESTS_NAME).write_text(json.dumps(words), "utf-8")
        done = subprocess.run(
            [sys.executable, "-m", command, f"--resolve={folder}"],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        answered = Path(folder) / _ANSWERS_NAME
        if done.returncode or not answered.exists():
            said = " | ".join((done.stderr or done.stdout).strip().splitlines()[-_LINES:])
            error = f"python -m {command} cannot be asked (status {done.returncode}): {said}"
            return dict.fromkeys(requests, Answer(error))
        values = json.loads(answered.read_text("utf-8"))
    return {r: Answer(**value) for r, value in zip(requests, values, strict=True)}


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
