"""Best-fit decreasing: which pieces share a sequence.

Pieces are placed from the longest to the shortest, each into the open sequence that it
fills best. Documents are then cut only where they are longer than a sequence, which is
what "Fewer Truncations Improve Language Modeling" (arXiv 2404.10830) shows to matter.

Remaining capacities are small integers, so open sequences wait in one bucket a capacity,
and the set of buckets in use is one Python integer with a bit for each: the best fit is
its lowest bit at or above the piece's length. A million pieces take seconds.
"""

from collections.abc import Sequence

import numpy as np


def best_fit(lengths: Sequence[int] | np.ndarray, capacity: int) -> list[list[int]]:
    """Groups pieces so that no group is longer than `capacity`.

    Args:
      lengths: int[pieces], each from 1 to `capacity`.
      capacity: tokens of a sequence.

    Returns:
      Indices of the pieces of each group, the longest piece first. A function of `lengths`
      alone: equally long pieces are taken in their order, equally full groups from the one
      that became so last.

    Raises:
      ValueError: a length is out of range.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    if sizes.size and not (sizes.min() >= 1 and sizes.max() <= capacity):
        raise ValueError(
            f"piece lengths from {sizes.min()} to {sizes.max()}, expected 1 to {capacity}"
        )
    groups: list[list[int]] = []
    buckets: list[list[int]] = [[] for _ in range(capacity + 1)]
    in_use = 0
    for piece in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[piece])
        fitting = in_use >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            group = buckets[room].pop()
            if not buckets[room]:
                in_use ^= 1 << room
            groups[group].append(piece)
        else:
            room = capacity
            group = len(groups)
            groups.append([piece])
        left = room - size
        if left:
            buckets[left].append(group)
            in_use |= 1 << left
    return groups
