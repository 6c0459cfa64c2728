"""Parses with tree-sitter only what parses: at its first certain error a text is given up.

The parser repairs any text, which takes it up to minutes a megabyte where the text is of
another kind, and the repaired tree is of no use here. While it works it calls us after
every hundred operations and says whether all its readings of the text are in error; where
it repairs at once and says nothing, a piece of its log shows it. Both are facts about the
text, so no value depends on time or machine. What nests too deeply is not parsed at all:
the parser releases what it read by recursion in C, which overflows the thread's stack.
"""

import dataclasses
import re

import numpy as np
import tree_sitter

# Levels of brackets. A level takes 96 bytes of a stack that may have 512 KB; Python's own
# parser takes 200, the deepest file of our corpora has 36.
MAX_NESTING = 4_000
_OPENING, _CLOSING = (b"(", b"[", b"{"), (b")", b"]", b"}")

# Calls after which a piece of log is read, 100 operations of the parser: first, and from
# there on. Reading costs as much as ten calls; a call of repairing takes up to 0.4 ms.
_FIRST_LOOK = 128
_LOOK_EVERY = 512
# At the end of a text a reading may be complete while others still fail.
_END = 1_000  # bytes

_PROCESS = re.compile(r"process version:(\d+),")


def parse(language: tree_sitter.Language, content: bytes) -> tree_sitter.Tree | None:
    """The tree of the UTF-8 text; None where it has an error."""
    # A parser for each text: Python runs in its callbacks, and with it other threads.
    parser = tree_sitter.Parser(language)
    watch = Watch(parser, end=len(content) - _END)
    view = memoryview(content)
    try:
        tree = parser.parse(lambda position, _: view[position:], progress_callback=watch.give_up)
    except ValueError:  # It was told to give up.
        return None
    return None if tree.root_node.has_error else tree


@dataclasses.dataclass(slots=True)
class Watch:
    """Decides while a text is parsed whether to go on.

    Attributes:
      end: position (bytes) from which on the text is parsed whatever is wrong with it.
      calls: how often the parser has called, once in 100 operations.
    """

    parser: tree_sitter.Parser
    end: int
    calls: int = 0
    _next_look: int = _FIRST_LOOK
    _log: list[str] | None = None

    def give_up(self, position: int, all_in_error: bool) -> bool:
        """Whether the text certainly has an error; what the parser calls."""
        self.calls += 1
        if self._log is not None:
            del self.parser.logger
            all_in_error = all_in_error or certainly_fails(self._log)
            self._log = None
        elif self.calls == self._next_look:
            self._next_look += _LOOK_EVERY
            self._log = lines = []
            self.parser.logger = lambda _, line: lines.append(line)
        return all_in_error and position < self.end


def certainly_fails(log: list[str]) -> bool:
    """Whether the lines show a round in which each reading of the text ended in an error.

    The parser advances all its readings ("versions") in rounds, from 0 up. One that cannot
    go on is put aside, and repaired ("resumed") if the round leaves no better one.
    """
    failed: dict[int, bool] | None = None  # None until a round begins.
    version = 0
    for line in log:
        if match := _PROCESS.match(line):
            previous, version = version, int(match[1])
            if version == 0 and (failed is None or previous > 0):
                failed = {}
            if failed is not None:
                failed[version] = False
        elif failed is not None and line.startswith("detect_error"):
            failed[version] = True
        elif failed is not None and line.startswith("resume"):
            if failed and all(failed.values()):
                return True
            failed = None
    return False


def nests_too_deeply(content: bytes) -> bool:
    """Whether more than `MAX_NESTING` brackets are open at once, those in strings included."""
    if sum(map(content.count, _OPENING)) <= MAX_NESTING:
        return False
    steps = _STEPS[np.frombuffer(content, np.uint8)]
    return int(steps.cumsum(dtype=np.int32).max()) > MAX_NESTING


_STEPS = np.zeros(256, np.int8)
_STEPS[[*b"".join(_OPENING)]] = 1
_STEPS[[*b"".join(_CLOSING)]] = -1
