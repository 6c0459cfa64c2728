"""Makes a set with a scripted teacher, and reads what it left."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from beam_pipelines.accounting import Drop, decode_drop
from beam_pipelines.synthesis.seeds import SeedSettings
from beam_pipelines.synthesis.taught.taught_set import TaughtSet
from beam_pipelines.synthesize import synthesize
from beam_pipelines.teacher.prompt import Sampling
from opencoder_jax.formats.conversation import (
    Conversation,
    decode_conversation,
    encode_conversation,
)
from opencoder_jax.formats.document import Document, decode_document
from opencoder_jax.formats.manifest import read_manifest, write_manifest
from opencoder_jax.formats.shards import read_records, shard_name, write_shard

SAMPLING = Sampling(temperature=1.0, max_tokens=512)


def seeds(**changes: Any) -> SeedSettings:
    settings: dict[str, Any] = {"languages": ["python"], "min_lines": 1, "max_lines": 40}
    return SeedSettings(**(settings | {"max_characters": 2000} | changes))


def make(what: TaughtSet, folder: Path) -> Path:
    """The finished set's folder."""
    synthesize(what, output_dir=str(folder), benchmarks=["humaneval"], num_shards=1)
    return folder / what.name


def conversations(folder: Path) -> list[Conversation]:
    return [decode_conversation(record) for record in read_records(folder, "conversations")]


def documents(folder: Path) -> list[Document]:
    return [decode_document(record) for record in read_records(folder, "documents")]


def drops(folder: Path) -> list[Drop]:
    return [decode_drop(record) for record in read_records(folder / "dropped", "dropped")]


def reasons(folder: Path) -> Counter[str]:
    """Of the drops; the manifest says the same."""
    counted = Counter(drop.reason for drop in drops(folder))
    account = read_manifest(folder)["counts"]["accounting"]
    assert account["dropped"] == dict(counted)
    assert account["input"] == account["output"] + counted.total()
    return counted


def write_conversations(folder: Path, kept: list[Conversation]) -> Path:
    """A finished instruction set."""
    folder.mkdir(parents=True)
    records = [encode_conversation(conversation) for conversation in kept]
    write_shard(folder / shard_name("conversations", 0, 1), records)
    write_manifest(folder, job="import_instructions", config={}, inputs={}, counts={})
    return folder


def details(document: Document) -> dict[str, Any]:
    return json.loads(document.signals)
