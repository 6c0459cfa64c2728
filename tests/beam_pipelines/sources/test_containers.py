"""Container sources: the same files from every container, cut or whole; clear errors at launch."""

import dataclasses
import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from beam_pipelines.runner import pipeline
from beam_pipelines.sources import arrayrecord, containers, jsonl
from beam_pipelines.sources.arrayrecord import ArrayRecords
from beam_pipelines.sources.containers import Container, UnreadableError
from beam_pipelines.sources.entry import RawFile, Source
from beam_pipelines.sources.fields import Fields
from beam_pipelines.sources.folder import Folder
from beam_pipelines.sources.jsonl import JsonLines
from beam_pipelines.sources.parquet import Parquet, ParquetFormat
from beam_pipelines.sources.refinecode_metadata import RefineCodeMetadata
from beam_pipelines.sources.several import Several
from beam_pipelines.sources.stack_v2 import StackV2
from beam_pipelines.sources.tarball import Tar
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document, encode_document
from opencoder_jax.formats.example import encode_example
from opencoder_jax.formats.shards import write_shard
from tests.beam_pipelines.sources.reading import files_of

RECORDS = [
    {
        "repo_name": f"owner/r{number % 3}",
        "path": f"src/{number}.py",
        "content": f"# ünï {number}\n" + "x = 1\n" * number,
        "license": "MIT",
        "stars": number,
        "commit_time": 1_700_000_000 + number,
    }
    for number in range(40)
]


def lines(records: list[dict[str, Any]] = RECORDS) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def contents(files: list[RawFile]) -> dict[tuple[str, str], bytes]:
    assert [file.detail for file in files if file.obstacle] == []
    assert len({file.id for file in files}) == len(files)
    return {(file.repo, file.path): file.content for file in files}


EXPECTED = {(r["repo_name"], r["path"]): r["content"].encode() for r in RECORDS}


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.jsonl", bytes),
        ("a.jsonl.gz", gzip.compress),
        ("a.jsonl.zst", zstandard.compress),
        ("a.jsonl.xz", lzma.compress),
    ],
)
def test_packed_lines_are_the_same_files_whatever_the_members(tmp_path, name, pack) -> None:
    text = lines()
    (tmp_path / name).write_bytes(pack(text[:777]) + pack(text[777:]))
    found = files_of(JsonLines(str(tmp_path)))
    assert contents(found) == EXPECTED
    assert {(f.licence, f.commit_time - f.stars) for f in found} == {("MIT", 1_700_000_000)}


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_ranges_of_bytes_give_every_line_once(tmp_path, monkeypatch, size) -> None:
    text = lines(RECORDS[:5])
    (tmp_path / "a.jsonl").write_bytes(text + b"\n\n" + text.replace(b"owner/", b"other/"))
    whole = files_of(JsonLines(str(tmp_path)))
    assert len(whole) == 10
    monkeypatch.setattr(jsonl, "_RANGE_BYTES", size)
    form = jsonl.JsonLinesFormat(Fields())
    (container,) = containers.list_containers(str(tmp_path), form.suffixes)
    cut = [file for part in form.split(container) for file in form.read(container, part, 10**6)]
    assert sorted(cut, key=lambda file: file.id) == whole


@pytest.mark.parametrize("size", [1, 3, 64, 10_000])
def test_lines_are_found_in_pieces_of_any_size(size) -> None:
    text = b"one\n\ntwo\n" + b"3" * 50 + b"\nfour"
    pieces = (text[start : start + size] for start in range(0, len(text), size))
    found = list(jsonl.split_lines(pieces, 0, longest=10))
    assert found == [
        (0, b"one", 3),
        (4, b"", 0),
        (5, b"two", 3),
        (9, None, 50),
        (60, b"four", 4),
    ]


def write_parquet(path: Path, records: list[dict[str, Any]], **options: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(records), path, **options)


def test_rows_of_parquet_are_the_same_files_whatever_the_row_groups(tmp_path) -> None:
    write_parquet(tmp_path / "a.parquet", RECORDS, row_group_size=7)
    found = files_of(Parquet(str(tmp_path)))
    assert contents(found) == EXPECTED
    assert {(f.licence, f.commit_time - f.stars) for f in found} == {("MIT", 1_700_000_000)}


@pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())])
def test_of_a_content_that_is_too_large_in_any_encoding_only_the_length_is_taken(
    tmp_path, kind
) -> None:
    texts = ["x" * 5_000_000, "y" * 300_000, "z" * 1000, None]
    names = [f"{number}.py" for number in range(len(texts))]
    content = pa.array([text and text.encode() for text in texts]).cast(pa.string()).cast(kind)
    pq.write_table(pa.table({"content": content, "path": names}), tmp_path / "a.parquet")
    container = Container(str(tmp_path / "a.parquet"), "a.parquet", 0)
    form = ParquetFormat(Fields())
    tracemalloc.start()
    files = list(form.read(container, containers.Range(0, 1), 100_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [(file.size, len(file.content)) for file in files] == [
        (5_000_000, 0),
        (300_000, 0),
        (1000, 1000),
        (0, 0),
    ]
    assert files[-1].obstacle == "bad_record"
    assert peak < 1_000_000


def test_members_of_archives_are_files_of_the_archive_or_of_its_first_folders(tmp_path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for record in RECORDS:
            member = tarfile.TarInfo(f"./{record['repo_name']}/{record['path']}")
            content = record["content"].encode()
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (tmp_path / "all.tar.zst").write_bytes(zstandard.compress(packed.getvalue()))
    whole = contents(files_of(Tar(str(tmp_path))))
    assert whole == {("all", f"{repo}/{path}"): text for (repo, path), text in EXPECTED.items()}
    first = contents(files_of(Tar(str(tmp_path), "first_folder")))
    assert first == {
        ("owner", f"{repo.partition('/')[2]}/{path}"): text
        for (repo, path), text in EXPECTED.items()
    }


def test_a_corpus_of_ours_comes_in_as_it_went_out(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(arrayrecord, "_RANGE_RECORDS", 9)
    documents = [
        Document(
            id=f"{number:032x}",
            text=record["content"],
            repo=record["repo_name"],
            path=record["path"],
            licence="MIT",
            stars=number,
            provenance="elsewhere",
            language="python",
        )
        for number, record in enumerate(RECORDS)
    ]
    write_shard(tmp_path / "documents-00000-of-00001.arrayrecord", map(encode_document, documents))
    found = files_of(ArrayRecords(f"{tmp_path}/documents-*"))
    assert contents(found) == EXPECTED
    assert [(f.id, f.stars, f.licence, f.provenance) for f in found] == [
        (d.id, d.stars, "MIT", "elsewhere") for d in documents
    ]


def test_examples_with_named_features_are_files(tmp_path) -> None:
    renamed = [{"body" if k == "content" else k: v for k, v in r.items()} for r in RECORDS]
    write_shard(tmp_path / "a.arrayrecord", map(encode_example, renamed))
    found = files_of(ArrayRecords(str(tmp_path), Fields(content=("body",))))
    assert contents(found) == EXPECTED
    assert {f.commit_time - f.stars for f in found} == {1_700_000_000}


def stack_rows() -> list[dict[str, Any]]:
    return [
        {
            "blob_id": hashlib.sha1(record["content"].encode("utf-16")).hexdigest(),
            "directory_id": "d",
            "path": "/" + record["path"],
            "repo_name": record["repo_name"],
            "detected_licenses": ["MIT", "Apache-2.0"],
            "license_type": "permissive",
            "committer_date": None,
            "revision_date": 1_700_000_000,
            "star_events_count": None,
            "src_encoding": "UTF-16",
            "language": "Python",
            "length_bytes": 1,
        }
        for record in RECORDS
    ]


def test_rows_of_the_stack_meet_blobs_in_their_own_encoding(tmp_path) -> None:
    write_parquet(tmp_path / "stack.parquet", stack_rows(), row_group_size=11)
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    texts = [record["content"].encode("utf-16") for record in RECORDS]
    for number, (row, text) in enumerate(zip(stack_rows(), texts, strict=True)):
        (blobs / row["blob_id"]).write_bytes(gzip.compress(text) if number % 2 else text)
    found = files_of(StackV2(str(tmp_path / "stack.parquet"), blobs=str(blobs)))
    assert contents(found) == EXPECTED
    assert {(f.licence, f.commit_time, f.stars) for f in found} == {
        ("MIT AND Apache-2.0", 1_700_000_000, 0)
    }
    first, second, third = (blobs / row["blob_id"] for row in stack_rows()[:3])
    first.unlink()
    second.write_bytes(b"another")
    third.write_bytes(gzip.compress(b"another"))
    found = files_of(StackV2(str(tmp_path / "stack.parquet"), blobs=str(blobs)))
    obstacles = {file.path: file.obstacle for file in found if file.obstacle}
    assert obstacles == {
        "src/0.py": "no_content",
        "src/1.py": "damaged_source",
        "src/2.py": "damaged_source",
    }
    assert len(found) == len(RECORDS)


@pytest.mark.parametrize("kind", ["folder", "parquet", "jsonl"])
def test_rows_of_the_stack_meet_contents_of_any_source(tmp_path, kind) -> None:
    rows = stack_rows()
    write_parquet(tmp_path / "stack.parquet", [*rows, rows[5] | {"path": "/copy.py"}])
    by_blob = [
        {"blob_id": row["blob_id"], "content": record["content"]}
        for row, record in zip(rows[1:], RECORDS[1:], strict=True)
    ]
    given = tmp_path / "given"
    given.mkdir()
    fields = Fields(path=("blob_id",))
    source: Source
    if kind == "folder":
        for row, record in zip(rows[1:], RECORDS[1:], strict=True):
            (given / row["blob_id"]).write_bytes(record["content"].encode("utf-16"))
        (given / ("0" * 40)).write_text("x = 2\n")
        source = Folder(str(given))
    elif kind == "parquet":
        write_parquet(given / "a.parquet", [*by_blob, {"blob_id": "0" * 40, "content": "x"}])
        # Text, not the blob: the encoding that the row declares is not its own.
        source = Parquet(str(given), fields)
    else:
        (given / "a.jsonl").write_bytes(lines([*by_blob, {"blob_id": "0" * 40, "content": "x"}]))
        source = JsonLines(str(given), fields)
    found = files_of(StackV2(str(tmp_path / "stack.parquet"), contents=source))
    obstacles = sorted((f.obstacle, f.path) for f in found if f.obstacle)
    assert obstacles == [("no_content", "src/0.py"), ("not_in_metadata", "0" * 40)]
    expected = {name: text for name, text in EXPECTED.items() if name[1] != "src/0.py"}
    sound = [file for file in found if not file.obstacle]
    assert contents(sound) == expected | {
        (rows[5]["repo_name"], "copy.py"): list(EXPECTED.values())[5]
    }


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_metadata_of_refinecode_meets_files_by_repository_and_path(tmp_path, kind) -> None:
    (tmp_path / "content.jsonl").write_bytes(lines([*RECORDS, RECORDS[7] | {"content": "x = 2\n"}]))
    rows = [
        {"repo_name": r["repo_name"], "path": "/" * (n % 2) + r["path"], "program_lang": "python"}
        for n, r in enumerate(RECORDS[2:])
    ]
    rows.append({"repo_name": "owner/r0", "path": "gone.py", "program_lang": "python"})
    metadata = tmp_path / f"meta.{kind}"
    if kind == "parquet":
        write_parquet(metadata, rows)
    else:
        metadata.write_bytes(lines(rows))
    source = RefineCodeMetadata(str(metadata), JsonLines(str(tmp_path / "content.jsonl")))
    found = files_of(source)
    assert sorted((f.obstacle, f.path) for f in found if f.obstacle) == [
        ("duplicate_id", "src/7.py"),
        ("no_content", "gone.py"),
        ("not_in_metadata", "src/0.py"),
        ("not_in_metadata", "src/1.py"),
    ]
    sound = [file for file in found if not file.obstacle]
    assert contents(sound).keys() == {
        name for name in EXPECTED if name[1] not in ("src/0.py", "src/1.py")
    }
    assert {(f.provenance, f.language) for f in sound} == {("refinecode", "python")}
    assert {f.licence for f in sound} == {"MIT"}


def test_metadata_as_it_was_released_meets_a_stack_v2(tmp_path) -> None:
    rows = [
        {
            "repo_name": record["repo_name"],
            "sub_path": record["path"].removesuffix(".py"),
            "file_name": record["path"].rpartition("/")[2],
            "file_ext": "py",
            "file_size_in_byte": len(record["content"]),
            "line_count": record["content"].count("\n"),
            "lang": "en",
            "program_lang": "python",
            "doc_type": "code",
        }
        for record in RECORDS
    ]
    write_parquet(tmp_path / "The_Stack_V2-00000-of-00094.parquet", rows)
    stack = [
        {"repo_name": r["repo_name"], "path": f"/{r['path'].removesuffix('.py')}"}
        | {"content": r["content"]}
        for r in RECORDS
    ]
    write_parquet(tmp_path / "content" / "stack.parquet", stack)
    files = f"{tmp_path}/The_Stack_V2-*.parquet"
    found = files_of(RefineCodeMetadata(files, StackV2(f"{tmp_path}/content/")))
    assert contents(found) == {
        (repo, path.removesuffix(".py")): text for (repo, path), text in EXPECTED.items()
    }
    # Of files without an extension only the metadata knows.
    assert {file.language for file in found} == {"python"}


def test_several_sources_are_one(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(RECORDS[:20]))
    write_parquet(tmp_path / "b.parquet", RECORDS[20:])
    both = Several([JsonLines(str(tmp_path)), Parquet(str(tmp_path))])
    assert contents(files_of(both)) == EXPECTED
    assert both.fingerprint().count("-") == 1


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda root: JsonLines(f"{root}/*.nothing"), "nothing matches"),
        (lambda root: JsonLines([]), "no input files"),
        (lambda root: JsonLines(f"{root}/a.jsonl", Fields(content=("body",))), r"content \(body\)"),
        (lambda root: Parquet(f"{root}/b.parquet", Fields(path=("name",))), "its columns are"),
        (lambda root: ArrayRecords(f"{root}/c.arrayrecord"), "expected Document records"),
        (lambda root: StackV2(f"{root}/b.parquet", blobs=f"{root}"), r"blob \(blob_id\)"),
        (lambda root: StackV2("x", blobs="y", contents=JsonLines("z")), "not in both"),
        (lambda root: JsonLines(["gs://b/a.jsonl", f"{root}/a.jsonl"]), "local and remote"),
    ],
)
def test_what_cannot_work_is_said_at_launch(tmp_path, make, complaint) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines())
    write_parquet(tmp_path / "b.parquet", RECORDS)
    write_shard(tmp_path / "c.arrayrecord", map(encode_example, RECORDS))
    with pytest.raises(InputError, match=complaint):
        make(tmp_path).read(pipeline(), 10**6)


