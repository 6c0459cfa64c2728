"""Single tokens as text and bytes, and where each stands in a text.

Log-probabilities are told token by token, and a token may be half a character. As OpenAI's API
does, one that is no text by itself is named `bytes:\\xf0\\x9f`, and the place of a token that
goes on with a character is that character's. Next: `choices`.
"""

import functools
import re
from collections.abc import Sequence

from opencoder_jax.decoding.text import TextStream
from opencoder_jax.formats.tokenizer import Tokenizer

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE_MARK = "\u2581"
_INCOMPLETE = "\ufffd"


def _byte_level_characters() -> dict[str, int]:
    """Character to byte, as GPT-2's vocabulary writes bytes (`bytes_to_unicode`)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    characters = {chr(byte): byte for byte in shown}
    return characters | {chr(256 + number): byte for number, byte in enumerate(hidden)}


_BYTES = _byte_level_characters()


class TokenText:
    """Names, bytes and places of a tokenizer's tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.bytes_of = functools.cache(self._bytes_of)
        self.name = functools.cache(self._name)

    def _piece(self, token: int) -> str:
        try:
            return self._tokenizer.piece(token)
        except (IndexError, LookupError):  # A model may have more rows than its tokenizer tokens.
            return f"<{token}>"

    def _bytes_of(self, token: int) -> bytes:
        """UTF-8 of the text that the token adds; empty for a special one."""
        text = self._tokenizer.decode([token])
        piece = self._piece(token)
        if found := _BYTE_PIECE.fullmatch(piece):
            return bytes([int(found[1], 16)]) if text != piece else text.encode()
        if _INCOMPLETE in text and all(character in _BYTES for character in piece):
            return bytes(_BYTES[character] for character in piece)
        if text and piece.startswith(_SPACE_MARK) and not text.startswith(" "):
            text = piece.replace(_SPACE_MARK, " ")  # A decoder takes the first space off a text.
        return text.encode()

    def _name(self, token: int) -> str:
        """As OpenAI's API shows the token; a special one as the vocabulary spells it."""
        spelled = self.spelled(token)
        try:
            return spelled.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelled)

    def spelled(self, token: int) -> bytes:
        """Bytes of what `name` shows."""
        return self.bytes_of(token) or self._piece(token).encode()

    def offsets(self, ids: Sequence[int], text: str) -> list[int]:
        """Characters of `text` before each token, where `text` is what `ids` decode to."""
        places, count = [], 0
        for token in ids:
            found = self.bytes_of(token)
            inside = bool(found) and found[0] & 0xC0 == 0x80
            places.append(count - inside)
            count += sum(byte & 0xC0 != 0x80 for byte in found)
        if count == len(text):
            return places
        # Bytes that are no characters.
        stream = TextStream(self._tokenizer)
        return [self.add(stream, token) for token in ids]

    def add(self, stream: TextStream, token: int) -> int:
        """Adds a token to a text; returns the characters before it."""
        before = len(stream.text)
        stream.add(token)
        try:
            own = self.bytes_of(token).decode()
        except UnicodeDecodeError:
            return before
        # Half a character may have stood before it, and is one that is none now.
        return len(stream.text) - len(own) if own and stream.text.endswith(own) else before
