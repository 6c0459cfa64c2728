"""Several sources as one: a folder beside JSON lines, one corpus of each team.

Ids are made of the source's name, repository and path, so the same path in a folder and in
a tar archive are two files; exact deduplication finds what is the same in them. Two
sources of the same kind share ids where their repositories and paths are the same.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from beam_pipelines.sources.entry import RawFile, Source
from opencoder_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Several:
    """The files of all sources.

    Attributes:
      sources: one or more.
    """

    sources: Sequence[Source]

    def __post_init__(self) -> None:
        if not self.sources:
            raise InputError("Several: no sources")

    def read(self, pipeline: beam.Pipeline, max_file_bytes: int) -> beam.PCollection[RawFile]:
        read = [
            pipeline | f"Source{index}" >> _Read(source, max_file_bytes)
            for index, source in enumerate(self.sources)
        ]
        return read | "Sources" >> beam.Flatten()

    def settings(self) -> dict[str, Any]:
        return {"type": "Several", "sources": [source.settings() for source in self.sources]}

    def fingerprint(self) -> str:
        """Of all of them.

        Raises:
          InputError: one is missing or empty.
        """
        return "-".join(source.fingerprint() for source in self.sources)


class _Read(beam.PTransform):
    """A source under a label of its own."""

    def __init__(self, source: Source, max_file_bytes: int) -> None:
        super().__init__()
        self._source = source
        self._max_file_bytes = max_file_bytes

    def expand(self, root: beam.pvalue.PBegin) -> beam.PCollection[RawFile]:
        return self._source.read(root.pipeline, self._max_file_bytes)