def test_the_fingerprint_is_of_names_and_contents_not_of_the_place(tmp_path) -> None:
    for name in ("here", "there"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "a.jsonl").write_bytes(lines())
    here, there = (JsonLines(str(tmp_path / name)) for name in ("here", "there"))
    assert here.fingerprint() == there.fingerprint()
    assert [f.id for f in files_of(here)] == [f.id for f in files_of(there)]
    path = tmp_path / "there" / "deep" / "a.jsonl"
    path.write_bytes(path.read_bytes().replace(b"x = 1", b"y = 1"))
    assert here.fingerprint() != there.fingerprint()


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (JsonLines("/data/a.jsonl"), {"type": "JsonLines", "fields": dataclasses.asdict(Fields())}),
        (Parquet(["gs://b/c"]), {"type": "Parquet", "fields": dataclasses.asdict(Fields())}),
        (ArrayRecords("/data/a"), {"type": "ArrayRecords", "fields": None}),
        (Tar("/data", "first_folder"), {"type": "Tar", "repository": "first_folder"}),
    ],
)
def test_settings_say_how_containers_are_read_and_not_where_they_are(source, options) -> None:
    assert source.settings() == options


def test_a_container_that_is_gone_when_it_is_read_is_accounted_for(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(RECORDS[:3]))
    (tmp_path / "b.jsonl").write_bytes(lines(RECORDS[3:]))
    found = files_of(Vanishing(JsonLines(str(tmp_path)), tmp_path / "b.jsonl"))
    assert [(f.obstacle, f.repo) for f in found if f.obstacle] == [("unreadable", "b.jsonl")]
    assert len(found) == 4


class Vanishing:
    """A source of which a file goes away between the list and the reading."""

    def __init__(self, source: Source, path: Path) -> None:
        self._source = source
        self._path = path

    def read(self, pipeline: Any, max_file_bytes: int) -> Any:
        files = self._source.read(pipeline, max_file_bytes)
        self._path.unlink()
        return files


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_container_that_may_not_be_read_is_told_from_a_damaged_one(tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines())
    path.chmod(0)
    os.seteuid(65534)
    try:
        with pytest.raises(UnreadableError, match="Permission denied") as error:
            containers.open_container(Container(str(path), "a.jsonl", 1))
    finally:
        os.seteuid(0)
    assert error.value.reason == "unreadable"
