"""Where a benchmark's data are: a path, a data folder, or the Hugging Face hub.

Benchmarks are read in their published layouts: JSONL (also gzipped), one JSON array, or
parquet. Only what a benchmark's gin file names is looked for, and where it is missing the
error says which file to put where. Data that were read are part of a result's identity, by
the SHA-256 of their problems.
"""

import dataclasses
import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opencoder_jax.errors import InputError

# Keys of the published layouts whose values are not text.
_LISTS = {"test_list", "base_input", "plus_input", "stop_tokens"}
_NUMBERED = {"task_id", "question_id"}
_ANYTHING = {"contest_date", "difficulty", "metadata"}


class MissingDataError(InputError):
    """A benchmark's files are nowhere."""


@dataclasses.dataclass(frozen=True, slots=True)
class DataFolder:
    """Where data files lie.

    Attributes:
      folder: that holds them; None: nowhere.
      hub: whether to look on the Hugging Face hub for what is not there.
    """

    folder: str | None = None
    hub: bool = True

    def find(self, path: str | None, names: Sequence[str], hub: str, page: str) -> Path:
        """A benchmark's file or folder.

        Args:
          path: where the user says it is; None: it is looked for.
          names: what it is called in the data folder, where JSONL may be gzipped; the first one
            there is taken.
          hub: `owner/dataset:file` on the Hugging Face hub; empty: not there as such a file.
          page: where people find it.

        Raises:
          MissingDataError: it is nowhere; says where it can be had.
          InputError: there is no such folder, or no such path.
        """
        if path is not None:
            if not Path(path).exists():
                raise InputError(f"{path}: no such file; expected {names[0]} of {page}")
            return Path(path)
        if self.folder is not None:
            packed = [f"{name}.gz" for name in names if name.endswith(".jsonl")]
            there = self.first_of((*names, *packed))
            if there is not None:
                return there
        copy, reason = _of_hub(hub) if hub and self.hub else (None, "")
        if copy is not None:
            return copy
        where = f"not in {self.folder}" if self.folder else "no --data_dir was given"
        where += f"; {reason}" if reason else ""
        raise MissingDataError(
            f"{' or '.join(names)} is missing ({where}): get it from {page} and say {self.said_by}"
        )

    @property
    def said_by(self) -> str:
        """How people say where their folder is."""
        return "--data_dir=FOLDER"

    def first_of(self, names: Sequence[str]) -> Path | None:
        """The first of these files that the folder has.

        Raises:
          InputError: there is no such folder.
        """
        folder = Path(self.folder or "")
        if not folder.is_dir():
            raise InputError(f"data folder {self.folder}: no such folder")
        return next((folder / name for name in names if (folder / name).exists()), None)


def read_records(path: Path, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Records of a JSONL, JSON or parquet file.

    Args:
      path: `.jsonl`, `.jsonl.gz`, `.json`, `.json.gz` or `.parquet`.
      keys: that each must have; the first tells it from all others of the file.

    Raises:
      InputError: no records, or one that is not in the published layout, or two with the same
        first key; names the line, or the record's number where there are no lines.
    """
    read = _read_parquet if path.suffix == ".parquet" else _read_json
    records = read(path)
    places: dict[Any, str] = {}
    for place, record in records:
        missing = [key for key in keys if key not in record]
        if missing:
            raise InputError(
                f"{path}, {place} has no {', '.join(missing)}: it is not the published "
                f"layout (its keys: {', '.join(list(record)[:12])})"
            )
        for key in keys:
            if not _is_of_its_kind(record, key):
                shown = json.dumps(record[key], default=str)[:40]
                raise InputError(
                    f"{path}, {place}: {key} is {shown}, expected "
                    f"{'a list' if key in _LISTS else 'text'}"
                )
        before = places.setdefault(record[keys[0]], place)
        if before != place:
            raise InputError(f"{path}: {before} and {place} have the same {keys[0]}")
    if not records:
        raise InputError(f"{path} is empty")
    return [record for _, record in records]


def _is_of_its_kind(record: dict[str, Any], key: str) -> bool:
    """Whether a value has the type that the published layouts have under its key."""
    if key in _LISTS:
        return isinstance(record[key], list)
    if key in _NUMBERED:
        return isinstance(record[key], str | int)
    return key in _ANYTHING or isinstance(record[key], str)


def _read_json(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(place, record) of each."""
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read as JSON lines: {error}") from error
    if text.lstrip().startswith("["):
        records = [(f"record {n}", r) for n, r in enumerate(_parsed(path, "", text), start=1)]
    else:
        # By line feeds alone: texts hold other separators.
        records = [
            (f"line {number}", _parsed(path, f", line {number},", line))
            for number, line in enumerate(text.split("\n"), start=1)
            if line.strip()
        ]
    for place, record in records:
        if not isinstance(record, dict):
            raise InputError(f"{path}, {place}: expected one JSON object a line")
    return records


def _parsed(path: Path, place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}{place} cannot be read as JSON: {error}") from error


def _read_parquet(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(place, record) of each."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(f"{path} is parquet, which needs pyarrow: pip install pyarrow") from error
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no parquet file: {error}") from error
    return [(f"record {number}", row) for number, row in enumerate(rows, start=1)]


def _of_hub(hub: str) -> tuple[Path | None, str]:
    """A file of the hub in its cache; or None and why it cannot be had."""
    repository, _, file = hub.partition(":")
    try:
        import huggingface_hub
    except ImportError:
        return None, "huggingface_hub, which could fetch it, is not installed"
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file, repo_type="dataset")), ""
    except Exception as error:  # its errors share no class
        return None, f"{repository} could not be fetched: {str(error).splitlines()[0]}"
