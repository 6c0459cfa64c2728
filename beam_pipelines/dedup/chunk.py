"""Deduplication of chunks of 4,096 tokens (paper §7, Table 13).

    documents → chunks → exact, then near deduplication of the chunks as of documents
              → which chunks of a document go → the document without them

A chunk never crosses documents and ends at the end of a line where it has one; without a
tokenizer a token is a word of `shingles`. A document keeps the chunks that stay, joined,
and is dropped if none does. Every chunk that goes equals one that stays or is verified
to be `min_jaccard` similar to it: it is the same code as for files. Next: `levels`.
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
from numpy.typing import NDArray

from beam_pipelines.accounting import Drop, drop_document
from beam_pipelines.dedup.cluster import Cluster
from beam_pipelines.dedup.components import ConnectedComponents
from beam_pipelines.dedup.exact import ExactDedup
from beam_pipelines.dedup.join import JoinById
from beam_pipelines.dedup.near import NearDedup
from beam_pipelines.dedup.settings import NearSettings
from beam_pipelines.dedup.shingles import word_ends
from opencoder_jax.errors import require_at_least
from opencoder_jax.formats.document import Document
from opencoder_jax.formats.tokenizer import Tokenizer, open_tokenizer

REASON = "all_chunks_duplicate"
_SEPARATOR = "-"  # between a document's id and the number of its chunk
_CONTINUATION = 0x80  # first byte of no UTF-8 character: 10xxxxxx


@dataclasses.dataclass(frozen=True, slots=True)
class Trimmed:
    """What a document lost that stays.

    Attributes:
      id, repo, path, language: of the document.
      chunks: how many it had.
      removed_chunks: how many of them went.
      removed_bytes: their UTF-8 bytes.
    """

    id: str
    repo: str
    path: str
    language: str
    chunks: int
    removed_chunks: int
    removed_bytes: int


class ChunkSplit(NamedTuple):
    """What chunk deduplication returns.

    Attributes:
      kept: PCollection[Document], with the text of the chunks that stay. `duplicate_cluster`
        is the smallest id of the documents that chunks connect it with, if any.
      dropped: PCollection[Drop]; `detail` is the chunk that stays instead of the first.
      clusters: PCollection[Cluster] of chunks.
      trimmed: PCollection[Trimmed], one of each document in `kept` that lost a chunk.
    """

    kept: beam.PCollection
    dropped: beam.PCollection
    clusters: beam.PCollection
    trimmed: beam.PCollection


class ChunkDedup(beam.PTransform):
    """PCollection[Document] to a `ChunkSplit`.

    Raises:
      InputError: settings that do not fit; in the job: as `ExactDedup` and `NearDedup`, or
        an unusable tokenizer.
    """

    def __init__(
        self, settings: NearSettings, chunk_tokens: int = 4096, tokenizer: str = ""
    ) -> None:
        """Args:
        settings: of near deduplication.
        chunk_tokens: most tokens of a chunk.
        tokenizer: folder of the tokenizer that counts them, readable by every worker; empty
          counts words.
        """
        super().__init__()
        require_at_least(1, chunk_tokens=chunk_tokens)
        self._settings = settings
        self._cut = _Cut(chunk_tokens, tokenizer)

    @no_annotations
    def expand(self, documents: beam.PCollection) -> ChunkSplit:
        chunks = documents | "Cut" >> beam.ParDo(_Chunks(self._cut)).with_output_types(Document)
        exact = chunks | "Exact" >> ExactDedup()
        near = exact.kept | "Near" >> NearDedup(**dataclasses.asdict(self._settings))
        removed = (exact.dropped, near.dropped) | "Removed" >> beam.Flatten()
        links = (
            removed | "LinkRemoved" >> beam.FlatMap(_link_drop).with_output_types(tuple[str, str]),
            near.kept | "LinkKept" >> beam.FlatMap(_link_kept).with_output_types(tuple[str, str]),
        )
        clusters = (
            links
            | "Links" >> beam.Flatten()
            | "DistinctLinks" >> beam.Distinct()
            | "Components" >> ConnectedComponents(self._settings.component_rounds)
        )
        decisions = (
            (
                removed | "Number" >> beam.Map(_number).with_output_types(tuple[str, Any]),
                clusters | "Cluster" >> beam.MapTuple(_cluster).with_output_types(tuple[str, Any]),
            )
            | "Facts" >> beam.Flatten()
            | "GroupByDocument" >> beam.GroupByKey()  # one element a chunk of the document
            | "Decision" >> beam.MapTuple(_decision).with_output_types(tuple[str, str])
        )
        split = (
            (documents, decisions)
            | "Join" >> JoinById()
            | "Trim" >> beam.ParDo(_Trim(self._cut)).with_outputs("dropped", "trimmed", main="kept")
        )
        return ChunkSplit(
            split.kept,
            split.dropped,
            near.clusters
            | "Level"
            >> beam.Map(lambda c: dataclasses.replace(c, level="chunk")).with_output_types(Cluster),
            split.trimmed,
        )


def chunk_ends(data: bytes, token_ends: NDArray[np.int64], chunk_tokens: int) -> list[int]:
    """Where the chunks of a text end, in bytes; the last one at its end.

    Args:
      data: the text in UTF-8.
      token_ends: int64[tokens], byte after each token, ascending.
      chunk_tokens: most tokens of a chunk.
    """
    ends: list[int] = []
    start = token = 0
    while token_ends.size - token > chunk_tokens:
        limit = int(token_ends[token + chunk_tokens - 1])
        while limit < len(data) and data[limit] & 0xC0 == _CONTINUATION:
            limit -= 1  # a token may be a part of a character
        line = data.rfind(b"\n", start, limit) + 1
        end = line if line > start else limit
        if end <= start:  # a character of more tokens than a chunk has
            end = int(token_ends[token + chunk_tokens - 1])
            while end < len(data) and data[end] & 0xC0 == _CONTINUATION:
                end += 1
        ends.append(end)
        start = end
        token = int(np.searchsorted(token_ends, end, side="right"))
    if start < len(data) or not ends:
        ends.append(len(data))
    return ends


class _Cut:
    """Cuts texts; loads its tokenizer once a worker."""

    def __init__(self, chunk_tokens: int, tokenizer: str) -> None:
        self._chunk_tokens = chunk_tokens
        self._folder = tokenizer
        self._tokenizer: Tokenizer | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tokenizer": None}

    def __call__(self, text: str) -> list[str]:
        data = text.encode("utf-8", "surrogatepass")
        if self._folder:
            if self._tokenizer is None:
                self._tokenizer = open_tokenizer(self._folder)
            ids = np.asarray(self._tokenizer.encode(text), np.int64)
            token_ends = np.cumsum(self._tokenizer.byte_lengths[ids], dtype=np.int64)
        else:
            token_ends = word_ends(data)
        ends = chunk_ends(data, token_ends, self._chunk_tokens)
        starts = [0, *ends[:-1]]
        return [
            data[start:end].decode("utf-8", "surrogatepass")
            for start, end in zip(starts, ends, strict=True)
        ]


class _Chunks(beam.DoFn):
    """The chunks of a document, as documents of their own."""

    def __init__(self, cut: _Cut) -> None:
        self._cut = cut

    def process(self, document: Document) -> Iterator[Document]:
        for number, text in enumerate(self._cut(document.text)):
            yield document.replace(
                id=f"{document.id}{_SEPARATOR}{number:06d}",
                text=text,
                path=f"{document.path}#{number}",
                content_sha256=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
                duplicate_cluster="",
            )


def _parent(chunk_id: str) -> str:
    return chunk_id.rpartition(_SEPARATOR)[0]


def _link_drop(drop: Drop) -> Iterator[tuple[str, str]]:
    if _parent(drop.id) != _parent(drop.detail):
        yield _parent(drop.id), _parent(drop.detail)


def _link_kept(chunk: Document) -> Iterator[tuple[str, str]]:
    if _parent(chunk.id) != _parent(chunk.duplicate_cluster):
        yield _parent(chunk.id), _parent(chunk.duplicate_cluster)


def _number(drop: Drop) -> tuple[str, tuple[int, str]]:
    parent, _, number = drop.id.rpartition(_SEPARATOR)
    return parent, (int(number), drop.detail)


def _cluster(document: str, cluster: str) -> tuple[str, tuple[int, str]]:
    return document, (-1, cluster)


def _decision(document: str, facts: Iterable[tuple[int, str]]) -> tuple[str, str]:
    found = dict(facts)
    cluster = found.pop(-1, "")
    first = found[min(found)] if found else ""
    return document, json.dumps({"cluster": cluster, "removed": sorted(found), "kept": first})


_Dropped = TaggedOutput[Literal["dropped"], Drop]
_Trimmed = TaggedOutput[Literal["trimmed"], Trimmed]


class _Trim(beam.DoFn):
    def __init__(self, cut: _Cut) -> None:
        self._cut = cut

    def process(self, joined: tuple[Document, str]) -> Iterator[Document | _Dropped | _Trimmed]:
        document, text = joined
        decision = json.loads(text) if text else {"cluster": "", "removed": [], "kept": ""}
        cluster = decision["cluster"] or document.duplicate_cluster or document.id
        removed = set(decision["removed"])
        if not removed:
            yield document.replace(duplicate_cluster=cluster)
            return
        chunks = self._cut(document.text)
        kept = "".join(chunk for i, chunk in enumerate(chunks) if i not in removed)
        if len(removed) == len(chunks):
            yield _Dropped("dropped", drop_document(document, REASON, detail=decision["kept"]))
            return
        yield document.replace(text=kept, duplicate_cluster=cluster)
        lost = sum(len(chunks[i].encode("utf-8", "surrogatepass")) for i in removed)
        yield _Trimmed(
            "trimmed",
            Trimmed(
                document.id,
                document.repo,
                document.path,
                document.language,
                len(chunks),
                len(removed),
                lost,
            ),
        )
