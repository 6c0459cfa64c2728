"""Git repositories as a source: checkouts or bare ones, read at a commit with the `git` command.

`root` is a repository or a folder with repositories anywhere below. Working trees are not
looked at, nor what stands outside repositories: files are the blobs of one commit, and the
commit is the fingerprint. The launcher finds out once which commit that is, so workers read
it whatever happens to branches meanwhile. Nothing that a repository brings is run: no
hooks, filters, external diffs, signature programs or fetches of a partial clone.
Next: `git_commands` has the calls to git, `entry` what is handed over.
"""

import dataclasses
import functools
import os
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import apache_beam as beam

from beam_pipelines.sources import git_commands
from beam_pipelines.sources.entry import RawFile, decided_unread, file_id, readable
from beam_pipelines.sources.git_commands import GitError, TreeEntry
from beam_pipelines.sources.listed import Listed
from beam_pipelines.sources.local import digest_number, short_digest
from beam_pipelines.sources.stars import read_stars
from opencoder_jax.errors import InputError

_PROVENANCE = "git"
# What a worker holds at once.
_BLOBS_A_BATCH, _BYTES_A_BATCH = 256, 32 << 20
_KINDS = {b"160000": "submodule", b"120000": "link"}


class Repository(NamedTuple):
    """A repository and the commit that is read.

    Attributes:
      name: its path below the root; bytes that are no UTF-8 as surrogates, as `os` gives them.
      location: its absolute path, likewise.
      commit: hash; empty where there is none.
      problem: why there is none, in git's words.
    """

    name: str
    location: str
    commit: str
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Git:
    """The files of repositories at a commit.

    Branches are looked up once: what `fingerprint` says and what `read` reads are the same
    commits, whichever is called first.

    Attributes:
      root: a repository, or a local folder of repositories; their paths below it are their
        names.
      commit: what to read of each, as git names commits (branch, tag, hash).
      commit_times: `file`, the time of the last commit that touched each file (one pass over
        the history), or `commit`, that of the commit that is read.
      stars: JSON object or TSV file of repository names and their stars; empty for none.
    """

    root: str
    commit: str = "HEAD"
    commit_times: Literal["file", "commit"] = "file"
    stars: str = ""

    def read(self, pipeline: beam.Pipeline, max_file_bytes: int) -> beam.PCollection[RawFile]:
        return (
            pipeline
            | "Repositories" >> Listed(self._repositories, Repository)
            | "ListTree"
            >> beam.FlatMap(_list, self.commit_times, max_file_bytes).with_output_types(_Batch)
            | "SpreadFiles" >> beam.Reshuffle()
            | "ReadBlobs"
            >> beam.FlatMap(_read, max_file_bytes, self._stars).with_output_types(RawFile)
        )

    def settings(self) -> dict[str, Any]:
        return {"type": "Git", "commit_times": self.commit_times, "stars": bool(self.stars)}

    def fingerprint(self) -> str:
        """Of the names of the repositories, their commits, and the stars.

        Raises:
          InputError: there is no such folder or repository, no git, or a single repository
            lacks the commit.
        """
        lines = [f"stars {sorted(self._stars.items())}"] if self.stars else []
        lines += [
            f"{readable(repository.name)} {repository.commit or 'damaged'} {self.commit_times}"
            for repository in self._repositories
        ]
        return short_digest(sum(map(digest_number, lines)))

    @functools.cached_property
    def _repositories(self) -> list[Repository]:
        git_commands.require_git()
        if self.commit_times not in ("file", "commit"):
            raise InputError(f"commit_times is {self.commit_times!r}, expected 'file' or 'commit'")
        found = [
            _resolved(name, location, self.commit)
            for name, location in _find(os.fsencode(self.root))
        ]
        if found[0].problem and git_commands.is_repository(os.fsencode(self.root)):
            raise InputError(f"repository {self.root}: {found[0].problem}")
        return found

    @functools.cached_property
    def _stars(self) -> dict[str, int]:
        return read_stars(self.stars) if self.stars else {}


