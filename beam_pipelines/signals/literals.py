"""Tells in one pass which of some words a text has, before patterns look for them.

An automaton (Aho and Corasick) goes from byte to byte whatever the number of words; most
texts have few of those that introduce a name or leave work to do, and need no other look. Four
stretches of the text are read side by side, since each step waits for the one before.
"""

import collections
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from beam_pipelines.dedup.compiled import compiled

_LANES = 4


class Literals:
    """Words to look for.

    Args:
      words: up to 64, of ASCII.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)
        self._longest = max(map(len, words))
        self._step, self._found = _automaton([word.encode("ascii") for word in words])

    def present(self, data: bytes) -> frozenset[str]:
        """Those of the words that the text has, in UTF-8 or folded by `characters`."""
        found = int(_scan(np.frombuffer(data, np.uint8), self._step, self._found, self._longest))
        if not found:
            return frozenset()
        return frozenset(word for i, word in enumerate(self._words) if found >> i & 1)


def _automaton(words: Sequence[bytes]) -> tuple[NDArray[np.uint16], NDArray[np.uint64]]:
    """uint16[states, 256], the next state; uint64[states], which words end there, as bits."""
    children: list[dict[int, int]] = [{}]
    ends: list[int] = [0]
    for number, word in enumerate(words):
        state = 0
        for byte in word:
            if byte not in children[state]:
                children[state][byte] = len(children)
                children.append({})
                ends.append(0)
            state = children[state][byte]
        ends[state] |= 1 << number
    step = np.zeros((len(children), 256), np.uint16)
    # Breadth first: the state of a word's longest other beginning is done before its own.
    queue = collections.deque([(0, 0)])
    while queue:
        state, fallback = queue.popleft()
        ends[state] |= ends[fallback]
        if state:
            step[state] = step[fallback]
        for byte, child in children[state].items():
            queue.append((child, int(step[fallback, byte]) if state else 0))
            step[state, byte] = child
    return step, np.array(ends, np.uint64)


@compiled
def _scan(
    data: NDArray[np.uint8], step: NDArray[np.uint16], ends: NDArray[np.uint64], longest: int
) -> np.uint64:
    stretch = data.size // _LANES
    found = np.uint64(0)
    a = b = c = d = np.uint16(0)
    for i in range(stretch):
        a = step[a, data[i]]
        b = step[b, data[stretch + i]]
        c = step[c, data[2 * stretch + i]]
        d = step[d, data[3 * stretch + i]]
        found |= ends[a] | ends[b] | ends[c] | ends[d]
    # What begins in one stretch and ends in the next.
    for lane in range(1, _LANES):
        a = np.uint16(0)
        for i in range(max(0, lane * stretch - longest), min(data.size, lane * stretch + longest)):
            a = step[a, data[i]]
            found |= ends[a]
    for i in range(_LANES * stretch, data.size):
        d = step[d, data[i]]
        found |= ends[d]
    return found
