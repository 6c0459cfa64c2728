"""Which side of the held-out split an item is on, with no near duplicate on both.

The side is a hash of the repository's name (`opencoder_jax.formats.split`), so the sets of
all phases agree on it. Deduplication leaves one document of a cluster in the corpus, but a
set may be made of several corpora: a held-out item whose cluster has a training item as
well is dropped, or evaluation would measure memory.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple

import apache_beam as beam

from beam_pipelines.accounting import Drop
from beam_pipelines.packing.items import Item
from opencoder_jax.formats.split import is_heldout

_DROPPED: Final = "dropped"


class Sides(NamedTuple):
    """What `SplitHeldOut` returns: two PCollection[Item], one PCollection[Drop]."""

    train: Any
    heldout: Any
    dropped: Any


class SplitHeldOut(beam.PTransform):
    """PCollection[Item] to `Sides`."""

    def __init__(self, fraction: float, seed: int) -> None:
        """Args:
        fraction: share of repositories held out.
        seed: of the hash that chooses them.
        """
        super().__init__()
        self._fraction = fraction
        self._seed = seed

    def expand(self, items: beam.PCollection) -> Any:
        sides = items | "Side" >> beam.Partition(
            # Beam's annotation names only the class of its own wrapped functions.
            _side,  # type: ignore[arg-type]
            2,
            self._fraction,
            self._seed,
        )
        train, candidates = sides[0], sides[1]
        checked = (
            {
                "candidates": candidates | "ByCluster" >> beam.Map(_keyed_by_cluster),
                "training": train
                | "TrainingClusters" >> beam.Map(_cluster)
                | beam.Distinct()
                | "Mark" >> beam.Map(_marked),
            }
            | "JoinClusters" >> beam.CoGroupByKey()
            | "DropNearDuplicates"
            >> beam.ParDo(_DropNearDuplicates()).with_outputs(_DROPPED, main="heldout")
        )
        return Sides(train, checked["heldout"], checked[_DROPPED])


class _DropNearDuplicates(beam.DoFn):
    def process(
        self, group: tuple[str, dict[str, Iterable]]
    ) -> Iterator[Item | beam.pvalue.TaggedOutput[Literal["dropped"], Drop]]:
        cluster, joined = group
        in_training = any(True for _ in joined["training"])
        for item in joined["candidates"]:
            if in_training:
                yield beam.pvalue.TaggedOutput(_DROPPED, _near_duplicate(item, cluster))
            else:
                yield item


def _near_duplicate(item: Item, cluster: str) -> Drop:
    return Drop(
        id=item.id,
        repo=item.repo,
        path=item.path,
        language=item.language,
        reason="near_duplicate_of_training",
        detail=f"cluster {cluster} has a document on the training side",
    )


def _side(item: Item, _: int, fraction: float, seed: int) -> int:
    return int(is_heldout(item.repo, fraction, seed))


def _keyed_by_cluster(item: Item) -> tuple[str, Item]:
    return item.duplicate_cluster, item


def _cluster(item: Item) -> str:
    return item.duplicate_cluster


def _marked(cluster: str) -> tuple[str, bool]:
    return cluster, True
