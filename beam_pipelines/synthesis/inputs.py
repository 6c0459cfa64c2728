"""What a set is made from: finished folders of documents or of conversations."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import apache_beam as beam

from beam_pipelines import output, stores
from opencoder_jax.errors import InputError
from opencoder_jax.formats import shards
from opencoder_jax.formats.conversation import Conversation, decode_conversation
from opencoder_jax.formats.document import Document, decode_document


class Input(Protocol):
    """What sets are made from."""

    def fingerprint(self) -> str:
        """Of what is read.

        Raises:
          InputError: it is missing or unfinished.
        """

    def count(self) -> int | None:
        """How many elements there are, for the progress; None where nobody knows."""

    def read(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """All elements, read in workers."""


@dataclasses.dataclass(frozen=True)
class DocumentFolder:
    """Documents: a cleaned corpus, recalled pages, an annealing set.

    Attributes:
      folder: finished, with `documents-*` shards.
    """

    folder: str

    def fingerprint(self) -> str:
        """Raises: InputError: the folder is missing, unfinished, or has no documents."""
        return _fingerprint(self.folder, "documents", "documents")

    def count(self) -> int | None:
        return _count(self.folder, "documents")

    def read(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return _read(pipeline, self.folder, "documents", decode_document, Document)


@dataclasses.dataclass(frozen=True)
class ConversationFolder:
    """Conversations: an imported or a made instruction set.

    Attributes:
      folder: finished, with `conversations-*` shards.
    """

    folder: str

    def fingerprint(self) -> str:
        """Raises: InputError: the folder is missing, unfinished, or has no conversations."""
        return _fingerprint(self.folder, "conversations", "an instruction set")

    def count(self) -> int | None:
        return _count(self.folder, "conversations")

    def read(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return _read(pipeline, self.folder, "conversations", decode_conversation, Conversation)


def _fingerprint(folder: str, name: str, expected: str) -> str:
    manifest = output.read_manifest(folder)
    try:
        output.list_shards(folder, name)
    except shards.MissingShardsError as error:
        raise InputError(f"{error}; expected a folder of {expected}") from error
    return manifest["fingerprint"]


def _count(folder: str, name: str) -> int | None:
    return None if stores.is_remote(folder) else shards.count_records(folder, name)


def _read_shard(place: str) -> Iterator[bytes]:
    with stores.fetched(place) as path:
        yield from shards.read_shard(path)


def _read(
    pipeline: beam.Pipeline,
    folder: str,
    name: str,
    decode: Callable[[bytes], Any],
    kind: type,
) -> beam.PCollection:
    return (
        pipeline
        | f"Shards of {name}" >> beam.Create(output.list_shards(folder, name))
        | "Spread" >> beam.Reshuffle()
        | "Read" >> beam.FlatMap(_read_shard).with_output_types(bytes)
        | "Decode" >> beam.Map(decode).with_output_types(kind)
    )
