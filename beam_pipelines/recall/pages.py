"""Finished folders of pages as a PCollection, on this machine or in a store."""

from collections.abc import Iterator, Sequence

import apache_beam as beam

from beam_pipelines import output, stores
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document, decode_document
from opencoder_jax.formats.shards import read_shard


class ReadPages(beam.PTransform):
    """The documents of finished folders, each once."""

    def __init__(self, folders: Sequence[str], doc_types: Sequence[str] = ()) -> None:
        """Args:
        folders: with `documents-*` shards.
        doc_types: of the documents that are meant; empty means all.
        """
        super().__init__()
        self._folders = folders
        self._doc_types = frozenset(doc_types)

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        paths = [path for folder in self._folders for path in _shards(folder)]
        return (
            root
            | beam.Create(paths)
            | "Read" >> beam.FlatMap(_read, self._doc_types).with_output_types(Document)
        )


def pages_fingerprints(folders: Sequence[str]) -> dict[str, str]:
    """Name to fingerprint of each folder, for manifests.

    Raises:
      InputError: one is missing, unfinished or holds no documents, or none is given.
    """
    if not folders:
        raise InputError("no folder of pages is given (input_dirs is empty)")
    fingerprints = {}
    for number, folder in enumerate(folders):
        manifest = output.read_manifest(folder)
        _shards(folder)
        fingerprints[f"pages {number}"] = manifest["fingerprint"]
    return fingerprints


def _shards(folder: str) -> list[str]:
    try:
        return output.list_shards(folder, "documents")
    except FileNotFoundError as error:
        raise InputError(
            f"{error}; expected the output of beam_pipelines.web_pages or beam_pipelines.refinecode"
        ) from error


def _read(path: str, doc_types: frozenset[str]) -> Iterator[Document]:
    with stores.fetched(path) as local:
        for record in read_shard(local):
            document = decode_document(record)
            if not doc_types or document.doc_type in doc_types:
                yield document
