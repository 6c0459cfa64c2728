"""How far a scorer says what its teacher says, on files of repositories that it has not seen."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, slots=True)
class Agreement:
    """On some held-out files.

    Attributes:
      files: how many.
      teacher_mean, teacher_deviation: of the teacher's scores.
      absolute_error: mean distance of scorer and teacher.
      constant_error: the same of one who always says the training files' median.
      rank_correlation: Spearman's; None where one of them says the same of all.
      threshold: from which a file counts as good.
      good: share of the files that the teacher calls good.
      precision: of the files that the scorer calls good; None where there is none.
      recall: of the files that the teacher calls good; None where there is none.
    """

    files: int
    teacher_mean: float
    teacher_deviation: float
    absolute_error: float
    constant_error: float
    rank_correlation: float | None
    threshold: float
    good: float
    precision: float | None
    recall: float | None


def measure_agreement(
    teacher: Sequence[float], scorer: Sequence[float], median: float, threshold: float
) -> Agreement:
    """Compares scores of the same files, at least one.

    Args:
      teacher, scorer: what each says of every file.
      median: of the teacher's scores of the training files.
      threshold: from which a file counts as good.
    """
    wanted, found = np.array(teacher, np.float64), np.array(scorer, np.float64)
    good, called = wanted >= threshold, found >= threshold
    both = int((good & called).sum())
    return Agreement(
        files=len(wanted),
        teacher_mean=float(wanted.mean()),
        teacher_deviation=float(wanted.std()),
        absolute_error=float(np.abs(wanted - found).mean()),
        constant_error=float(np.abs(wanted - median).mean()),
        rank_correlation=_spearman(wanted, found),
        threshold=threshold,
        good=float(good.mean()),
        precision=both / int(called.sum()) if called.any() else None,
        recall=both / int(good.sum()) if good.any() else None,
    )


def table_lines(found: Iterable[tuple[str, Agreement]]) -> list[str]:
    """Lines for the terminal, one a language."""
    lines = []
    for name, a in found:
        rank = "-" if a.rank_correlation is None else f"{a.rank_correlation:.2f}"
        parts = ["-" if v is None else f"{v:.2f}" for v in (a.precision, a.recall)]
        lines.append(
            f"  {name}: {a.files:,} held-out files, error {a.absolute_error:.2f} (a constant has "
            f"{a.constant_error:.2f}), rank correlation {rank}; {a.good:.0%} good (>= "
            f"{a.threshold:g}), precision {parts[0]}, recall {parts[1]}"
        )
    return lines


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    ranks = _ranks(a), _ranks(b)
    deviations = [float(r.std()) for r in ranks]
    if not all(deviations):
        return None
    covariance = float(((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())).mean())
    return covariance / (deviations[0] * deviations[1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[place]
