"""Options that choose documents by what is known of their repository: stars and licence.

Neither is part of RefineCode itself. The paper's ablation keeps repositories of at least 5
stars and finds that worse on benchmarks (Figs 10 and 11); an allow list of licences is what a
team needs that may not train on everything. Both come right after reading, since what is not
wanted need not be deduplicated. Next: `licence` finds out what a document's licence is.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsMultiMap, TaggedOutput

from beam_pipelines.accounting import Drop, Split, drop_document
from beam_pipelines.transforms.licence import (
    AllowList,
    document_licence,
    is_licence_file,
    licence_of_file,
)
from opencoder_jax.errors import require_at_least
from opencoder_jax.formats.document import Document

TOO_FEW_STARS = "too_few_stars"
LICENCE_NOT_ALLOWED = "licence_not_allowed"
_DROPPED = "dropped"
# (folders above it, expression) of a licence file
_File = tuple[int, str]


class SelectByStars(beam.PTransform):
    """PCollection[Document] to a `Split`: repositories with `min_stars` or more stay."""

    def __init__(self, min_stars: int) -> None:
        super().__init__()
        require_at_least(0, min_stars=min_stars)
        self._min_stars = min_stars

    def expand(self, documents: beam.PCollection) -> Split:
        chosen = documents | beam.ParDo(_ByStars(self._min_stars)).with_outputs(
            _DROPPED, main="kept"
        )
        return Split(chosen.kept, chosen[_DROPPED])


class SelectByLicence(beam.PTransform):
    """PCollection[Document] to a `Split`: documents whose licence is on the list stay.

    `Document.licence` becomes the SPDX expression that was found (empty where none was),
    from the first of: `SPDX-License-Identifier` tags of the file, the notice in its header,
    the licence files of its repository, what the source declares. Of a repository's licence
    files those nearest its root count, all of them.

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
            | "NearestRoot" >> beam.CombinePerKey(_NearestRoot())
        )
        chosen = documents | "Choose" >> beam.ParDo(
            _ByLicence(self._allowed), AsMultiMap(repositories)
        ).with_outputs(_DROPPED, main="kept")
        return Split(chosen.kept, chosen[_DROPPED])


class _ByStars(beam.DoFn):
    def __init__(self, min_stars: int) -> None:
        self._min_stars = min_stars

    def process(self, document: Document) -> Iterator[Any]:
        if document.stars >= self._min_stars:
            yield document
        else:
            threshold = f">= {self._min_stars}"
            drop = drop_document(
                document, TOO_FEW_STARS, value=float(document.stars), threshold=threshold
            )
            yield TaggedOutput(_DROPPED, drop)


class _ByLicence(beam.DoFn):
    def __init__(self, allowed: AllowList) -> None:
        self._allowed = allowed

    def process(
        self, document: Document, repositories: Mapping[str, Iterable[str]]
    ) -> Iterator[Any]:
        chosen = choose_by_licence(
            document, _of_repository(repositories, document.repo), self._allowed
        )
        yield TaggedOutput(_DROPPED, chosen) if isinstance(chosen, Drop) else chosen


def choose_by_licence(
    document: Document, of_repository: str, allowed: AllowList
) -> Document | Drop:
    """The document with its licence, or why it is dropped.

    Args:
      document: as it was read.
      of_repository: what its repository's licence files say; empty where there are none.
      allowed: what may stay.
    """
    licence, origin = document_licence(document, of_repository)
    if allowed.allows(licence):
        return document.replace(licence=licence)
    detail = f"{licence} ({origin})" if licence else "unknown"
    return drop_document(document, LICENCE_NOT_ALLOWED, detail=detail)


def _of_repository(repositories: Mapping[str, Iterable[str]], repo: str) -> str:
    # A state-backed map has no `get`, and nothing under a key that is missing.
    try:
        return next(iter(repositories[repo]), "")
    except KeyError:
        return ""


def _licence_files(document: Document) -> Iterator[tuple[str, _File]]:
    if is_licence_file(document.path):
        expression = licence_of_file(document.text)
        if expression:
            yield document.repo, (document.path.count("/"), expression)


class _NearestRoot(beam.CombineFn):
    """The expressions of the files that are nearest the root, joined by AND."""

    def create_accumulator(self) -> tuple[int, frozenset[str]]:
        return 1 << 30, frozenset()

    def add_input(
        self, best: tuple[int, frozenset[str]], file: _File
    ) -> tuple[int, frozenset[str]]:
        depth, expression = file
        return self.merge_accumulators((best, (depth, frozenset((expression,)))))

    def merge_accumulators(
        self, accumulators: Iterable[tuple[int, frozenset[str]]]
    ) -> tuple[int, frozenset[str]]:
        best, expressions = self.create_accumulator()
        for depth, more in accumulators:
            if depth < best:
                best, expressions = depth, more
            elif depth == best:
                expressions |= more
        return best, expressions

    def extract_output(self, best: tuple[int, frozenset[str]]) -> str:
        return " AND ".join(f"({e})" if " " in e else e for e in sorted(best[1]))
