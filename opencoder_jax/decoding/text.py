"""Tokens to text as they come, and where a stop text ends it.

A character may be spread over several tokens, and a stop text over several more: what is
given out is only what no later token can change. The parts given out, joined, are
the tokenizer's own decoding of all tokens, cut before the first stop text.
"""

from collections.abc import Sequence

from opencoder_jax.formats.tokenizer import Tokenizer

_INCOMPLETE = "\ufffd"
# Of so many tokens a text is decoded anew, for a tokenizer may write the first of them otherwise.
_CONTEXT = 6


class TextStream:
    """The text of one continuation.

    Attributes:
      ids: the tokens so far.
      text: what is known of the text; once stopped, all of it.
      stopped: whether a stop text has come.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._longest = max((len(stop) for stop in stop), default=0)
        self.ids: list[int] = []
        self.text = ""
        self.stopped = False
        self._given = 0  # Characters of `text` that have been taken.
        self._read = 0  # Tokens whose text is in `text`.

    def add(self, token: int) -> None:
        """Takes a further token."""
        self.ids.append(token)
        self._decode(final=False)

    def finish(self) -> None:
        """No token comes any more: what seemed incomplete stays as it is."""
        if not self.stopped:
            self._decode(final=True)
            self._stop = ()

    def take(self) -> str:
        """The text since the last call, without what the next tokens may still take back."""
        end = len(self.text) if self.stopped else self._sure_end()
        part = self.text[self._given : end]
        self._given = max(self._given, end)
        return part

    def _decode(self, *, final: bool) -> None:
        begin = max(0, self._read - _CONTEXT)
        before = self._tokenizer.decode(self.ids[begin : self._read])
        after = self._tokenizer.decode(self.ids[begin:])
        if after.endswith(_INCOMPLETE) and not final:
            return
        new = after[len(before) :]
        if not after.startswith(before):  # The new tokens change the text of the last ones.
            whole = self._tokenizer.decode(self.ids)
            new = whole[len(self.text) :]
        self._read = len(self.ids)
        searched_from = max(0, len(self.text) - self._longest + 1)
        self.text += new
        places = [self.text.find(stop, searched_from) for stop in self._stop]
        found = [place for place in places if place >= 0]
        if found:
            self.text = self.text[: min(found)]
            self.stopped = True

    def _sure_end(self) -> int:
        """Up to where no stop text may have begun."""
        for length in range(min(self._longest - 1, len(self.text)), 0, -1):
            end = self.text[-length:]
            if any(stop.startswith(end) for stop in self._stop):
                return len(self.text) - length
        return len(self.text)
