"""Trains the tokenizer on a cleaned corpus and proves that it loses no byte of it.

A hash of each document's id decides which documents the model is trained on, up to a
byte budget, so the sample depends neither on shard order nor on time. Training itself is
SentencePiece's BPE on one thread: the same corpus and settings give the same model to the
last byte. Then every document of the corpus, sampled or not, is encoded and decoded again,
one process a shard; a single difference is an error that names the document.

The folder (`tokenizer.model`, `manifest.json`) is what `opencoder_jax.formats.tokenizer`
reads; `beam_pipelines.pack` is the next stage.
"""

import collections
import concurrent.futures
import dataclasses
import heapq
import io
import multiprocessing
import os
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import sentencepiece

from opencoder_jax import configuration
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats import shards
from opencoder_jax.formats.document import decode_document
from opencoder_jax.formats.manifest import already_done, read_manifest, write_manifest
from opencoder_jax.formats.sentencepiece_tokenizer import (
    BOS,
    CONTROL_TOKENS,
    EOS,
    PAD,
    UNK,
    SentencePieceTokenizer,
)
from opencoder_jax.formats.split import hash_fraction
from opencoder_jax.formats.tokenizer import MODEL_NAME
from opencoder_jax.progress import track
from opencoder_jax.timing import timed

JOB = "train_tokenizer"
RESERVED_PIECES = 4 + len(CONTROL_TOKENS) + 256
_CHUNK_CHARACTERS = 4096
_VERIFIED_AT_ONCE = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Verified:
    """What one shard showed: documents, UTF-8 bytes and tokens, by language."""

    documents: dict[str, int]
    text_bytes: dict[str, int]
    tokens: dict[str, int]
    changed: tuple[str, ...]


def train_tokenizer(
    input_dir: str,
    output_dir: str,
    vocab_size: int,
    sample_bytes: int,
    character_coverage: float,
    seed: int = 0,
) -> dict[str, Any]:
    """Trains a SentencePiece BPE tokenizer on the documents of a corpus folder.

    Args:
      input_dir: folder with `documents-*` shards and a manifest.
      output_dir: gets `tokenizer.model`, `manifest.json`, `config.gin`, `timing.json`.
      vocab_size: number of ids, the reserved and the byte tokens included.
      sample_bytes: UTF-8 bytes of documents to train on; the whole corpus where it has less.
      character_coverage: share of the sample's characters that get a token of their own;
        the others are spelled in byte tokens.
      seed: of the hash that chooses the sample.

    Returns:
      The manifest.

    Raises:
      InputError: the corpus is missing, unfinished or empty, the output was made with other
        settings, the vocabulary does not fit, or a document is not kept exactly.
    """
    require_at_least(1, sample_bytes=sample_bytes)
    if not 0.98 <= character_coverage <= 1:
        raise InputError(
            f"character_coverage is {character_coverage}; SentencePiece takes 0.98 to 1"
        )
    inputs = {"corpus": read_manifest(input_dir)["fingerprint"]}
    config = {
        "vocab_size": vocab_size,
        "sample_bytes": sample_bytes,
        "character_coverage": character_coverage,
        "seed": seed,
    }
    manifest = already_done(output_dir, job=JOB, config=config, inputs=inputs)
    if manifest is not None:
        print(f"{output_dir} is finished: nothing to do", file=sys.stderr)
        return manifest
    if vocab_size <= RESERVED_PIECES:
        raise InputError(
            f"vocab_size {vocab_size}: {RESERVED_PIECES} ids are reserved (special, control and "
            "byte tokens), choose a larger one"
        )
    paths = _document_shards(input_dir)
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    with timed(output_dir):
        work = Path(output_dir) / ".incomplete"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        sample = sample_documents(paths, sample_bytes, seed)
        (work / MODEL_NAME).write_bytes(_train(sample, vocab_size, character_coverage))
        verified = verify_shards(paths, work)
        _refuse_changed(verified.changed)
        (work / MODEL_NAME).replace(Path(output_dir) / MODEL_NAME)
        work.rmdir()
    configuration.write_config_gin(output_dir)
    manifest = write_manifest(
        output_dir, job=JOB, config=config, inputs=inputs, counts=_counts(sample, verified)
    )
    _print_summary(manifest["counts"])
    return manifest


def sample_documents(paths: Iterable[Path], sample_bytes: int, seed: int) -> list[str]:
    """Texts of the documents with the smallest hashes whose bytes fit into `sample_bytes`.

    Returns:
      Texts in order of their hash: a function of the documents, not of their order. At
      least one, however large.
    """
    # A heap whose first entry has the largest hash. It goes only when those before it fill
    # the budget without it, so nothing goes that a later document could bring back; memory
    # is bounded by the sample, not by the corpus.
    kept: list[tuple[float, str, int, str]] = []
    total = 0
    with track("tokenizer: sample", None, "documents") as advance:
        for document in (decode_document(r) for path in paths for r in shards.read_shard(path)):
            size = len(document.text.encode("utf-8"))
            order = hash_fraction("tokenizer", seed, document.id)
            heapq.heappush(kept, (-order, document.id, size, document.text))
            total += size
            while total - kept[0][2] >= sample_bytes:
                total -= heapq.heappop(kept)[2]
            advance()
    if not kept:
        raise InputError("the corpus holds no document: there is nothing to train on")
    if total > sample_bytes and len(kept) > 1:
        heapq.heappop(kept)
    return [text for _, _, _, text in sorted(kept, reverse=True)]


