"""What a round knows, as files that every worker loads once: segmentation, classifiers, labels.

A `Model` names files by place and is small enough to travel with a DoFn; `load` opens them
on the worker, once a process. Places are local or in a store.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from beam_pipelines import stores
from beam_pipelines.recall.classifier import Classifier, best_label
from beam_pipelines.recall.labels import (
    Annotated,
    Labels,
    SeedSettings,
    read_annotated,
    read_page_labels,
    several,
)
from beam_pipelines.recall.segments import Segmenter, TrainedSegmenter, folder_segmenter
from opencoder_jax.formats.document import Document


class Model(NamedTuple):
    """Places of files, and numbers.

    Attributes:
      segmentation: a SentencePiece model that the job made; empty where `tokenizer` is given.
      tokenizer: a tokenizer's folder.
      classifiers: of the rounds so far.
      characters: of a page that are read.
      threshold: probability of a label from which a page is recalled.
      held_out: tables of pages that nothing is learned from.
      version: of what the files hold: another content in the same place is another model.
    """

    segmentation: str
    tokenizer: str
    classifiers: tuple[str, ...]
    characters: int
    threshold: float
    held_out: tuple[str, ...]
    version: str

    def load(self, seeds: SeedSettings, annotated: Sequence[str] = ()) -> "Loaded":
        """Raises: InputError: a file is missing, damaged or no such file."""
        # Lists, which gin gives, cannot be hashed.
        key = dataclasses.replace(
            seeds,
            labels=tuple(seeds.labels),
            tables=several(seeds.tables),
            patterns=several(seeds.patterns),
        )
        return _load(self, key, tuple(annotated))


class Score(NamedTuple):
    """What one round's classifier makes of a page.

    Attributes:
      label: the likeliest wanted one.
      value: its probability.
    """

    label: str
    value: float


class Loaded:
    """A `Model` in memory.

    Attributes:
      labels: what tables and first patterns say.
      annotated: what was annotated after each round.
    """

    def __init__(
        self,
        model: Model,
        wanted: tuple[str, ...],
        segmenter: Segmenter,
        classifiers: Sequence[Classifier],
        labels: Labels,
        annotated: Sequence[Annotated],
        held_out: dict[str, tuple[str, str]],
    ) -> None:
        self._model = model
        self._wanted = wanted
        self._segmenter = segmenter
        self._classifiers = classifiers
        self.labels = labels
        self.annotated = annotated
        self._held_out = held_out

    def pieces(self, page: Document) -> NDArray[np.int32]:
        return self._segmenter.pieces(page.text[: self._model.characters])

    def scores(self, pieces: NDArray[np.int32]) -> list[Score]:
        """Of every round's classifier."""
        return [
            Score(*best_label(classifier.scores(pieces), self._wanted))
            for classifier in self._classifiers
        ]

    def recalls(self, score: Score) -> bool:
        return score.value >= self._model.threshold

    def named(self, page: Document) -> str | None:
        """What the patterns annotated so far say of a page."""
        pattern = self.annotated[-1].patterns.find(page.path) if self.annotated else None
        return pattern and pattern.label

    def was_missed(self, page: Document, pieces: NDArray[np.int32]) -> bool:
        """Whether a round missed a page that the patterns annotated after it want."""
        scores = self.scores(pieces)
        return any(
            (pattern := annotated.patterns.find(page.path)) is not None
            and pattern.label in self._wanted
            and not self.recalls(scores[annotated.round - 1])
            for annotated in self.annotated
        )

    def was_recalled(self, pieces: NDArray[np.int32]) -> bool:
        """Whether the round before recalls a page; nothing was before the first."""
        return bool(self._classifiers) and self.recalls(self.scores(pieces)[-1])

    def is_held_out(self, page: Document) -> bool:
        return self.true_label(page) is not None

    def true_label(self, page: Document) -> str | None:
        """What the held-out tables say."""
        found = self._held_out.get(page.id) or self._held_out.get(page.path)
        return found[0] if found else None


@functools.lru_cache(maxsize=2)
def _load(
    model: Model,
    seeds: SeedSettings,
    annotated: tuple[str, ...],
) -> Loaded:
    known = seeds.known_labels
    segmenter: Segmenter
    if model.tokenizer:
        segmenter = folder_segmenter(model.tokenizer)
    else:
        with stores.fetched(model.segmentation) as path:
            segmenter = TrainedSegmenter.load(path.read_bytes(), model.segmentation)
    classifiers = []
    for place in model.classifiers:
        with stores.fetched(place) as path:
            classifiers.append(Classifier.load(path, segmenter.size))
    return Loaded(
        model,
        tuple(seeds.labels),
        segmenter,
        classifiers,
        Labels.read(seeds),
        read_annotated(annotated, known),
        read_page_labels(model.held_out, known),
    )
