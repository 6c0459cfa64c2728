"""A fastText classifier of pages: trained by the library, applied as a table.

The library trains on one thread and from one order of the examples, so the same pages give
the same file. A page is the set of its pieces and each piece has one vector, so what the
model says of a page is the mean of what it says of the pieces: the product of both layers
is taken once (`Classifier.evidence`), and a page costs a sum of a few hundred rows.
Next: `training` makes examples and trains, `scoring` scores.
"""

import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from opencoder_jax.errors import InputError, require_at_least, require_positive

_LABEL = "__label__"
_END = "</s>"


@dataclasses.dataclass(frozen=True)
class ClassifierSettings:
    """How pages are read and classifiers trained; the paper gives none of these numbers.

    Attributes:
      vocabulary: pieces of the segmentation that the job learns.
      sample_pages: pages that it is learned from.
      tokenizer: folder of a tokenizer to segment with; empty learns one.
      characters: of a page that are read, from its beginning.
      dimension: of a piece's vector.
      epochs: times that every example is seen,
      least_steps: or as often as makes so many steps: a few hundred examples need more.
      learning_rate: fastText's `lr`.
    """

    vocabulary: int = 16_000
    sample_pages: int = 20_000
    tokenizer: str = ""
    characters: int = 20_000
    dimension: int = 32
    epochs: int = 5
    least_steps: int = 20_000
    learning_rate: float = 0.5

    def __post_init__(self) -> None:
        require_at_least(
            1,
            vocabulary=self.vocabulary,
            sample_pages=self.sample_pages,
            characters=self.characters,
            dimension=self.dimension,
            epochs=self.epochs,
            least_steps=self.least_steps,
        )
        require_positive(learning_rate=self.learning_rate)


class Example(NamedTuple):
    """A page that a classifier learns from.

    Attributes:
      label: its class.
      pieces: int32, ascending.
    """

    label: str
    pieces: NDArray[np.int32]


class Classifier(NamedTuple):
    """A trained model as a table.

    Attributes:
      labels: of its columns.
      evidence: float32[pieces, labels + 1], what each piece adds to each label, and 1; zeros
        for pieces that no example had.
      end: float32[labels + 1], of the end of the text, which fastText counts as a word.
    """

    labels: tuple[str, ...]
    evidence: NDArray[np.float32]
    end: NDArray[np.float32]

    def scores(self, pieces: NDArray[np.int32]) -> dict[str, float]:
        """Label to probability."""
        sums = self.evidence[pieces].sum(0, dtype=np.float64) + self.end
        logits = sums[:-1] / sums[-1]
        odds = np.exp(logits - logits.max())
        return dict(zip(self.labels, (odds / odds.sum()).tolist(), strict=True))

    @classmethod
    def load(cls, path: Path, size: int) -> Self:
        """Reads what `train` wrote; `size` as it had.

        Raises:
          InputError: it is no such model.
        """
        try:
            model = fasttext_library().load_model(str(path))
            rows = model.get_input_matrix() @ model.get_output_matrix().T
            words, labels = model.words, model.labels
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{path} is no classifier of pages: {error}") from error
        evidence = np.zeros((size, len(labels) + 1), np.float32)
        end = np.zeros(len(labels) + 1, np.float32)
        for word, row in zip(words, rows, strict=False):
            (end if word == _END else evidence[int(word)])[:] = (*row, 1)
        return cls(tuple(label.removeprefix(_LABEL) for label in labels), evidence, end)


def train(
    examples: Callable[[], Iterable[Example]], settings: ClassifierSettings, path: Path
) -> None:
    """Trains on examples and writes fastText's own file.

    Smaller classes are repeated until all are about equally large: what share of a crawl
    is wanted is for the threshold, not for the luck of the seeds.

    Args:
      examples: gives them, each time in the same order.
      settings: of the model.
      path: of the file.

    Raises:
      InputError: there are fewer than two classes.
    """
    counts: dict[str, int] = {}
    for example in examples():
        counts[example.label] = counts.get(example.label, 0) + 1
    if len(counts) < 2:
        found = ", ".join(f"{count} of {label}" for label, count in sorted(counts.items()))
        raise InputError(
            f"a classifier needs pages of two kinds to learn from, found {found or 'none'}"
        )
    library = fasttext_library()
    with tempfile.TemporaryDirectory(prefix="classifier-") as folder:
        text = Path(folder) / "examples.txt"
        with text.open("w", encoding="ascii") as file:
            for line in _balanced(examples(), counts):
                file.write(line)
        steps = max(counts.values()) * len(counts)
        model = library.train_supervised(
            str(text),
            dim=settings.dimension,
            epoch=max(settings.epochs, math.ceil(settings.least_steps / steps)),
            lr=settings.learning_rate,
            wordNgrams=1,
            minCount=1,
            minn=0,
            maxn=0,
            bucket=0,
            thread=1,
            seed=0,
            verbose=0,
        )
    model.save_model(str(path))


def _balanced(examples: Iterable[Example], counts: dict[str, int]) -> Iterable[str]:
    most = max(counts.values())
    given = dict.fromkeys(counts, 0)
    for example in examples:
        line = f"{_LABEL}{example.label} {' '.join(map(str, example.pieces.tolist()))}\n"
        # As many of the first n as make n · most / count in all.
        given[example.label] += 1
        seen, count = given[example.label], counts[example.label]
        yield line * (seen * most // count - (seen - 1) * most // count)


def fasttext_library() -> Any:
    """The library, with training.

    Raises:
      InputError: another package's module `fasttext` is there instead.
    """
    import fasttext

    if not hasattr(fasttext, "train_supervised"):
        raise InputError(
            f"{fasttext.__file__} cannot train: another package has put its module there; "
            "pip install --force-reinstall --no-deps fasttext-community"
        )
    return fasttext


def best_label(scores: dict[str, float], labels: Sequence[str]) -> tuple[str, float]:
    """The likeliest of the wanted labels that the classifier knows."""
    known = [label for label in labels if label in scores]
    label = max(known, key=lambda name: (scores[name], name))
    return label, scores[label]
