"""The settings that near deduplication shares between its levels, checked in one place."""

import dataclasses

from beam_pipelines.dedup.minhash import Banding
from opencoder_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class NearSettings:
    """How near duplicates are found and what makes one.

    Attributes:
      ngram: words a shingle.
      permutations: of a MinHash; has to be bands × rows.
      bands, rows: two texts are candidates if all rows of one band agree.
      min_jaccard: exact similarity from which a text is dropped; None takes what the bands
        imply, (1/bands)^(1/rows).
      component_rounds: most rounds of `ConnectedComponents`; those not needed are free.
      cluster_members: how many members a cluster's record names.

    Raises:
      InputError: settings that do not fit each other.
    """

    ngram: int = 5
    permutations: int = 2048
    bands: int = 16
    rows: int = 128
    min_jaccard: float | None = None
    component_rounds: int = 16
    cluster_members: int = 20

    def __post_init__(self) -> None:
        _ = self.banding  # refuses bands and rows below 1
        if self.bands * self.rows != self.permutations:
            raise InputError(
                f"near deduplication with {self.bands} bands of {self.rows} rows uses "
                f"{self.bands * self.rows} permutations, but permutations is "
                f"{self.permutations}: change one of the three"
            )
        if self.ngram < 1:
            raise InputError(f"ngram is {self.ngram}, expected at least 1")
        if self.min_jaccard is not None and not 0 < self.min_jaccard <= 1:
            raise InputError(
                f"min_jaccard is {self.min_jaccard}, expected more than 0 and at most 1"
            )
        if self.component_rounds < 1:
            raise InputError(f"component_rounds is {self.component_rounds}, expected at least 1")

    @property
    def banding(self) -> Banding:
        return Banding(self.bands, self.rows)

    @property
    def threshold(self) -> float:
        """Jaccard similarity from which a text is dropped."""
        return self.banding.threshold if self.min_jaccard is None else self.min_jaccard
