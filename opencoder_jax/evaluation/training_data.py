"""Searches training data for the problems of benchmarks, by the rule of `contamination`.

Documents and conversations are read as they are, packed sets by their tokens: each document of
a sequence becomes text again with the tokenizer that packed it, so a set can be searched when
its sources are gone. A training run stands for the packed sets that it and the phases before it
were trained on. Data that nothing can be read of are believed where their manifest names the
very problems as kept out; else the answer is `not checked`.
Next: `packed_texts` turns tokens to texts, `trained_on` finds a run's sets.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from opencoder_jax.data.gathered_sets import gathered
from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.contamination import Problem, ProblemTexts, ngrams, own_ngrams
from opencoder_jax.evaluation.packed_texts import PackedTexts
from opencoder_jax.evaluation.trained_on import is_run, sets_of_run
from opencoder_jax.formats import shards
from opencoder_jax.formats.conversation import decode_conversation
from opencoder_jax.formats.document import decode_document
from opencoder_jax.formats.manifest import read_manifest
from opencoder_jax.formats.tokenizer import Tokenizer
from opencoder_jax.progress import track

CLEAN = "clean"
NOT_CHECKED = "not checked"
_Found = dict[str, dict[str, dict[str, Any]]]


class Text(NamedTuple):
    """A text that was trained on, or a piece of one.

    Attributes:
      key: what pieces of one text have in common.
      shown: where people find it.
      text: what is searched.
    """

    key: str
    shown: str
    text: str


def check_training_data(
    folders: Sequence[Path],
    tasks: Sequence[ProblemTexts],
    kept_out: Mapping[str, Mapping[str, str]],
    tokenizers: Sequence[Tokenizer] = (),
) -> dict[str, dict[str, Any]]:
    """Looks for the problems of tasks in training data.

    Args:
      folders: finished folders of documents, of conversations, of packed sequences (`train-*`
        is searched; or that stand for such, see `gathered_sets`), or of training runs.
      tasks: what is looked for.
      kept_out: task to what the manifest of a set says that was kept clean of its problems, any
        one of them: an input's name to its fingerprint.
      tokenizers: that packed folders may have been made with.

    Returns:
      Task to `state` (`clean`, `not checked`, or `overlaps: N of M problems`), `why` (a line a
      folder), and `problems` (id to `documents`, `example`, `words`) of those found.

    Raises:
      InputError: a folder is missing, unfinished or damaged, a packed folder's tokenizer is
        nowhere, or a run's packed sets are.
    """
    index = own_ngrams(tasks)
    found: _Found = {task.name: {} for task in tasks}
    why: dict[str, list[str]] = {task.name: [] for task in tasks}
    unknown: set[str] = set()
    for folder, unread in _expanded(folders):
        line = unread or _search_folder(folder, tokenizers, index, found)
        for task in tasks:
            if line and not unread:
                why[task.name].append(line)
            elif not unread and _made_without(read_manifest(folder), kept_out.get(task.name, {})):
                why[task.name].append(f"{folder.name}: made without these problems")
            else:
                unknown.add(task.name)
                told = unread or f"{folder.name}: neither texts nor a word in its manifest"
                why[task.name].append(told)
    return {
        task.name: {
            "state": _state(task, found[task.name], task.name in unknown),
            "why": why[task.name],
            "problems": found[task.name],
        }
        for task in tasks
    }


def _expanded(folders: Sequence[Path]) -> list[tuple[Path, str]]:
    """Folders with runs replaced by their packed sets; why one is not searched, or empty."""
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of training data")
    others: list[Path] = []
    for folder in (folder for folder in folders if not is_run(folder)):
        others += map(Path, gathered(folder).values()) if gathered(folder) else [folder]
    expanded = [(folder, "") for folder in others]
    for run in folders:
        if is_run(run):
            sets, unread = sets_of_run(run, others)
            expanded += [(folder, "") for folder in sets]
            expanded += [(run, line) for line in unread]
    # Two phases of a run may have one set.
    return list(dict.fromkeys(expanded))


def _search_folder(
    folder: Path,
    tokenizers: Sequence[Tokenizer],
    index: Mapping[str, Sequence[Problem]],
    found: _Found,
) -> str:
    """Adds what a folder's texts share to `found`; a line on it, empty where it has no texts."""
    if read_manifest(folder)["job"] == "pack":
        packed = PackedTexts(folder, tokenizers)
        hits = _Hits(index, found)
        with track(f"searching {folder.name} for problems", len(packed), "sequences") as advance:
            for segments in packed:
                hits.search(Text(i, f"{folder.name}: document {i}", text) for i, text in segments)
                advance()
        seams = packed.seams()
        hits.search(Text(i, f"{folder.name}: document {i}", text) for i, text in seams)
        return f"{folder.name}: {len(packed)} packed sequences searched"
    name = next((n for n in _READERS if any(folder.glob(f"{n}-*"))), "")
    if not name:
        return ""
    count = shards.count_records(folder, name)
    hits = _Hits(index, found)
    with track(f"searching {folder.name} for problems", count, name) as advance:
        for number, record in enumerate(shards.read_records(folder, name)):
            shown, text = _READERS[name](record)
            hits.search([Text(str(number), shown, text)])
            advance()
    return f"{folder.name}: {count} {name} searched"


def _of_document(record: bytes) -> tuple[str, str]:
    document = decode_document(record)
    return f"{document.repo}/{document.path}", document.text


def _of_conversation(record: bytes) -> tuple[str, str]:
    conversation = decode_conversation(record)
    return conversation.id, "\n".join(content for _, content in conversation.messages)


_READERS: dict[str, Callable[[bytes], tuple[str, str]]] = {
    "documents": _of_document,
    "conversations": _of_conversation,
}


class _Hits:
    """What the texts of one folder share with problems; a text counts once for a problem."""

    def __init__(self, index: Mapping[str, Sequence[Problem]], found: _Found) -> None:
        self._index = index
        self._found = found
        self._counted: set[tuple[str, str, str]] = set()

    def search(self, texts: Iterable[Text]) -> None:
        for text in texts:
            for (task, problem), ngram in self._shared(text.text):
                if (text.key, task, problem) in self._counted:
                    continue
                self._counted.add((text.key, task, problem))
                entry = self._found[task].setdefault(
                    problem, {"documents": 0, "example": text.shown, "words": ngram}
                )
                entry["documents"] += 1

    def _shared(self, text: str) -> Iterator[tuple[Problem, str]]:
        shared: dict[Problem, str] = {}
        for ngram in ngrams(text):
            for key in self._index.get(ngram, ()):
                shared.setdefault(key, ngram)
        yield from shared.items()


def _state(task: ProblemTexts, found: Mapping[str, Any], unknown: bool) -> str:
    if found:
        return f"overlaps: {len(found)} of {len(task.texts)} problems"
    return NOT_CHECKED if unknown else CLEAN


def _made_without(manifest: Mapping[str, Any], kept_out: Mapping[str, str]) -> bool:
    """Whether a manifest names the very problems as kept out."""
    return any(manifest["inputs"].get(name) == texts for name, texts in kept_out.items())
