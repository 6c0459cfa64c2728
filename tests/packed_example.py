"""A small corpus of real files, a tokenizer trained on it and its packed set, made once."""

import atexit
import functools
import hashlib
import shutil
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from beam_pipelines.pack import pack_set
from opencoder_jax.formats.conversation import Conversation, encode_conversation
from opencoder_jax.formats.document import Document, document_id, encode_document
from opencoder_jax.formats.manifest import write_manifest
from opencoder_jax.formats.sentencepiece_tokenizer import SentencePieceTokenizer
from opencoder_jax.formats.shards import shard_name, write_shard
from opencoder_jax.train_tokenizer import train_tokenizer

SEQUENCE_LENGTH = 128
STDLIB_FOLDERS = ("json", "logging", "html", "wsgiref", "collections", "tomllib", "dbm")
AWKWARD_TEXTS = {
    "empty.py": "",
    "newline.py": "\n",
    "tabs.c": "\t\tif (x) {\n\t\t\treturn;\n\t\t}\n",
    "crlf.py": "a = 1\r\nb = 2\r\n",
    "nul.py": "x = '\0'\n",
    "space_mark.py": "mark = '▁'  # ▁▁ and ▅ and ⁇\n",
    "control.py": "end = '<|im_end|></s><0x0A>'\n",
    "unicode.py": "# é 漢字 😀 \u2028 \ufeff \u00a0\n",
    "long_line.js": "var x=[" + ",".join(str(i) for i in range(4000)) + "]",
}


def document(repo: str, path: str, text: str, cluster: str = "") -> Document:
    identity = document_id("test", repo, path)
    return Document(
        id=identity,
        text=text,
        repo=repo,
        path=path,
        language="python" if path.endswith(".py") else "c",
        doc_type="code",
        duplicate_cluster=cluster or identity,
    )


@functools.cache
def documents() -> tuple[Document, ...]:
    """Files of the standard library, each folder a repository, and some awkward ones."""
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    real = [
        document(f"stdlib/{folder}", path.name, path.read_text("utf-8"))
        for folder in STDLIB_FOLDERS
        for path in sorted((stdlib / folder).glob("*.py"))
    ]
    awkward = [document("awkward", path, text) for path, text in AWKWARD_TEXTS.items()]
    return (*real, *awkward)


def write_corpus(folder: Path, corpus: Sequence[Document], num_shards: int = 2) -> Path:
    """A finished corpus folder; its manifest does not depend on order or number of shards."""
    _write_set(folder, "documents", [encode_document(d) for d in corpus], num_shards)
    return folder


def write_conversations(folder: Path, conversations: Iterable[Conversation]) -> Path:
    _write_set(folder, "conversations", [encode_conversation(c) for c in conversations], 1)
    return folder


def _write_set(folder: Path, name: str, records: list[bytes], num_shards: int) -> None:
    folder.mkdir(parents=True)
    for index in range(num_shards):
        write_shard(folder / shard_name(name, index, num_shards), records[index::num_shards])
    content = hashlib.sha256(b"".join(sorted(records))).hexdigest()
    write_manifest(folder, job="test", config={}, inputs={}, counts={}, files={"all": content})


@functools.cache
def root() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="packed-example-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def corpus_dir() -> Path:
    return write_corpus(root() / "corpus", documents())


@functools.cache
def tokenizer_dir() -> Path:
    folder = root() / "tokenizer"
    train_tokenizer(
        input_dir=str(corpus_dir()),
        output_dir=str(folder),
        vocab_size=700,
        sample_bytes=300_000,
        character_coverage=0.9995,
    )
    return folder


@functools.cache
def tokenizer() -> SentencePieceTokenizer:
    return SentencePieceTokenizer(tokenizer_dir())


def pack_example(input_dir: Path, output_dir: Path, **changes: object) -> dict:
    """The manifest of `input_dir` packed with the example's settings, or some changed."""
    settings: dict = {
        "tokenizer_dir": str(tokenizer_dir()),
        "sequence_length": SEQUENCE_LENGTH,
        "num_shards": 3,
        "heldout_fraction": 0.3,
        **changes,
    }
    return pack_set(str(input_dir), output_dir=str(output_dir), **settings)


@functools.cache
def packed_dir() -> Path:
    """Packed sets: `refinecode`, and `algorithmic_corpus` of every fifth document."""
    pack_example(corpus_dir(), root() / "packed" / "refinecode")
    fifth = write_corpus(root() / "fifth", documents()[::5])
    pack_example(fifth, root() / "packed" / "algorithmic_corpus")
    return root() / "packed"
