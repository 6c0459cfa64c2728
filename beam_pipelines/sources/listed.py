"""What was listed on the launcher, handed to the workers without filling the job's graph.

A hundred thousand names in the graph would pass a service's limits, so they travel as one
packed element and are unpacked and spread by workers. Next: `containers` and `git`, which
list at launch.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam


class Listed(beam.PTransform):
    """Pipeline to PCollection of rows, each on some worker."""

    def __init__(self, rows: Sequence[tuple], make: type) -> None:
        """Args:
        rows: of JSON values; text may have surrogates, as `os` gives names.
        make: class that a row's values are the arguments of, e.g. a NamedTuple.
        """
        super().__init__()
        self._packed = zlib.compress(json.dumps(rows).encode("ascii"))
        self._make = make

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return (
            pipeline
            | "Packed" >> beam.Create([self._packed], reshuffle=False)
            | "Unpack" >> beam.FlatMap(_unpack, self._make).with_output_types(self._make)
            | "Spread" >> beam.Reshuffle()
        )


def _unpack(packed: bytes, make: Callable[..., Any]) -> Iterator[Any]:
    for values in json.loads(zlib.decompress(packed)):
        yield make(*values)
