"""Samples of a corpus of code, as the folder of files that the cleaning job reads.

The corpus is a folder of `code_*.jsonl(.zst)`: one JSON object a line, with `repo_name`,
`version`, `path` and `content`. A hash of repository and path decides what is in a sample, and a
smaller sample is part of a larger one, so that sizes differ and the kind of file does not.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow

from opencoder_jax.errors import InputError
from opencoder_jax.formats.split import hash_fraction
from opencoder_jax.progress import track


class Sample(NamedTuple):
    """What was written: documents and bytes."""

    documents: int
    size: int

    @property
    def megabytes(self) -> float:
        return self.size / 1e6


def corpus_megabytes(corpus: Path) -> float:
    """The size of all contents.

    Raises:
      InputError: `corpus` has no such files.
    """
    return sum(len(row["content"].encode("utf-8", "replace")) for row in rows(corpus)) / 1e6


def write_sample(corpus: Path, folder: Path, share: float) -> Sample:
    """Writes the files whose hash is below `share`, each repository a sub-folder.

    Raises:
      InputError: `corpus` has no such files.
    """
    documents = size = 0
    with track("write the sample", None, "files") as advance:
        for row in rows(corpus):
            if hash_fraction("benchmark", row["repo_name"], row["path"]) >= share:
                continue
            repo = f"{row['repo_name']}@{row['version']}".replace("/", "_")
            target = folder / repo / row["path"].lstrip("/")
            content = row["content"].encode("utf-8", "replace")
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                continue  # two paths of the corpus that no one folder can hold
            documents += 1
            size += len(content)
            advance()
    return Sample(documents, size)


def rows(corpus: Path) -> Iterator[dict]:
    """Every record of the corpus, one file after the other.

    Raises:
      InputError: `corpus` has no such files.
    """
    files = sorted([*corpus.glob("code_*.jsonl"), *corpus.glob("code_*.jsonl.zst")])
    if not files:
        raise InputError(f"{corpus} has neither code_*.jsonl nor code_*.jsonl.zst")
    for file in files:
        packed = "zstd" if file.suffix == ".zst" else None
        with pyarrow.input_stream(str(file), compression=packed) as stream:
            yield from map(json.loads, io.BufferedReader(stream))
