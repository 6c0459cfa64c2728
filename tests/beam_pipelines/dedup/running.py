"""Runs a transform of the package on the default local runner and collects what comes out."""

import hashlib
import pickle
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import apache_beam as beam

from beam_pipelines.runner import pipeline
from beam_pipelines.sources.entry import RawFile, Source
from opencoder_jax.formats.document import Document


def document(number: int, text: str, *, stars: int = 0, commit_time: int = 0) -> Document:
    """A document whose id sorts as its number."""
    return Document(
        id=f"{number:032x}",
        text=text,
        repo=f"repo{number}",
        path=f"src/{number}.py",
        stars=stars,
        commit_time=commit_time,
        content_sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def run(
    elements: Iterable[Any], transform: beam.PTransform, options: Iterable[str] = ()
) -> dict[str, list[Any]]:
    """Output name to elements; a single output is called `all`. The order is the runner's."""
    with tempfile.TemporaryDirectory() as folder:
        with pipeline([*options]) as p:
            result = p | beam.Create(list(elements)) | transform
            outputs = result._asdict() if hasattr(result, "_asdict") else {"all": result}
            outputs = {k: v for k, v in outputs.items() if isinstance(v, beam.PCollection)}
            for name, pcollection in outputs.items():
                _ = pcollection | f"Write {name}" >> beam.Map(_append(folder, name))
        return {name: _read(Path(folder) / name) for name in outputs}


def run_source(source: Source, max_file_bytes: int, options: Iterable[str] = ()) -> list[RawFile]:
    """Everything that a source hands over, in the runner's order."""
    with tempfile.TemporaryDirectory() as folder:
        with pipeline([*options]) as p:
            _ = source.read(p, max_file_bytes) | "Write all" >> beam.Map(_append(folder, "all"))
        return _read(Path(folder) / "all")


def _append(folder: str, name: str) -> Callable[[Any], None]:
    """One write call an element, so that threads and processes of a runner can share a file."""

    def append(element: Any) -> None:
        with open(f"{folder}/{name}", "ab", buffering=0) as file:
            file.write(pickle.dumps(element))

    return append


def _read(path: Path) -> list[Any]:
    elements = []
    if path.exists():
        with path.open("rb") as file:
            while file.peek(1):
                elements.append(pickle.load(file))
    return elements
