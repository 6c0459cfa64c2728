"""The project's tokenizer: SentencePiece BPE with byte fallback that keeps every byte.

A tokenizer is a folder with `tokenizer.model` (SentencePiece) and `manifest.json`;
`opencoder_jax.formats.tokenizer` is the face that it shares with other families'.
White space and newlines are kept exactly; `decode(encode(x)) == x` for every valid
Unicode string. One trap needs care: SentencePiece writes a space as U+2581, so a
U+2581 in the text would come back as a space; such characters are encoded as their
three byte tokens instead.

Ids 0 to 3 are `<unk> <s> </s> <pad>` (as INF-34B's tokenizer, which the paper uses),
then come the control tokens of ChatML and fill-in-the-middle, then 256 byte tokens.
Control tokens are never produced from text, only by id, so a document that spells
`<|im_end|>` cannot end a turn. `opencoder_jax.train_tokenizer` makes such a folder.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import sentencepiece

from opencoder_jax.formats.manifest import MANIFEST_NAME, file_sha256, read_manifest
from opencoder_jax.formats.tokenizer import (
    LOSSLESS_PROBE,
    MODEL_NAME,
    ExchangedTokenizerError,
    TokenizerError,
    refuse_surrogates,
)

UNK, BOS, EOS, PAD = 0, 1, 2, 3
CONTROL_TOKENS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
SPACE_MARK = "\u2581"
_SPACE_MARK_BYTES = ("<0xE2>", "<0x96>", "<0x81>")


class SentencePieceTokenizer:
    """Text to ids and back.

    Attributes:
      path: of the SentencePiece model.
      fingerprint: 16 hex digits of the model file's SHA-256.
      control_ids: id of each of `CONTROL_TOKENS`.
      im_start: id that opens a turn of a conversation.
      im_end: id that ends one.
      bos_ids, eos_ids, document_start, document_end, pad: as `Tokenizer` has them.
      byte_lengths: int32[V], UTF-8 bytes of text that each id stands for; the sum over
        `encode(text)` is the length of `text` in UTF-8. 0 for control tokens.

    Raises:
      TokenizerError: no `tokenizer.model` in the folder, or one that was not made here
        (special ids, byte fallback or white-space handling differ).
      ExchangedTokenizerError: it is not the one that the folder's manifest names.
    """

    def __init__(self, folder: str | os.PathLike):
        self.path = Path(folder) / MODEL_NAME
        if not self.path.is_file():
            raise TokenizerError(
                f"{folder} has no {MODEL_NAME}; train one with "
                "`python -m opencoder_jax.train_tokenizer`"
            )
        digest = file_sha256(self.path)
        _refuse_exchanged(self.path, digest)
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_file=str(self.path))
        except (RuntimeError, OSError) as error:
            raise TokenizerError(f"{self.path}: not a SentencePiece model: {error}") from error
        ids = {name: self._model.piece_to_id(name) for name in CONTROL_TOKENS}
        special = [
            self._model.unk_id(),
            self._model.bos_id(),
            self._model.eos_id(),
            self._model.pad_id(),
        ]
        if special != [UNK, BOS, EOS, PAD] or UNK in ids.values():
            raise TokenizerError(
                f"{self.path}: special ids {special} and control tokens {ids} are not this "
                "project's; train a tokenizer with `python -m opencoder_jax.train_tokenizer`"
            )
        self.control_ids = ids
        self.im_start = ids["<|im_start|>"]
        self.im_end = ids["<|im_end|>"]
        self.bos_ids = (BOS,)
        self.eos_ids = (EOS, self.im_end)
        self.document_start, self.document_end, self.pad = BOS, EOS, PAD
        self._space_mark = [self._model.piece_to_id(piece) for piece in _SPACE_MARK_BYTES]
        self._textless = frozenset({UNK, BOS, EOS, PAD, *ids.values()})
        self.byte_lengths = self._byte_lengths()
        self.fingerprint = digest[:16]
        if self.decode(self.encode(LOSSLESS_PROBE)) != LOSSLESS_PROBE:
            raise TokenizerError(
                f"{self.path} changes text (byte fallback, white space or normalization); "
                "train a tokenizer with `python -m opencoder_jax.train_tokenizer`"
            )

    @property
    def vocab_size(self) -> int:
        return self._model.vocab_size()

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without any special token.

        Raises:
          TokenizerError: `text` holds a lone surrogate, which has no UTF-8 form.
        """
        if SPACE_MARK not in text:
            refuse_surrogates(text)
            return self._model.encode(text)
        ids: list[int] = []
        for index, part in enumerate(text.split(SPACE_MARK)):
            if index:
                ids.extend(self._space_mark)
            ids.extend(self.encode(part))
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; special tokens and ids beyond the vocabulary give no text.

        Bytes that are no UTF-8 (a sampled model may emit half a character) become U+FFFD.
        """
        size = self._model.vocab_size()
        return self._model.decode(
            [i for i in map(int, ids) if 0 <= i < size and i not in self._textless]
        )

    def piece(self, token: int) -> str:
        return self._model.id_to_piece(int(token))

    def _byte_lengths(self) -> np.ndarray:
        lengths = np.zeros(self.vocab_size, np.int32)
        for token in range(self.vocab_size):
            if self._model.is_byte(token):
                lengths[token] = 1
            elif token not in self._textless:
                lengths[token] = len(self.piece(token).replace(SPACE_MARK, " ").encode("utf-8"))
        return lengths


def _refuse_exchanged(path: Path, digest: str) -> None:
    """A manifest beside the model has to be the model's own."""
    if (path.parent / MANIFEST_NAME).exists():
        expected = read_manifest(path.parent)["files"].get(MODEL_NAME, digest)
        if expected != digest:
            raise ExchangedTokenizerError(
                f"{path} was changed: its SHA-256 is {digest[:16]}..., {MANIFEST_NAME} beside it "
                f"says {expected[:16]}...; put the right file back, or train the tokenizer again"
            )
