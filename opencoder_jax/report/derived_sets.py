"""What is made from the cleaned corpus: tokenizer, packed sequences, synthetic sets.

Figures come from each folder's manifest; only the few examples that the page shows are
read from the shards, the first ones short enough to be read, so that two reports of one
run are the same.
Next: `sections/tokens.html.j2` and `sections/synthesis.html.j2`.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

from opencoder_jax.formats.conversation import decode_conversation
from opencoder_jax.formats.document import decode_document
from opencoder_jax.formats.manifest import MANIFEST_NAME, read_manifest
from opencoder_jax.formats.shards import read_records
from opencoder_jax.report.formatting import most_first

_SHOWN_EXAMPLES = 3
_SHOWN_LANGUAGES = 16
_EXAMPLE_CHARACTERS = 4000


@dataclasses.dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """The tokenizer; `languages` is (language, bytes a token) of the largest ones."""

    vocab_size: int
    bytes_per_token: float
    languages: tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class PackedSet:
    """One packed folder."""

    name: str
    sequence_length: int
    train_sequences: int
    heldout_sequences: int
    tokens: int
    padding_share: float | None
    split_documents: int
    dropped: int


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """A record of a synthetic set; `turns` is (role or `text`, text)."""

    source: str
    note: str
    turns: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class SyntheticSet:
    """One set of annealing or instruction data."""

    title: str
    candidates: int
    kept: int
    reasons: tuple[tuple[str, int], ...]
    examples: tuple[Example, ...]


_SYNTHETIC = (
    ("annealing_data/algorithmic_corpus", "Algorithmic corpus", "documents"),
    ("annealing_data/code_snippets", "Tested functions", "documents"),
    ("taught/code_textbooks", "Textbooks, by a teacher", "documents"),
    ("sft_data/stage1", "Instructions, stage 1", "conversations"),
    ("sft_data/stage2", "Instructions, stage 2", "conversations"),
    ("taught/educational", "Educational tasks, by a teacher", "conversations"),
)


def read_tokenizer(folder: Path) -> TokenizerFacts | None:
    if not (folder / MANIFEST_NAME).exists():
        return None
    manifest = read_manifest(folder)
    counts = manifest["counts"]
    largest = sorted(counts["languages"].items(), key=lambda pair: (-pair[1]["bytes"], pair[0]))
    by_language = [(name, facts["bytes_per_token"]) for name, facts in largest[:_SHOWN_LANGUAGES]]
    return TokenizerFacts(
        vocab_size=manifest["config"]["vocab_size"],
        bytes_per_token=counts["bytes_per_token"],
        languages=tuple(sorted(by_language, key=lambda pair: -pair[1])),
    )


def read_packed_sets(run_dir: Path) -> tuple[PackedSet, ...]:
    """All finished sets of the folders `packed-<length>/`."""
    folders = sorted(path.parent for path in run_dir.glob(f"packed-*/*/{MANIFEST_NAME}"))
    return tuple(_packed_set(folder) for folder in folders)


def _packed_set(folder: Path) -> PackedSet:
    manifest = read_manifest(folder)
    counts = manifest["counts"]
    train, heldout = counts["train"], counts["heldout"]
    return PackedSet(
        name=folder.name,
        sequence_length=manifest["config"]["sequence_length"],
        train_sequences=train["sequences"],
        heldout_sequences=heldout["sequences"],
        tokens=train["predicted_tokens"],
        padding_share=train["padding_share"] if train["sequences"] else None,
        split_documents=train["split_documents"],
        dropped=sum(counts["accounting"]["dropped"].values()),
    )


def read_synthetic_sets(run_dir: Path) -> tuple[SyntheticSet, ...]:
    return tuple(
        _synthetic_set(run_dir / folder, title, kind)
        for folder, title, kind in _SYNTHETIC
        if (run_dir / folder / MANIFEST_NAME).exists()
    )


def _synthetic_set(folder: Path, title: str, kind: str) -> SyntheticSet:
    accounting = read_manifest(folder)["counts"]["accounting"]
    read = _document_examples if kind == "documents" else _conversation_examples
    return SyntheticSet(
        title=title,
        candidates=accounting["input"],
        kept=accounting["output"],
        reasons=most_first(accounting["dropped"]),
        examples=tuple(itertools.islice(read(folder), _SHOWN_EXAMPLES)),
    )


def _document_examples(folder: Path) -> Iterator[Example]:
    for record in read_records(folder, "documents"):
        document = decode_document(record)
        if len(document.text) <= _EXAMPLE_CHARACTERS:
            yield Example(
                source=f"{document.repo} / {document.path}",
                note=document.provenance,
                turns=(("text", document.text),),
            )


def _conversation_examples(folder: Path) -> Iterator[Example]:
    for record in read_records(folder, "conversations"):
        conversation = decode_conversation(record)
        if sum(len(text) for _, text in conversation.messages) <= _EXAMPLE_CHARACTERS:
            yield Example(
                source=conversation.repo,
                note=conversation.provenance,
                turns=conversation.messages,
            )
