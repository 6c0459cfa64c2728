"""Whatever stands in a container, the job ends, says what became of it, and loses nothing else."""

import collections
import dataclasses
import itertools
from pathlib import Path

import pytest

from beam_pipelines import refinecode
from beam_pipelines.accounting import Drop, decode_drop
from beam_pipelines.sources.arrayrecord import ArrayRecords
from beam_pipelines.sources.entry import Source
from beam_pipelines.sources.fields import Fields
from beam_pipelines.sources.folder import Folder
from beam_pipelines.sources.jsonl import JsonLines
from beam_pipelines.sources.parquet import Parquet
from beam_pipelines.sources.several import Several
from beam_pipelines.sources.tarball import Tar
from opencoder_jax import configuration
from opencoder_jax.formats.document import Document, decode_document
from opencoder_jax.formats.manifest import read_manifest
from opencoder_jax.formats.shards import read_records
from tests.beam_pipelines.bad_containers import (
    HEALTHY,
    JUDGED,
    MAX_FILE_BYTES,
    Containers,
    make_containers,
)

BY_STAGES = {"kept", "rule", "exact_duplicate", "near_duplicate"}


@dataclasses.dataclass
class Result:
    """What a job left of its input."""

    documents: list[Document]
    drops: list[Drop]
    counts: dict


def clean(source: Source, output: Path) -> Result:
    configured = configuration.configure(
        refinecode.refinecode,
        gin_files=["refinecode/paper.gin"],
        bindings=["SOURCE_DIR = 'unused'", f"OUTPUT_DIR = '{output}'", "NUM_SHARDS = 2"],
    )
    configured(source=source, max_file_bytes=MAX_FILE_BYTES)
    return Result(
        [decode_document(record) for record in read_records(output, "documents")],
        [decode_drop(record) for record in read_records(output / "dropped", "dropped")],
        read_manifest(output)["counts"]["documents"],
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Containers:
    return make_containers(tmp_path_factory.mktemp("bad") / "containers")


@pytest.fixture(scope="module")
def result(made: Containers, tmp_path_factory: pytest.TempPathFactory) -> Result:
    root = str(made.root)
    sources = [JsonLines(root), Parquet(root), Tar(root), ArrayRecords(root, Fields())]
    return clean(Several(sources), tmp_path_factory.mktemp("run") / "corpus")


def test_everything_bad_is_accounted_for_by_its_reason(made: Containers, result: Result) -> None:
    found = collections.defaultdict(list)
    for document in result.documents:
        found[document.repo, document.path].append("kept")
    for drop in result.drops:
        found[drop.repo, drop.path].append(drop.reason)
    assert found.keys() == made.fates.keys()
    # Of two records of one name one is a document.
    found["odd", "twice.py"].remove("duplicate_id")
    made_twice = {("odd", "twice.py"): JUDGED}
    wrong = {
        name: (fate, found[name])
        for name, fate in (made.fates | made_twice).items()
        if len(found[name]) != 1
        or found[name][0] not in (BY_STAGES if fate in (HEALTHY, JUDGED) else {fate})
    }
    assert not wrong


def test_nothing_is_lost(result: Result) -> None:
    records = list(itertools.chain(result.documents, result.drops))
    assert result.counts["input"] == len(records)
    assert result.counts["dropped"] == collections.Counter(drop.reason for drop in result.drops)


def test_every_damage_says_where_it_is_and_what_came_instead(result: Result) -> None:
    damages = [drop for drop in result.drops if drop.reason in ("damaged_source", "bad_record")]
    assert len(damages) > 50
    for drop in damages:
        container, _, rest = drop.detail.partition(": ")
        assert container.partition(".")[2], drop
        assert rest, drop
        if drop.reason == "damaged_source":
            assert "expected" in rest
            assert ", got " in rest


def test_what_stands_beside_bad_things_comes_out_as_if_it_stood_alone(
    made: Containers, result: Result, tmp_path: Path
) -> None:
    folder = tmp_path / "alone" / "library"
    folder.mkdir(parents=True)
    for path, text in made.texts.items():
        (folder / path).write_text(text)
    alone = clean(Folder(str(folder.parent)), tmp_path / "corpus")
    expected = {document.path: document.text for document in alone.documents}
    healthy = {name for name, fate in made.fates.items() if fate == HEALTHY}
    assert len(expected) > 10
    assert {
        document.path: document.text
        for document in result.documents
        if (document.repo, document.path) in healthy
    } == expected