@dataclasses.dataclass(frozen=True, slots=True)
class _Batch:
    """Files of one repository that one worker reads; or its obstacle, without files."""

    repo: bytes
    location: bytes
    entries: tuple[TreeEntry, ...]
    times: tuple[int, ...]
    obstacle: str = ""


def _find(root: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, absolute path) of every repository.

    Raises:
      InputError: there is none.
    """
    root = os.path.abspath(root)
    if not os.path.isdir(root):
        raise InputError(f"git folder {readable(root)}: no such folder")
    if git_commands.is_repository(root):
        yield os.path.basename(root).removesuffix(b".git"), root
        return
    found = False
    for folder, names, _ in os.walk(root):
        inside = sorted(names)
        names[:] = []
        for name in inside:
            location = os.path.join(folder, name)
            if git_commands.is_repository(location):
                found = True
                yield os.path.relpath(location, root).removesuffix(b".git"), location
            elif not os.path.islink(location):
                names.append(name)
    if not found:
        raise InputError(f"git folder {readable(root)} is no repository and holds none")


def _resolved(name: bytes, location: bytes, commit: str) -> Repository:
    try:
        commit_hash, problem = git_commands.resolve(location, commit), ""
    except GitError as error:
        commit_hash, problem = "", str(error)
    return Repository(os.fsdecode(name), os.fsdecode(location), commit_hash, problem)


def _list(repository: Repository, commit_times: str, max_file_bytes: int) -> Iterator[_Batch]:
    repo, location = os.fsencode(repository.name), os.fsencode(repository.location)
    commit = repository.commit
    try:
        if repository.problem:
            raise GitError(repository.problem)
        time = git_commands.commit_time(location, commit)
        by_path = git_commands.times_by_path(location, commit) if commit_times == "file" else {}
        entries: list[TreeEntry] = []
        size = 0
        for entry in git_commands.list_tree(location, commit):
            if _is_wanted(entry, max_file_bytes):
                size += entry.size
            entries.append(entry)
            if len(entries) == _BLOBS_A_BATCH or size >= _BYTES_A_BATCH:
                yield _batch(repo, location, entries, by_path, time)
                entries, size = [], 0
        if entries:
            yield _batch(repo, location, entries, by_path, time)
    except GitError as error:
        yield _Batch(repo, location, (), (), str(error))


def _batch(
    repo: bytes, location: bytes, entries: list[TreeEntry], times: dict[bytes, int], time: int
) -> _Batch:
    return _Batch(
        repo, location, tuple(entries), tuple(times.get(entry.path, time) for entry in entries)
    )


def _read(batch: _Batch, max_file_bytes: int, stars: dict[str, int]) -> Iterator[RawFile]:
    repo = readable(batch.repo)

    def raw(path: bytes, **facts: Any) -> RawFile:
        return RawFile(
            repo=repo,
            path=readable(path),
            id=file_id(_PROVENANCE, os.fsdecode(batch.repo), os.fsdecode(path)),
            stars=stars.get(repo, 0),
            provenance=_PROVENANCE,
            **facts,
        )

    if batch.obstacle:
        yield raw(b"", content=b"", size=0, obstacle="damaged_source", detail=batch.obstacle)
        return
    wanted = [entry for entry in batch.entries if _is_wanted(entry, max_file_bytes)]
    contents = git_commands.read_blobs(batch.location, [entry.blob for entry in wanted])
    for entry, time in zip(batch.entries, batch.times, strict=True):
        content, obstacle, detail = b"", _KINDS.get(entry.mode, ""), ""
        if _is_wanted(entry, max_file_bytes):
            try:
                content = contents[entry.blob]
            except KeyError:
                obstacle, detail = "unreadable", f"git has no object {entry.blob}"
        yield raw(
            entry.path,
            content=content,
            size=entry.size,
            commit_time=time,
            obstacle=obstacle,
            detail=detail,
        )


def _is_wanted(entry: TreeEntry, max_file_bytes: int) -> bool:
    unread = decided_unread(readable(entry.path), entry.size, max_file_bytes)
    return entry.mode not in _KINDS and not unread
