"""Deduplication of whole repositories, exact and near (paper §7, Table 9).

    documents → one light record a repository → equal ones, and pairs that share a band
              → exact Jaccard of the pairs → verdict a repository → its documents

A repository is compared as the set of its documents: its exact key adds up the hashes of
(path, content), its shingles are those of all its documents. Both are sums (the minima of
a union are the smaller ones), so a combiner makes them, 8 KB a repository however large.
No repository's text ever meets in one place: texts are shuffled under their own ids, and
`overlap` finds the exact similarities in slices of a bounded size.
A document that stays carries its repository's cluster. Next: `overlap`, `levels`.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.decorators import no_annotations

from beam_pipelines.accounting import Drop, drop_document
from beam_pipelines.dedup.components import ConnectedComponents
from beam_pipelines.dedup.join import JoinById
from beam_pipelines.dedup.keep_order import KeepOrder
from beam_pipelines.dedup.links import links_to_best
from beam_pipelines.dedup.minhash import keys_of_minima, text_minima
from beam_pipelines.dedup.near import NearSplit
from beam_pipelines.dedup.overlap import Candidate, VerifyPairs
from beam_pipelines.dedup.settings import NearSettings
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document, document_id

EXACT_REASON = "exact_duplicate_repository"
NEAR_REASON = "near_duplicate_repository"
_SUM_BITS = 256
_Dropped = TaggedOutput[Literal["dropped"], Drop]
_Compared = TaggedOutput[Literal["compared"], tuple[Document, str]]


class Repository(NamedTuple):
    """What is known of a repository without its texts.

    Attributes:
      id: 32 hex digits, of its provenance and name.
      name: as in `Document.repo`.
      stars, commit_time: the most of its documents.
      content: hex digits; equal for the same contents at the same paths.
      characters: of all its documents.
      band_keys: one of 8 bytes a band; none where it has no word.
    """

    id: str
    name: str
    stars: int
    commit_time: int
    content: str
    characters: int
    band_keys: tuple[bytes, ...]

    @property
    def keep_order(self) -> KeepOrder:
        """Which of two copies stays, as for documents."""
        return -self.stars, -self.commit_time, self.id


@dataclasses.dataclass(slots=True)
class _Sum:
    name: str = ""
    stars: int = 0
    commit_time: int = 0
    content: int = 0
    characters: int = 0
    minima: Any = None  # uint32[bands, rows], None without a word


class RepositoryDedup(beam.PTransform):
    """PCollection[Document] to a `NearSplit`: all documents of a repository or none.

    Dropped are the repositories that equal a better one, then those that are
    `min_jaccard` similar to a better one that stays; `detail` of their documents' drops
    is the name of that one. `duplicate_cluster` of the documents of a repository with near
    duplicates becomes the smallest repository id of its cluster; it is left alone where
    there are none, and is the document's own id where it was empty.

    Raises (in the job):
      InputError: as `NearDedup` and `ExactDedup`.
    """

    def __init__(self, settings: NearSettings, slice_characters: int = 32 << 20) -> None:
        """Args:
        settings: of near deduplication.
        slice_characters: how much text's shingles a worker holds at a time (at most four
          bytes a character, rarely more than one).
        """
        super().__init__()
        self._settings = settings
        self._slice_characters = slice_characters

    @no_annotations
    def expand(self, documents: beam.PCollection) -> NearSplit:
        settings = self._settings
        repositories = (
            documents
            | "Part" >> beam.ParDo(_Part(settings)).with_output_types(tuple[str, Any])
            | "Sum" >> beam.CombinePerKey(_SumRepository())
            | "Repository" >> beam.MapTuple(_repository).with_output_types(Repository)
        )
        equal = (
            repositories
            | "KeyByContent" >> beam.Map(_by_content).with_output_types(tuple[str, Any])
            | "GroupByContent" >> beam.GroupByKey()
            | "Best" >> beam.FlatMap(_all_but_best).with_output_types(tuple[str, Any])
        )
        distinct = (
            {
                "repository": repositories
                | "ById" >> beam.Map(lambda r: (r.id, r)).with_output_types(tuple[str, Any]),
                "equal": equal,
            }
            | "MeetEqual" >> beam.CoGroupByKey()
            | "Distinct" >> beam.FlatMap(_without_equal).with_output_types(Repository)
        )
        pairs = (
            distinct
            | "Bands" >> beam.FlatMap(_bands).with_output_types(tuple[bytes, KeepOrder])
            | "GroupByBand" >> beam.GroupByKey()
            | "Pairs" >> beam.FlatMap(links_to_best).with_output_types(tuple[str, str])
            | "DistinctPairs" >> beam.Distinct()
        )
        candidates = _candidates(distinct, pairs, settings, self._slice_characters)
        decisions = (
            equal | "Equal" >> beam.MapTuple(_equal_decision).with_output_types(tuple[str, str]),
            candidates
            | "Compare" >> beam.Map(_compare_decision).with_output_types(tuple[str, str]),
        ) | "Decisions" >> beam.Flatten()
        first = (
            (documents, (documents, decisions) | "ToDocuments" >> _ToDocuments())
            | "JoinDecisions" >> JoinById()
            | "Split"
            >> beam.ParDo(_SplitDecided()).with_outputs("dropped", "compared", main="kept")
        )
        verified = (first.compared, candidates) | "Verify" >> VerifyPairs(settings)
        compared = first.compared | "Compared" >> beam.Map(lambda pair: pair[0]).with_output_types(
            Document
        )
        second = (
            (compared, (compared, verified.verdicts) | "VerdictToDocuments" >> _ToDocuments())
            | "JoinVerdicts" >> JoinById()
            | "SplitVerified"
            >> beam.ParDo(_SplitVerified(settings.threshold)).with_outputs("dropped", main="kept")
        )
        return NearSplit(
            kept=(first.kept, second.kept) | "Kept" >> beam.Flatten(),
            dropped=(first.dropped, second.dropped) | "Dropped" >> beam.Flatten(),
            clusters=verified.clusters,
        )


def repository_id(document: Document) -> str:
    """32 hex digits that name the repository of a document."""
    return document_id(document.provenance, document.repo, "")


class _Part(beam.DoFn):
    """What a document adds to its repository."""

    def __init__(self, settings: NearSettings) -> None:
        self._settings = settings

    def process(self, document: Document) -> Iterator[tuple[str, Any]]:
        if not document.content_sha256:
            raise InputError(
                f"document {document.id} ({document.repo}:{document.path}) has no "
                "content_sha256; its reader has to fill it"
            )
        key = f"{document.path}\0{document.content_sha256}".encode("utf-8", "surrogatepass")
        yield (
            repository_id(document),
            _Sum(
                document.repo,
                document.stars,
                document.commit_time,
                int.from_bytes(hashlib.sha256(key).digest()),
                len(document.text),
                text_minima(document.text, self._settings.ngram, self._settings.banding),
            ),
        )


class _SumRepository(beam.CombineFn):
    def create_accumulator(self) -> _Sum:
        return _Sum()

    def add_input(self, total: _Sum, part: _Sum) -> _Sum:
        if total.minima is None or part.minima is None:
            minima = part.minima if total.minima is None else total.minima
        else:
            minima = np.minimum(total.minima, part.minima)
        return _Sum(
            part.name or total.name,
            max(total.stars, part.stars),
            max(total.commit_time, part.commit_time),
            (total.content + part.content) % (1 << _SUM_BITS),
            total.characters + part.characters,
            minima,
        )

    def merge_accumulators(self, totals: Iterable[_Sum]) -> _Sum:
        merged = _Sum()
        for total in totals:
            merged = self.add_input(merged, total)
        return merged

    def extract_output(self, total: _Sum) -> _Sum:
        return total


def _repository(key: str, total: _Sum) -> Repository:
    keys = () if total.minima is None else keys_of_minima(total.minima)
    return Repository(
        key,
        total.name,
        total.stars,
        total.commit_time,
        f"{total.content:064x}",
        total.characters,
        tuple(band.tobytes() for band in keys),
    )


def _by_content(repository: Repository) -> tuple[str, tuple[KeepOrder, str]]:
    return repository.content, (repository.keep_order, repository.name)


def _all_but_best(
    group: tuple[str, Iterable[tuple[KeepOrder, str]]],
) -> Iterator[tuple[str, tuple[str, str]]]:
    """(id of a worse copy, (id, name) of the best); reads the copies twice."""
    _, copies = group
    best, name = min(copies)
    for order, _ in copies:
        if order != best:
            yield order[-1], (best[-1], name)


def _without_equal(group: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[Repository]:
    _, joined = group
    if not list(joined["equal"]):
        yield from joined["repository"]


def _bands(repository: Repository) -> Iterator[tuple[bytes, KeepOrder]]:
    for key in repository.band_keys:
        yield key, repository.keep_order


def _candidates(
    repositories: beam.PCollection,
    pairs: beam.PCollection,
    settings: NearSettings,
    slice_characters: int,
) -> beam.PCollection:
    """PCollection[Candidate]: the repositories of pairs, with their cluster and partners."""
    clusters = pairs | "Components" >> ConnectedComponents(settings.component_rounds)
    joined = (
        {
            "repository": repositories
            | "ByIdAgain" >> beam.Map(lambda r: (r.id, r)).with_output_types(tuple[str, Any]),
            "cluster": clusters,
            "partners": pairs,
        }
        | "MeetPartners" >> beam.CoGroupByKey()  # at most one partner a band
        | "Candidates" >> beam.FlatMap(_candidate).with_output_types(tuple[str, Any])
    )
    return (
        joined
        | "GroupByCluster" >> beam.GroupByKey()
        | "Slices" >> beam.FlatMap(_slice, slice_characters).with_output_types(Candidate)
    )


def _candidate(group: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[tuple[str, Candidate]]:
    _, joined = group
    for cluster in joined["cluster"]:
        (repository,) = joined["repository"]
        yield (
            cluster,
            Candidate(
                order=repository.keep_order,
                name=repository.name,
                cluster=cluster,
                characters=repository.characters,
                partners=tuple(sorted(joined["partners"])),
                slices=1,
            ),
        )


def _slice(group: tuple[str, Iterable[Candidate]], slice_characters: int) -> Iterator[Candidate]:
    """Tells each member of a cluster in how many slices to compare; reads them twice."""
    _, members = group
    slices = sum(member.characters for member in members) // slice_characters + 1
    for member in members:
        yield member._replace(slices=slices)


def _equal_decision(repository: str, best: tuple[str, str]) -> tuple[str, str]:
    return repository, json.dumps({"equal": best[1]})


def _compare_decision(candidate: Candidate) -> tuple[str, str]:
    return candidate.id, json.dumps(
        {
            "cluster": candidate.cluster,
            "slices": candidate.slices,
            "partners": candidate.partners,
        }
    )


class _ToDocuments(beam.PTransform):
    """(documents, (repository id, decision)) to (document id, decision).

    A repository has any number of documents, so only their ids are grouped, and read twice.
    """

    @no_annotations
    def expand(self, pcollections: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        documents, decisions = pcollections
        ids = documents | "Ids" >> beam.Map(
            lambda document: (repository_id(document), (document.id, ""))
        ).with_output_types(tuple[str, tuple[str, str]])
        decided = decisions | "Decided" >> beam.MapTuple(
            lambda repository, decision: (repository, ("", decision))
        ).with_output_types(tuple[str, tuple[str, str]])
        return (
            (ids, decided)
            | beam.Flatten()
            | "GroupByRepository" >> beam.GroupByKey()
            | "Spread" >> beam.FlatMap(_spread).with_output_types(tuple[str, str])
        )


def _spread(group: tuple[str, Iterable[tuple[str, str]]]) -> Iterator[tuple[str, str]]:
    _, members = group
    decision = max(decision for _, decision in members)
    if decision:
        for document, _ in members:
            if document:
                yield document, decision


class _SplitDecided(beam.DoFn):
    def process(self, joined: tuple[Document, str]) -> Iterator[Document | _Dropped | _Compared]:
        document, text = joined
        decision = json.loads(text) if text else {}
        if "equal" in decision:
            yield _Dropped(
                "dropped", drop_document(document, EXACT_REASON, detail=decision["equal"])
            )
        elif decision:
            yield _Compared("compared", (document, text))
        else:
            yield document.replace(duplicate_cluster=document.duplicate_cluster or document.id)


class _SplitVerified(beam.DoFn):
    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def process(self, joined: tuple[Document, str]) -> Iterator[Document | _Dropped]:
        document, text = joined
        verdict = json.loads(text)
        if verdict["kept"]:
            yield _Dropped(
                "dropped",
                drop_document(
                    document,
                    NEAR_REASON,
                    value=verdict["jaccard"],
                    threshold=f">= {self._threshold:.6f}",
                    detail=verdict["kept"],
                ),
            )
        else:
            yield document.replace(duplicate_cluster=verdict["cluster"])
