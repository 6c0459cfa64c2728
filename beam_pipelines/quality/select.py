"""Keeps the code that a scorer finds good: an option of the cleaning job, off by default.

It comes after the rules, so that only what they keep is scored; each kept code file has its
score among its signals. Data and text files are not scored and stay.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines import output, stores
from beam_pipelines.accounting import SAMPLE_CHARACTERS, Drop, Split, drop_document
from beam_pipelines.quality.scorer import Scorer
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document

LOW_QUALITY = "low_quality"
SIGNAL = "distilled_quality"
_Dropped = TaggedOutput[Literal["dropped"], Drop]


class SelectByQuality(beam.PTransform):
    """PCollection[Document] to a `Split`: code with a score of `min_quality` or more stays."""

    def __init__(self, scorer_dir: str, min_quality: float) -> None:
        """Args:
        scorer_dir: what `beam_pipelines.quality_scorer` wrote, on every worker's file system.
        min_quality: lowest score that stays.
        """
        super().__init__()
        self._scorer_dir = scorer_dir
        self._min_quality = min_quality

    def expand(self, documents: beam.PCollection) -> Split:
        chosen = documents | "Score" >> beam.ParDo(
            _Choose(self._scorer_dir, self._min_quality)
        ).with_outputs("dropped", main="kept")
        return Split(chosen.kept, chosen.dropped)


def scorer_fingerprint(scorer_dir: str) -> str:
    """Of a finished scorer.

    Raises:
      InputError: there is none, or it is in a store.
    """
    if stores.is_remote(scorer_dir):
        raise InputError(f"{scorer_dir}: copy the scorer to a folder that all workers see")
    manifest = output.read_manifest(scorer_dir)
    if manifest["job"] != "quality_scorer":
        raise InputError(
            f"{scorer_dir} was made by {manifest['job']}, not by beam_pipelines.quality_scorer"
        )
    return manifest["fingerprint"]


class _Choose(beam.DoFn):
    def __init__(self, scorer_dir: str, min_quality: float) -> None:
        super().__init__()
        self._scorer_dir = scorer_dir
        self._min_quality = min_quality
        self._scorer: Any = None

    def setup(self) -> None:
        self._scorer = Scorer.load(Path(self._scorer_dir))

    def process(self, document: Document) -> Iterator[Document | _Dropped]:
        if document.doc_type != "code":
            yield document
            return
        score = round(self._scorer.score(document.text, document.language), 4)
        if score < self._min_quality:
            drop = drop_document(
                document,
                LOW_QUALITY,
                signal=SIGNAL,
                value=score,
                threshold=f"< {self._min_quality:g}",
                sample=document.text[:SAMPLE_CHARACTERS],
            )
            yield _Dropped("dropped", drop)
        else:
            signals = json.loads(document.signals or "{}")
            yield document.replace(signals=json.dumps({**signals, SIGNAL: score}, sort_keys=True))
