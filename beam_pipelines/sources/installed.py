"""The source files that are installed with the project: Python's library and all packages.

A corpus that needs no network: Python, C and C++ headers, JavaScript, CSS, Markdown and
more by many authors. Each distribution is a repository, and so is each top-level module
of the standard library. A byte budget is shared evenly: every language of every
repository gives a hash sample of its files up to the same cap, the largest with which
all together stay within the budget. So small packages are whole, no giant dominates and
rare languages are there.
"""

import csv
import dataclasses
import importlib.metadata
import os
import sys
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from beam_pipelines.languages.file_types import identify
from beam_pipelines.sources import local
from beam_pipelines.sources.entry import NOT_SOURCE_FOLDERS, RawFile
from beam_pipelines.sources.local import LocalFile, list_file
from opencoder_jax.errors import InputError
from opencoder_jax.formats.split import hash_fraction

_PROVENANCE = "installed-package"
_OWN_DISTRIBUTION = "opencoder-jax"
_PYTHON_LICENCE = "PSF-2.0"
# Installed packages stand here, inside the standard library's folder.
_PACKAGE_FOLDERS = frozenset({"site-packages", "dist-packages"})
# Differ between two installations of the same package.
_WRITTEN_BY_INSTALLER = frozenset(
    {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json"}
)
_LONGEST_LICENCE = 100
_BISECTIONS = 12


@dataclasses.dataclass(frozen=True)
class InstalledPackages:
    """A hash sample, by package, of what is installed in this environment.

    Attributes:
      megabytes: most millions of bytes, of files whose language is known.
      seed: another seed samples other files.
    """

    megabytes: float
    seed: int = 0

    def read(self, pipeline: beam.Pipeline, max_file_bytes: int) -> beam.PCollection[RawFile]:
        # The list is in the graph: a few thousand names, of files that only this machine has.
        return (
            pipeline
            | "Packages" >> beam.Create(list(local.packs(self.files())))
            | "ReadLocal" >> beam.ParDo(local.ReadLocal(max_file_bytes)).with_output_types(RawFile)
        )

    def files(self) -> list[LocalFile]:
        """The sampled files, by repository and path.

        Raises:
          InputError: the budget is not positive.
        """
        if not self.megabytes > 0:
            raise InputError(f"megabytes is {self.megabytes}, expected more than 0")
        files = [*_standard_library(), *_distributions()]
        return [
            list_file(
                _PROVENANCE,
                file.repo,
                file.path,
                file.location,
                follow_links=True,
                licence=file.licence,
            )
            for file in sample(files, round(self.megabytes * 1e6), self.seed)
        ]

    def settings(self) -> dict[str, Any]:
        return {
            "type": "InstalledPackages",
            "megabytes": self.megabytes,
            "seed": self.seed,
        }

    def fingerprint(self) -> str:
        """Of names, sizes, licences and contents of the sampled files.

        Raises:
          InputError: the budget is not positive.
        """
        digest, _ = local.fingerprint(self.files())
        return digest


@dataclasses.dataclass(frozen=True, slots=True)
class InstalledFile:
    """A candidate of the sample.

    Attributes:
      repo: distribution, or standard library module, with its version.
      path: as the distribution lists it; relative to the library for Python's own.
      location: absolute path.
      size: bytes; 0 where it cannot be told.
      licence: of the distribution.
      language: by its name; empty for what the reader will drop.
    """

    repo: str
    path: str
    location: str
    size: int
    licence: str
    language: str


def sample(files: Iterable[InstalledFile], byte_budget: int, seed: int) -> list[InstalledFile]:
    """Files in hash order, about the same number of bytes of each (repository, language).

    A file larger than what is left of its share is passed over. Files without a
    language, which the reader will drop by their names, are taken at the rate of their
    repository and count nothing.
    """
    shares: dict[tuple[str, str], list[InstalledFile]] = defaultdict(list)
    unwanted: list[InstalledFile] = []
    for file in sorted(files, key=lambda file: (_draw(seed, file), file.repo, file.path)):
        if file.language:
            shares[file.repo, file.language].append(file)
        else:
            unwanted.append(file)
    taken = _fill(list(shares.values()), byte_budget)
    rates = _rates(shares, taken)
    taken += [file for file in unwanted if _draw(seed, file) < rates.get(file.repo, 1.0)]
    return sorted(taken, key=lambda file: (file.repo, file.path))


def _fill(shares: list[list[InstalledFile]], byte_budget: int) -> list[InstalledFile]:
    """The files within the largest cap on every share that keeps within the budget.

    Passing over large files leaves room, so the even cap is a lower bound; a few
    bisections use the room up.
    """
    low = even_cap((sum(file.size for file in share) for share in shares), byte_budget)
    high = 8 * low
    taken = _first_files(shares, low)
    for _ in range(_BISECTIONS):
        middle = (low + high) // 2
        more = _first_files(shares, middle)
        if sum(file.size for file in more) <= byte_budget:
            low, taken = middle, more
        else:
            high = middle
    return taken


def _first_files(shares: list[list[InstalledFile]], cap: int) -> list[InstalledFile]:
    taken = []
    for share in shares:
        left = cap
        for file in share:
            if file.size <= left:
                taken.append(file)
                left -= file.size
    return taken


def _rates(
    shares: dict[tuple[str, str], list[InstalledFile]], taken: list[InstalledFile]
) -> dict[str, float]:
    """Share of each repository's files that was taken."""
    offered = Counter(repo for (repo, _), share in shares.items() for _ in share)
    chosen = Counter(file.repo for file in taken)
    return {repo: chosen[repo] / count for repo, count in offered.items()}


def even_cap(sizes: Iterable[int], budget: int) -> int:
    """The largest cap with which the sizes, each cut to it, sum to at most `budget`."""
    ascending = sorted(sizes)
    left = budget
    for index, size in enumerate(ascending):
        share = left // (len(ascending) - index)
        if size > share:
            return share
        left -= size
    return ascending[-1] if ascending else 0


def _draw(seed: int, file: InstalledFile) -> float:
    return hash_fraction("sample", seed, file.repo, file.path)


def _candidate(repo: str, path: str, location: str, licence: str) -> InstalledFile:
    file_type = identify(path)
    known = file_type.doc_type not in ("unknown", "excluded")
    try:
        size = os.stat(location).st_size
    except OSError:
        size = 0
    return InstalledFile(repo, path, location, size, licence, file_type.language if known else "")


def _standard_library() -> Iterator[InstalledFile]:
    """Its files; the top-level module or package is the repository."""
    root = sysconfig.get_path("stdlib")
    version = ".".join(map(str, sys.version_info[:3]))
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - NOT_SOURCE_FOLDERS - _PACKAGE_FOLDERS)
        for name in sorted(names):
            location = os.path.join(folder, name)
            path = os.path.relpath(location, root)
            first, *below = path.split(os.sep)
            module = first if below else os.path.splitext(first)[0]
            yield _candidate(f"python=={version}/{module}", path, location, _PYTHON_LICENCE)