def chunks(text: str) -> Iterator[str]:
    """`text` in pieces of some thousand characters, cut at line ends where there are any.

    SentencePiece takes a sentence at a time; whole lines with their newlines let it learn
    newlines, and a limit keeps a file that is one long line from being skipped.
    """
    start = 0
    while start < len(text):
        stop = start + _CHUNK_CHARACTERS
        line_end = text.rfind("\n", start, stop) + 1
        stop = line_end if line_end and stop < len(text) else stop
        yield text[start:stop]
        start = stop


def verify_shards(paths: Iterable[Path], tokenizer_dir: str | os.PathLike) -> Verified:
    """Encodes and decodes every document, one process a shard."""
    paths = list(paths)
    results = []
    with (
        _processes() as pool,
        track("tokenizer: verify", len(paths), "shards") as advance,
    ):
        tasks = [pool.submit(verify_shard, path, tokenizer_dir) for path in paths]
        for task in concurrent.futures.as_completed(tasks):
            results.append(task.result())
            advance()
    return Verified(
        documents=_sum(result.documents for result in results),
        text_bytes=_sum(result.text_bytes for result in results),
        tokens=_sum(result.tokens for result in results),
        changed=tuple(sorted(name for result in results for name in result.changed)),
    )


def verify_shard(path: Path, tokenizer_dir: str | os.PathLike) -> Verified:
    """What the tokenizer makes of each document of one shard."""
    tokenizer = SentencePieceTokenizer(tokenizer_dir)
    documents: collections.Counter[str] = collections.Counter()
    text_bytes: collections.Counter[str] = collections.Counter()
    tokens: collections.Counter[str] = collections.Counter()
    changed = []
    for record in shards.read_shard(path, batch=_VERIFIED_AT_ONCE):
        document = decode_document(record)
        ids = tokenizer.encode(document.text)
        documents[document.language] += 1
        text_bytes[document.language] += len(document.text.encode("utf-8"))
        tokens[document.language] += len(ids)
        if tokenizer.decode(ids) != document.text:
            changed.append(f"{document.id} ({document.repo}: {document.path})")
    return Verified(dict(documents), dict(text_bytes), dict(tokens), tuple(changed))


def _train(sample: list[str], vocab_size: int, character_coverage: float) -> bytes:
    """The model, trained in a process of its own: SentencePiece holds the interpreter's lock."""
    with (
        _processes(1) as pool,
        track("tokenizer: train", None, "seconds") as advance,
    ):
        task = pool.submit(train_model, sample, vocab_size, character_coverage)
        while True:
            try:
                return task.result(timeout=1)
            except TimeoutError:
                advance()


def train_model(sample: list[str], vocab_size: int, character_coverage: float) -> bytes:
    """A SentencePiece model of `sample`, as it stands in `tokenizer.model`.

    Raises:
      InputError: the sample does not give `vocab_size` pieces.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(chunk for text in sample for chunk in chunks(text)),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            character_coverage=character_coverage,
            byte_fallback=True,
            split_digits=True,
            # Text is kept as it is: no Unicode normalization, no white space touched.
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            allow_whitespace_only_pieces=True,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            pad_id=PAD,
            control_symbols=list(CONTROL_TOKENS),
            # In bytes; a chunk of 4096 characters has at most four times as many.
            max_sentence_length=4 * _CHUNK_CHARACTERS,
            # The number of threads stands in the model file: fixed, or bytes differ by machine.
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise InputError(
            f"SentencePiece cannot make {vocab_size} pieces of {len(sample)} documents: {error}"
        ) from error
    return model.getvalue()


def _processes(count: int | None = None) -> concurrent.futures.ProcessPoolExecutor:
    # Not forked: a progress bar's thread may hold a lock at that moment.
    return concurrent.futures.ProcessPoolExecutor(
        count, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent
    )


def _end_with_parent() -> None:
    """A worker of a killed command would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _document_shards(input_dir: str) -> list[Path]:
    try:
        return shards.list_shards(input_dir, "documents")
    except FileNotFoundError as error:
        raise InputError(f"{error}; the tokenizer is trained on a cleaned corpus") from error


def _refuse_changed(changed: tuple[str, ...]) -> None:
    if changed:
        shown = "; ".join(changed[:5])
        raise InputError(
            f"the tokenizer changes the text of {len(changed)} documents, e.g. {shown}; nothing "
            "was written. Take these documents out of the corpus, or report this"
        )


def _counts(sample: list[str], verified: Verified) -> dict[str, Any]:
    languages = {
        language: {
            "documents": verified.documents[language],
            "bytes": verified.text_bytes[language],
            "tokens": tokens,
            "bytes_per_token": round(verified.text_bytes[language] / max(tokens, 1), 4),
        }
        for language, tokens in sorted(verified.tokens.items())
    }
    total_bytes, total_tokens = sum(verified.text_bytes.values()), sum(verified.tokens.values())
    return {
        "sampled_documents": len(sample),
        "sampled_bytes": sum(len(text.encode("utf-8")) for text in sample),
        "verified_documents": sum(verified.documents.values()),
        "bytes": total_bytes,
        "tokens": total_tokens,
        "bytes_per_token": round(total_bytes / max(total_tokens, 1), 4),
        "languages": languages,
    }


def _print_summary(counts: dict[str, Any]) -> None:
    print(
        f"trained on {counts['sampled_documents']} documents ({counts['sampled_bytes']:,} bytes); "
        f"all {counts['verified_documents']} documents come back unchanged, "
        f"{counts['bytes_per_token']:.2f} bytes a token"
    )


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: collections.Counter[str] = collections.Counter()
    for part in counts:
        total.update(part)
    return dict(total)


if __name__ == "__main__":
    sys.exit(configuration.main(train_tokenizer, default_gin_files=["tokenizer/demo.gin"]))
