"""Containers as they come: sound ones of real files, damaged and odd ones of all kinds beside them.

`make_containers` returns what becomes of each thing in them, by repository and path. The
sound files are modules of Python's library; a healthy file's fate is `HEALTHY`.
"""

import gzip
import io
import json
import lzma
import os
import random
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from opencoder_jax.formats.example import encode_example
from opencoder_jax.formats.shards import write_shard

HEALTHY = "healthy"
# A document that the rules may keep or drop: it has to come through all stages.
JUDGED = "judged"
MAX_FILE_BYTES = 300_000
_EXAMPLES = ("argparse.py", "ast.py", "bdb.py", "cmd.py", "code.py", "copy.py", "csv.py")
Fates = dict[tuple[str, str], str]


class Containers:
    """A folder of containers in the making."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fates: Fates = {}
        self.texts: dict[str, str] = {}
        self._library = _library()
        root.mkdir(parents=True)

    def records(self, repo: str, number: int) -> list[dict[str, Any]]:
        """So many real files, each used once, as records of a healthy repository."""
        records = []
        for _ in range(number):
            path, content = next(self._library)
            self.fates[repo, path] = HEALTHY
            self.texts[path] = content
            records.append({"repo_name": repo, "path": path, "content": content})
        return records

    def expect(self, repo: str, path: str, reason: str) -> None:
        self.fates[repo, path] = reason

    def write(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)


def make_containers(root: Path) -> Containers:
    """Fills `root` with `.jsonl*`, `.parquet`, `.tar*` and `.arrayrecord` files."""
    made = Containers(root)
    _cut(made)
    _flipped(made)
    _not_what_they_are_called(made)
    _bombs(made)
    _records(made)
    _columns(made)
    _members(made)
    return made


def _cut(made: Containers) -> None:
    """Streams and files that end too early; what stands before is read."""
    lines = _lines(made.records("cut.zst", 2))
    packed = zstandard.compress(lines) + zstandard.compress(_lines(_some(2)))[:20]
    made.write("cut.jsonl.zst", packed)
    made.expect("cut.jsonl.zst", f"after byte {len(lines)} of its content", "damaged_source")
    lines = _lines(made.records("cut.gz", 2))
    packed = gzip.compress(lines) + gzip.compress(_lines(_some(2)))[:12]
    made.write("cut.jsonl.gz", packed)
    made.expect("cut.jsonl.gz", f"after byte {len(lines)} of its content", "damaged_source")
    made.write("cut.parquet", _parquet(_some(3))[:-50])
    made.expect("cut.parquet", "all rows", "damaged_source")
    write_shard(made.root / "cut.arrayrecord", [_example(record) for record in _some(3)])
    content = (made.root / "cut.arrayrecord").read_bytes()
    made.write("cut.arrayrecord", content[: len(content) // 2])
    made.expect("cut.arrayrecord", "all records", "damaged_source")
    records = made.records("cut", 2)
    tar = _tar([(record["path"], record["content"].encode()) for record in records])
    more = _tar([("never.py", b"x = 1\n" * 1000)])
    made.write("cut.tar", _padded(tar) + more[:1500])
    made.expect("cut.tar", "in member 'never.py'", "damaged_source")


def _flipped(made: Containers) -> None:
    """One wrong bit, found by a checksum, costs what it is in."""
    records = made.records("flipped.parquet", 2)
    bad = _parquet([*records, *_some(2)], row_group_size=2)
    place = bad.rindex(b"class ", 0, len(bad) - 5000)
    made.write("flipped.parquet", _flip(bad, place))
    made.expect("flipped.parquet", "row group 1 from row 0", "damaged_source")

    records = made.records("flipped.arrayrecord", 3)
    encoded = [_example(record) for record in records]
    noise = random.Random(0).randbytes(100_000).hex()
    noise = _example({"repo_name": "noise", "path": "a.py", "content": noise})
    write_shard(made.root / "flipped.arrayrecord", [*encoded[:2], noise, encoded[2]])
    content = bytearray((made.root / "flipped.arrayrecord").read_bytes())
    # In the noise, and away from the headers that stand every 64 KB.
    content[70_000:72_000] = bytes(2000)
    made.write("flipped.arrayrecord", bytes(content))
    made.expect("flipped.arrayrecord", "record 2", "damaged_source")

    packer = zstandard.ZstdCompressor(write_checksum=True)
    lines = _lines(made.records("flipped.zst", 2))
    bad = packer.compress(_lines([{"repo_name": "never", "path": "a.md", "content": "a" * 9}]))
    made.write("flipped.jsonl.zst", zstandard.compress(lines) + _flip(bad, len(bad) - 2))
    end = len(lines)
    made.expect("flipped.jsonl.zst", f"after byte {end} of its content", "damaged_source")

    tar = _padded(_tar([(r["path"], r["content"].encode()) for r in made.records("flipped", 2)]))
    made.write("flipped.tar", tar + _flip(_tar([("never.py", b"x\n")]), 150))
    made.expect("flipped.tar", f"from byte {len(tar)}", "damaged_source")


def _not_what_they_are_called(made: Containers) -> None:
    lines = _lines(_some(2))
    for name, content, position in (
        ("text.jsonl.zst", lines, "after byte 0 of its content"),
        ("text.jsonl.gz", lines, "after byte 0 of its content"),
        ("zst.jsonl", zstandard.compress(lines), "from byte 0"),
        ("parquet.jsonl", _parquet(_some(2)), "from byte 0"),
        ("utf16.jsonl", lines.decode().encode("utf-16"), "from byte 0"),
        ("zeros.jsonl", bytes(5000), "from byte 0"),
        ("zeros.jsonl.gz", bytes(5000), "after byte 0 of its content"),
        ("empty.jsonl.zst", b"", "after byte 0 of its content"),
        ("text.parquet", lines, "all rows"),
        ("empty.parquet", b"", "all rows"),
        ("text.tar", lines, "from byte 0"),
        ("empty.tar", b"", "from byte 0"),
        ("text.arrayrecord", lines, "all records"),
        ("empty.arrayrecord", b"", "all records"),
    ):
        made.write(name, content)
        made.expect(name, position, "damaged_source")
    made.write("empty.jsonl", b"")
    pq.write_table(pa.table({"path": ["a.py"], "body": ["x"]}), made.root / "schema.parquet")
    made.expect("schema.parquet", "all rows", "damaged_source")
    os.mkfifo(made.root / "pipe.jsonl")
    made.expect("pipe.jsonl", "start", "not_a_file")
    (made.root / "device.jsonl").symlink_to("/dev/zero")
    made.expect("device.jsonl", "start", "not_a_file")
    (made.root / "dangling.jsonl").symlink_to("nowhere")
    made.expect("dangling.jsonl", "start", "unreadable")
    with (made.root / "sparse.jsonl").open("wb") as file:
        file.truncate(1 << 27)
    made.expect("sparse.jsonl", "from byte 0", "damaged_source")
    (made.root / "folder.jsonl").mkdir()


def _bombs(made: Containers) -> None:
    """Some kilobytes that unpack to far more than may be held."""
    packer = zstandard.ZstdCompressor().compressobj()
    packed = b"".join(packer.compress(b"a" * (1 << 24)) for _ in range(16)) + packer.flush()
    made.write("bomb.jsonl.zst", packed)
    made.expect("bomb.jsonl.zst", "line at byte 0", "too_large")
    member = tarfile.TarInfo("zeros.py")
    member.size = 1 << 28
    packer = zstandard.ZstdCompressor().compressobj()
    blocks = [member.tobuf(tarfile.GNU_FORMAT), *[bytes(1 << 24)] * 16, bytes(1024)]
    packed = b"".join(packer.compress(block) for block in blocks) + packer.flush()
    made.write("bomb.tar.zst", packed)
    made.expect("bomb", "zeros.py", "too_large")
    member = tarfile.TarInfo("long")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    made.write("name_bomb.tar", member.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    made.expect("name_bomb.tar", "from byte 0", "damaged_source")


def _records(made: Containers) -> None:
    """Lines of one file: sound, unusual and bad ones."""
    lines: list[bytes] = [b"\xef\xbb\xbf" + json.dumps(made.records("lines", 1)[0]).encode()]
    # A second byte-order mark would be no blank: the first line is a record of its own.
    offset = len(lines[0]) + 1

    def add(line: bytes, reason: str, repo: str = "", path: str = "") -> None:
        nonlocal offset
        made.expect(repo or "lines.jsonl", path or f"line at byte {offset}", reason)
        lines.append(line)
        offset += len(line) + 1

    def add_record(path: str, reason: str, **changes: Any) -> None:
        record = {"repo_name": "odd", "path": path, "content": f"# {path}\n" + "x = 1\n" * 40}
        line = json.dumps(record | changes).encode("utf-8", "surrogatepass")
        add(line, reason, "odd", path if path and changes.get("path", path) else "")

    for line in (b"{", b"[1, 2]", b"7", b"null", b'"text"', b"{}", b"not json", b"\xff\xfe\xfd"):
        add(line, "bad_record")
    add(b'{"path": "a.py", "content": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "bad_record")
    add(b'{"path": "a.py", "stars": ' + b"9" * 5000 + b"}", "bad_record")
    add(b'{"path": "a.py", "content": "' + b"y" * (1 << 22) + b'"}', "too_large")
    for path, changes in (
        ("null.py", {"content": None}),
        ("number.py", {"content": 7}),
        ("list.py", {"content": ["a"]}),
        ("many_stars.py", {"stars": "many"}),
        ("list_stars.py", {"stars": [1]}),
        ("true_stars.py", {"stars": True}),
        ("object_licence.py", {"license": {"key": "mit"}}),
        ("yesterday.py", {"commit_time": "yesterday"}),
        ("milliseconds.py", {"commit_time": 1_700_000_000_000}),
    ):
        add_record(path, "bad_record", **changes)
    for path in (None, "", "/", 7, "p" * 5000):
        record = {"repo_name": "odd", "path": path, "content": "x = 1\n"}
        add(json.dumps(record).encode(), "bad_record")
    for path, changes in (
        ("text_stars.py", {"stars": "12"}),
        ("negative_stars.py", {"stars": -5}),
        ("huge_stars.py", {"stars": 10**40}),
        ("infinite_stars.py", {"stars": float("inf")}),
        ("null_facts.py", {"stars": None, "license": None, "commit_time": None}),
        ("licences.py", {"license": ["MIT", None, "Apache-2.0"]}),
        ("iso.py", {"commit_time": "2024-05-01T10:00:00Z"}),
        ("new\nline.py", {}),
        ("-rf.py", {}),
        ("../../etc/passwd.py", {}),
        ("ü" * 120 + ".py", {}),
    ):
        add_record(path, JUDGED, **changes)
    add_record("surrogate.py", "not_utf8", content="# \ud800\n")
    add_record("nul.py", "binary", content="x = 1\0\n")
    add_record("bom.py", "empty", content="\ufeff")
    add_record("none.py", "empty", content="")
    add_record("large.py", "too_large", content="x = 1\n" * 60_000)
    line = b'{"repo_name": "odd", "path": "\\ud800.py", "content": "' + b"x = 2\\n" * 40 + b'"}'
    add(line, JUDGED, "odd", "\\ud800.py")
    for copy in range(2):
        add_record("twice.py", "duplicate_id", content=f"# {copy}\n" + "x = 3\n" * 40)
    lines += [b"", b"   ", b"\r"]
    offset += 6
    lines.append(json.dumps(made.records("lines", 1)[0]).encode() + b"\r")
    made.write("lines.jsonl", b"\n".join(lines))
    made.write("carriage.jsonl", b'{"path": "a.py"}\r{"path": "b.py"}\r')
    made.expect("carriage.jsonl", "line at byte 0", "bad_record")
    pretty = json.dumps([{"path": "a.py", "content": "x"}], indent=1).encode()
    made.write("pretty.jsonl", pretty)
    offset = 0
    for line in pretty.split(b"\n"):
        made.expect("pretty.jsonl", f"line at byte {offset}", "bad_record")
        offset += len(line) + 1


def _columns(made: Containers) -> None:
    """Parquet whose columns are of other types, null, or in other encodings."""
    for name, kind in (
        ("large_string", pa.large_string()),
        ("binary", pa.binary()),
        ("dictionary", pa.dictionary(pa.int32(), pa.string())),
    ):
        (record,) = made.records(f"{name}.parquet", 1)
        column = pa.array([record["content"]], pa.string())
        column = column.dictionary_encode() if name == "dictionary" else column.cast(kind)
        table = pa.table({"path": [record["path"]], "content": column})
        pq.write_table(table, made.root / f"{name}.parquet")
    pq.write_table(_table([]), made.root / "no_rows.parquet")
    nothing = pa.table({"path": ["a.py", "b.py"], "content": pa.nulls(2)})
    pq.write_table(nothing, made.root / "nulls.parquet")
    for path in ("a.py", "b.py"):
        made.expect("nulls.parquet", path, "bad_record")
    text = "# 日本語 это\n" + "x = 1\n" * 40
    rows = [
        ("gbk.py", text.encode("gb18030"), "GB18030", JUDGED),
        ("jis.py", "# 日本語\n".encode("shift_jis") * 20, "Shift_JIS", JUDGED),
        ("jis7.py", "# 日本語\n".encode("iso2022_jp") * 20, "ISO-2022-JP", JUDGED),
        ("wide.py", text.encode("utf-16"), "UTF-16", JUDGED),
        ("lying.py", text.encode(), "ISO-8859-1", JUDGED),
        ("wrong.py", b"\xff\xfe\xfd" * 9, "Shift_JIS", "not_utf8"),
        ("unheard.py", b"\xff\xfe\xfd" * 9, "klingon", "not_utf8"),
        ("codec.py", b"\xff\xfe\xfd" * 9, "zip", "not_utf8"),
        ("no_encoding.py", "# café\n".encode("latin-1") * 9, None, "not_utf8"),
        ("null_content.py", None, "UTF-8", "bad_record"),
        (None, b"x = 1\n", "UTF-8", "bad_record"),
    ]
    columns = zip(*rows, strict=True)
    paths, contents, encodings, reasons = columns
    table = {"path": pa.array(paths), "content": pa.array(contents, pa.binary())}
    pq.write_table(pa.table(table | {"src_encoding": encodings}), made.root / "encodings.parquet")
    for number, (path, reason) in enumerate(zip(paths, reasons, strict=True)):
        made.expect("encodings.parquet", path or f"row group 0 row {number}", reason)


def _members(made: Containers) -> None:
    """An archive of files that are hard on readers and rules."""
    deep = 10_000
    files = {
        "latin1.py": ("# café\n".encode("latin-1") * 50, "not_utf8"),
        "utf16.py": ("x = 1\n".encode("utf-16"), "not_utf8"),
        "gbk.py": ("# 中文\n".encode("gbk") * 20, "not_utf8"),
        "jis.py": ("# 日本\n".encode("shift_jis") * 20, "not_utf8"),
        "nul.py": (b"x = 1\n" * 50 + b"\0", "binary"),
        "empty.py": (b"", "empty"),
        "mark.py": (b"\xef\xbb\xbf", "empty"),
        "carriage.py": (b"x = 1\ry = 2\r" * 40, JUDGED),
        "line.js": (b"x" * 250_000, JUDGED),
        "deep.json": (b"[" * deep + b"]" * deep, JUDGED),
        "deep.js": (b"f(" * deep + b")" * deep + b"\n", JUDGED),
        "deep_braces.js": (b"{\n" * deep + b"}\n" * deep, JUDGED),
        "deep.py": (b"x = " + b"(" * deep + b")" * deep + b"\n", JUDGED),
        "deep_blocks.py": (_blocks(90) + b"\n", JUDGED),
        "deep.html": (b"<div>\n" * deep + b"</div>\n" * deep, JUDGED),
        "deep.c": (b"int x = " + b"(" * deep + b"1" + b")" * deep + b";\n", JUDGED),
        "minus.py": (b"x = " + b"-" * deep + b"1\n", JUDGED),
        "quotes.py": (b'"' * 100_001 + b"\n", JUDGED),
        "single_quotes.js": (b"'" * 100_001 + b"\n", JUDGED),
        "backslashes.js": (b"x = '" + b"\\" * 100_001 + b"\n", JUDGED),
        "slashes.js": (b"/" * 100_001 + b"\n", JUDGED),
        "stars.c": (b"/*" * 50_001 + b"\n", JUDGED),
        "braces.java": (b"{(" * 50_000, JUDGED),
        "letters.py": (b"x = '" + b"a" * 100_000 + b"!'\n", JUDGED),
        "at.md": (b"a@" * 50_000 + b"\n", JUDGED),
        "dots.py": (b"x = '" + b"1." * 50_000 + b"'\n", JUDGED),
        "colons.py": (b"x = '" + b"a:" * 50_000 + b"'\n", JUDGED),
        "password.py": (b"password = " * 9_000 + b"\n", JUDGED),
        "copyright.py": (b"# Copyright " * 9_000 + b"\n", JUDGED),
        "spaces.py": (b"x = 1" + b" " * 100_000 + b"\n", JUDGED),
        "angles.html": (b"<" * 100_000, JUDGED),
        "comments.html": (b"<!--" * 25_000, JUDGED),
        "backticks.go": (b"`" * 100_001 + b"\n", JUDGED),
        "dollars.sh": (b"$(" * 50_000 + b"\n", JUDGED),
        "heredocs.sh": (b"<<A " * 25_000 + b"\n", JUDGED),
        "table.csv": (b"a,b\n", "excluded_language"),
        "thing.unheard": (b"hello\n", "unknown_language"),
        "x" * 252 + ".py": (b"x = 4\n" * 40, JUDGED),
        "new\nline.py": (b"x = 5\n" * 40, JUDGED),
        "-rf.py": (b"x = 6\n" * 40, JUDGED),
        "../up.py": (b"x = 7\n" * 40, JUDGED),
        "/root.py": (b"x = 8\n" * 40, JUDGED),
        os.fsdecode(b"caf\xe9.py"): (b"x = 9\n" * 40, JUDGED),
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", errors="surrogateescape") as archive:
        for path, (content, reason) in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
            shown = os.fsencode(path).decode("utf-8", "backslashreplace").removeprefix("/")
            made.expect("members", shown, reason)
        for name, kind, reason in (
            ("link.py", tarfile.SYMTYPE, "link"),
            ("hard.py", tarfile.LNKTYPE, "link"),
            ("pipe.py", tarfile.FIFOTYPE, "not_a_file"),
            ("device.py", tarfile.CHRTYPE, "not_a_file"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
            made.expect("members", name, reason)
        for record in made.records("members", 2):
            content = record["content"].encode()
            member = tarfile.TarInfo(record["path"])
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    made.write("members.tar.xz", lzma.compress(packed.getvalue(), preset=0))
    (record,) = made.records("two", 1)
    tar = _tar([(record["path"], record["content"].encode())])
    made.write("two.tar", tar + _tar([("never.py", b"x\n")]))
    made.expect("two.tar", "after the end mark", "damaged_source")


def _library() -> Iterator[tuple[str, str]]:
    """Modules of Python's library, as (path, text)."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.glob("*.py")):
        if path.name not in _EXAMPLES and 2_000 < path.stat().st_size < 60_000:
            yield path.name, path.read_text("utf-8")


def _some(number: int) -> list[dict[str, Any]]:
    """Records that no reader gets to see."""
    root = Path(sysconfig.get_path("stdlib"))
    return [
        {"repo_name": "never", "path": name, "content": (root / name).read_text("utf-8")}
        for name in _EXAMPLES[:number]
    ]


def _lines(records: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def _table(records: list[dict[str, Any]]) -> pa.Table:
    names = ("repo_name", "path", "content")
    return pa.table({name: pa.array([r[name] for r in records], pa.string()) for name in names})


def _parquet(records: list[dict[str, Any]], row_group_size: int = 2) -> bytes:
    packed = io.BytesIO()
    pq.write_table(
        _table(records),
        packed,
        row_group_size=row_group_size,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    return packed.getvalue()


def _example(record: dict[str, Any]) -> bytes:
    return encode_example(record)


def _tar(files: list[tuple[str, bytes]]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, content in files:
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _padded(tar: bytes) -> bytes:
    """An archive without its end mark: whole blocks."""
    used = len(tar.rstrip(b"\0"))
    return tar[: (used + 511) // 512 * 512]


def _flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def _blocks(depth: int) -> bytes:
    return b"".join(b" " * level + b"if x:\n" for level in range(depth)) + b" " * depth + b"pass"