def _distributions() -> Iterator[InstalledFile]:
    """The files of each distribution, this project's own left out.

    Of two installations of one name the first on the path counts, as for `import`.
    """
    first: dict[str, importlib.metadata.Distribution] = {}
    for distribution in importlib.metadata.distributions():
        name = (distribution.metadata["Name"] or "").lower().replace("_", "-")
        if name and name != _OWN_DISTRIBUTION:
            first.setdefault(name, distribution)
    for name, distribution in sorted(first.items()):
        repo = f"{name}=={distribution.version}"
        licence = _licence(distribution.metadata)
        root = str(distribution.locate_file(""))
        for path in _recorded_paths(distribution):
            yield _candidate(repo, path, os.path.join(root, path), licence)


def _recorded_paths(distribution: importlib.metadata.Distribution) -> Iterator[str]:
    """Paths of the package that the installer recorded.

    Left out are its own notes, and what it put elsewhere (`..`: scripts made for this machine).
    """
    record = distribution.read_text("RECORD") or ""
    for path, *_ in csv.reader(record.splitlines()):
        parts = path.split("/")
        elsewhere = path.startswith("/") or {"..", *NOT_SOURCE_FOLDERS}.intersection(parts)
        if not elsewhere and parts[-1] not in _WRITTEN_BY_INSTALLER:
            yield path


def _licence(metadata: importlib.metadata.PackageMetadata) -> str:
    """SPDX expression where there is one, else the short name given."""
    for field in ("License-Expression", "License"):
        if lines := metadata[field].strip().splitlines() if field in metadata else []:
            return lines[0][:_LONGEST_LICENCE]
    return ""
