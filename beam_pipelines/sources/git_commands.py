"""Calls to the `git` command that read a repository and run nothing that it brings.

Repositories are other people's: their configuration may name programs to run (filters,
external diffs, signature checkers, file system monitors, remotes of a partial clone).
The commands here are those that use none, with everything of the kind turned off, and
belong to whoever owns the folder. Output is read as it comes, separated by NULs.
"""

import dataclasses
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

from opencoder_jax.errors import InputError

_SAFE = (
    "--no-pager",
    "--no-replace-objects",
    "--literal-pathspecs",
    # Folders of other owners are refused otherwise; nothing of theirs is run here.
    *("-c", "safe.directory=*"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "log.showSignature=false"),
    *("-c", "protocol.allow=never"),
)
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
# Before a commit's files.
_TIME = re.compile(rb"\x01time (\d+)\n?(.*)", re.DOTALL)


class GitError(Exception):
    """Git refused: the message is its own, in one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class TreeEntry:
    """A file of a commit: mode, name of its blob, bytes (0 for what is no blob), path."""

    mode: bytes
    blob: str
    size: int
    path: bytes


def require_git() -> None:
    """Raises: InputError: there is no `git` command."""
    if not shutil.which("git"):
        raise InputError("the git source needs the `git` command, which is not on the PATH")


def is_repository(location: bytes) -> bool:
    """Whether a folder is a checkout or a bare repository."""
    if os.path.lexists(os.path.join(location, b".git")):
        return True
    parts = (b"HEAD", b"objects", b"refs")
    return all(os.path.exists(os.path.join(location, part)) for part in parts)


def resolve(location: bytes, commit: str) -> str:
    """The hash of a commit.

    Raises:
      GitError: there is no such commit, or no repository.
    """
    verified = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}"]
    try:
        return _output(location, verified).decode("ascii").strip()
    except GitError as error:
        raise GitError(str(error) or f"there is no commit {commit!r}") from error


def commit_time(location: bytes, commit: str) -> int:
    """Seconds since the epoch of a commit.

    Raises:
      GitError: git fails.
    """
    return int(_output(location, ["log", "-1", "--format=%ct", commit, "--"]))


def times_by_path(location: bytes, commit: str) -> dict[bytes, int]:
    """Path to the time of the last commit that touched it; merges count where they changed it.

    One pass over the history, newest first. A shallow clone knows only what it has.

    Raises:
      GitError: git fails.
    """
    log = ["log", "--format=%x01time %ct", "--name-only", "-z", "--no-renames", "--no-ext-diff"]
    times: dict[bytes, int] = {}
    now, first = 0, True
    for part in _records(location, [*log, "--no-textconv", "-c", commit, "--"]):
        # A header begins a part of its own; its first path is in the next one, after a break.
        if header := _TIME.fullmatch(part.lstrip(b"\n")):
            now, part = int(header[1]), header[2]
            first = True
        if first:
            part = part.removeprefix(b"\n")
        first = not part
        if part:
            times.setdefault(part, now)
    return times


def list_tree(location: bytes, commit: str) -> Iterator[TreeEntry]:
    """Every file, link and submodule of a commit, by path.

    Raises:
      GitError: git fails.
    """
    for record in _records(location, ["ls-tree", "-r", "-z", "--long", "--full-tree", commit]):
        facts, _, path = record.partition(b"\t")
        mode, _, blob, size = facts.split()
        yield TreeEntry(mode, blob.decode("ascii"), int(size) if size.isdigit() else 0, path)


def read_blobs(location: bytes, names: Sequence[str]) -> dict[str, bytes]:
    """Name to content of the blobs that are there.

    Raises:
      GitError: git fails.
    """
    if not names:
        return {}
    request = "".join(f"{name}\n" for name in dict.fromkeys(names)).encode("ascii")
    answer = _output(location, ["cat-file", "--batch", "--buffer"], request, check=False)
    blobs = {}
    position = 0
    while position < len(answer):
        end = answer.find(b"\n", position)
        if end < 0:
            break
        name, kind, *size = answer[position:end].split(b" ")
        position = end + 1
        if kind == b"missing" or not size:
            continue
        content = answer[position : position + int(size[0])]
        if len(content) < int(size[0]):
            break  # git died of a damaged object
        blobs[name.decode("ascii")] = content
        position += int(size[0]) + 1
    return blobs


def _command(location: bytes, arguments: Sequence[str]) -> list[bytes | str]:
    return ["git", *_SAFE, "-C", location, *arguments]


def _output(
    location: bytes, arguments: Sequence[str], request: bytes = b"", *, check: bool = True
) -> bytes:
    try:
        done = subprocess.run(
            _command(location, arguments),
            input=request,
            capture_output=True,
            env=os.environ | _ENVIRONMENT,
            check=False,
        )
    except OSError as error:
        raise GitError(f"git cannot be run: {error}") from error
    if check and done.returncode:
        raise GitError(_message(done.stderr))
    return done.stdout


def _records(location: bytes, arguments: Sequence[str]) -> Iterator[bytes]:
    """NUL-separated parts of what a command prints, as it prints them."""
    rest = b""
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            _command(location, arguments),
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=os.environ | _ENVIRONMENT,
        ) as process,
    ):
        assert process.stdout is not None
        while piece := process.stdout.read(1 << 16):
            *parts, rest = (rest + piece).split(b"\0")
            yield from filter(None, parts)
        if process.wait():
            complaints.seek(0)
            raise GitError(_message(complaints.read()))
    if rest.strip():
        yield rest


def _message(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[0] if lines else ""
