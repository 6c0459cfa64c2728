"""A page as the set of its BPE pieces, which is what the classifier sees.

fastText splits at white space, which Chinese does not have; a BPE of bounded vocabulary
makes words of either (paper §2.1.2). Identifiers are first taken apart into their words
(`readLine_fast` has three) and runs of punctuation are words too, numbers are none. Each
piece counts once: a menu that repeats a word a hundred times says no more than one that has
it once (`benchmarks.web_recall` measures both). A page has few distinct words, and nearly
all of them were seen on pages before, so that a table of known words does most of the work.
The vocabulary is trained here on a sample of the pages, or a tokenizer's folder is given.
Next: `classifier`.
"""

import functools
import io
import re
from collections.abc import Iterable, Iterator
from typing import Protocol, Self

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from opencoder_jax.errors import InputError
from opencoder_jax.formats.tokenizer import open_tokenizer

_LONGEST_LINE = 4000  # bytes that a line of training text may have for SentencePiece
_KNOWN_WORDS = 200_000  # of a process; about 50 MB
_LONGEST_KNOWN = 40  # characters; longer ones are seldom seen again
UNKNOWN = 0
# Words of identifiers and of texts, and runs of punctuation.
WORD = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+|[^\w\s]+")


class Segmenter(Protocol):
    """Text to ids of pieces.

    Attributes:
      size: ids are below it.
    """

    size: int

    def pieces(self, text: str) -> NDArray[np.int32]:
        """The distinct pieces of a text, ascending."""


class TrainedSegmenter:
    """SentencePiece BPE, made by `train_segmenter`."""

    def __init__(self, model: sentencepiece.SentencePieceProcessor) -> None:
        self._model = model
        self.size: int = model.vocab_size()
        self._known: dict[str, frozenset[int]] = {}

    @classmethod
    def load(cls, model: bytes, name: str) -> Self:
        """Raises: InputError: it is no SentencePiece model; the message has `name`."""
        try:
            return cls(sentencepiece.SentencePieceProcessor(model_proto=model))
        except (RuntimeError, OSError) as error:
            raise InputError(f"{name} is no SentencePiece model: {error}") from error

    def pieces(self, text: str) -> NDArray[np.int32]:
        words = set(WORD.findall(text))
        known = self._known
        new = [word for word in words if word not in known]
        found: set[int] = set().union(*[known[word] for word in words if word in known])
        for word, ids in zip(new, self._model.encode(new, num_threads=1), strict=True):
            found.update(ids)
            if len(word) <= _LONGEST_KNOWN:
                if len(known) >= _KNOWN_WORDS:
                    known.clear()
                known[word] = frozenset(ids)
        found.discard(UNKNOWN)
        return np.array(sorted(found), np.int32)


class FolderSegmenter:
    """Any tokenizer that `open_tokenizer` opens."""

    def __init__(self, folder: str) -> None:
        """Raises: InputError: the folder holds none."""
        self._tokenizer = open_tokenizer(folder)
        self.size = self._tokenizer.vocab_size

    def pieces(self, text: str) -> NDArray[np.int32]:
        return np.unique(np.array(self._tokenizer.encode(text), np.int32))


def train_segmenter(texts: Iterable[str], size: int) -> bytes:
    """A SentencePiece model of at most `size` pieces, the same bytes for the same texts.

    Raises:
      InputError: the texts have no words.
    """
    lines = [line for text in texts for line in _lines(text)]
    if not lines:
        raise InputError("the pages have no text to learn a segmentation from")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            # A small sample has fewer pairs to merge than asked for.
            hard_vocab_limit=False,
            character_coverage=0.9995,
            normalization_rule_name="nmt_nfkc",
            split_digits=True,
            max_sentence_length=_LONGEST_LINE,
            num_threads=1,
            bos_id=-1,
            eos_id=-1,
            unk_id=UNKNOWN,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise InputError(f"no segmentation can be learned from the pages: {error}") from error
    return model.getvalue()


def _lines(text: str) -> Iterator[str]:
    """The words of each line, cut where SentencePiece would pass them over."""
    characters = _LONGEST_LINE // 4
    for line in text.splitlines():
        words = " ".join(WORD.findall(line))
        for start in range(0, len(words), characters):
            if piece := words[start : start + characters].strip():
                yield piece


@functools.cache
def folder_segmenter(folder: str) -> FolderSegmenter:
    """Opened once a process."""
    return FolderSegmenter(folder)
