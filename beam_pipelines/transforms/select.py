"""Options that choose documents by what is known of their repository: stars and licence.

Neither is part of RefineCode itself. The paper's ablation keeps repositories of at least 5
stars and finds that worse on benchmarks (Figs 10 and 11); an allow list of licences is what a
team needs that may not train on everything. Both come right after reading, since what is not
wanted need not be deduplicated. Next: `licence` finds out what a document's licence is.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import apache_beam as beam
from apache_beam.pvalue import AsMultiMap, TaggedOutput

from beam_pipelines.accounting import Drop, Split, drop_document
from beam_pipelines.transforms.licence import (
    AllowList,
    all_of,
    document_licence,
    is_licence_file,
    licence_of_file,
)
from opencoder_jax.errors import require_at_least
from opencoder_jax.formats.document import Document

TOO_FEW_STARS = "too_few_stars"
LICENCE_NOT_ALLOWED = "licence_not_allowed"
_Dropped = TaggedOutput[Literal["dropped"], Drop]
# (its folder, expression) of a licence file
_File = tuple[str, str]
_Folders = dict[str, frozenset[str]]
# A repository with more has vendored a registry; those nearest its root stay.
_MOST_FOLDERS = 10_000


class SelectByStars(beam.PTransform):
    """PCollection[Document] to a `Split`: repositories with `min_stars` or more stay."""

    def __init__(self, min_stars: int) -> None:
        super().__init__()
        require_at_least(0, min_stars=min_stars)
        self._min_stars = min_stars

    def expand(self, documents: beam.PCollection) -> Split:
        chosen = documents | beam.ParDo(_ByStars(self._min_stars)).with_outputs(
            "dropped", main="kept"
        )
        return Split(chosen.kept, chosen.dropped)


class SelectByLicence(beam.PTransform):
    """PCollection[Document] to a `Split`: documents whose licence is on the list stay.

    `Document.licence` becomes the SPDX expression that was found (empty where none was),
    from the first of: `SPDX-License-Identifier` tags of the file, the notice in its header,
    the licence files in the nearest folder above it (all of them), what the source declares.

    Texts are not shuffled: what licence files say is combined by repository, one short string
    each, and looked up by key as a side input. A runner with state-backed side inputs
    (Dataflow, Flink, Beam's own) fetches only the repositories that a worker asks for.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        """Args:
        allowed: SPDX identifiers, and `unknown` for documents whose licence nothing tells.

        Raises:
          InputError: one is no SPDX identifier.
        """
        super().__init__()
        self._allowed = AllowList(allowed)

    def expand(self, documents: beam.PCollection) -> Split:
        repositories = (
            documents
            | "LicenceFiles" >> beam.FlatMap(_licence_files).with_output_types(tuple[str, _File])
            | "ByFolder" >> beam.CombinePerKey(_ByFolder())
        )
        chosen = documents | "Choose" >> beam.ParDo(
            _ByLicence(self._allowed), AsMultiMap(repositories)
        ).with_outputs("dropped", main="kept")
        return Split(chosen.kept, chosen.dropped)


class _ByStars(beam.DoFn):
    def __init__(self, min_stars: int) -> None:
        self._min_stars = min_stars

    def process(self, document: Document) -> Iterator[Document | _Dropped]:
        if document.stars >= self._min_stars:
            yield document
        else:
            threshold = f">= {self._min_stars}"
            drop = drop_document(
                document, TOO_FEW_STARS, value=float(document.stars), threshold=threshold
            )
            yield _Dropped("dropped", drop)


class _ByLicence(beam.DoFn):
    def __init__(self, allowed: AllowList) -> None:
        self._allowed = allowed

    def process(
        self, document: Document, repositories: Mapping[str, Iterable[dict[str, str]]]
    ) -> Iterator[Document | _Dropped]:
        chosen = choose_by_licence(
            document, _of_repository(repositories, document.repo), self._allowed
        )
        yield _Dropped("dropped", chosen) if isinstance(chosen, Drop) else chosen


def choose_by_licence(
    document: Document, of_folders: Mapping[str, str], allowed: AllowList
) -> Document | Drop:
    """The document with its licence, or why it is dropped.

    Args:
      document: as it was read.
      of_folders: what the licence files of its repository say (`document_licence`).
      allowed: what may stay.
    """
    licence, origin = document_licence(document, of_folders)
    if allowed.allows(licence):
        return document.replace(licence=licence)
    detail = f"{licence} ({origin})" if licence else "unknown"
    return drop_document(document, LICENCE_NOT_ALLOWED, detail=detail)


def _of_repository(
    repositories: Mapping[str, Iterable[dict[str, str]]], repo: str
) -> dict[str, str]:
    # A state-backed map has no `get`, and nothing under a key that is missing.
    try:
        return next(iter(repositories[repo]), {})
    except KeyError:
        return {}


def _licence_files(document: Document) -> Iterator[tuple[str, _File]]:
    if is_licence_file(document.path):
        expression = licence_of_file(document.text)
        if expression:
            yield document.repo, (document.path.rpartition("/")[0], expression)


class _ByFolder(beam.CombineFn):
    """Folder to the expression of its licence files, of one repository."""

    def create_accumulator(self) -> _Folders:
        return {}

    def add_input(self, folders: _Folders, file: _File) -> _Folders:
        folder, expression = file
        return self.merge_accumulators((folders, {folder: frozenset((expression,))}))

    def merge_accumulators(self, accumulators: Iterable[_Folders]) -> _Folders:
        merged: _Folders = {}
        for folders in accumulators:
            for folder, expressions in folders.items():
                merged[folder] = merged.get(folder, frozenset()) | expressions
        if len(merged) <= _MOST_FOLDERS:
            return merged
        nearest_root = sorted(merged, key=lambda folder: (folder.count("/"), folder))
        return {folder: merged[folder] for folder in nearest_root[:_MOST_FOLDERS]}

    def extract_output(self, folders: _Folders) -> dict[str, str]:
        return {folder: all_of(expressions) for folder, expressions in sorted(folders.items())}
