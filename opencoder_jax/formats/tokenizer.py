"""The project's tokenizer: SentencePiece BPE with byte fallback that keeps every byte.

A tokenizer is a folder with `tokenizer.model` (SentencePiece) and `manifest.json`.
White space and newlines are kept exactly; `decode(encode(x)) == x` for every valid
Unicode string. One trap needs care: SentencePiece writes a space as U+2581, so a
U+2581 in the text would come back as a space; such characters are encoded as their
three byte tokens instead.

Ids 0 to 3 are `<unk> <s> </s> <pad>` (as INF-34B's tokenizer, which the paper uses),
then come the control tokens of ChatML and fill-in-the-middle, then 256 byte tokens.
Control tokens are never produced from text, only by id, so a document that spells
`<|im_end|>` cannot end a turn.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece

from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import file_sha256

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
MODEL_NAME = "tokenizer.model"
_SPACE_MARK = "\u2581"
_SPACE_MARK_BYTES = ("<0xE2>", "<0x96>", "<0x81>")


class TokenizerError(InputError):
    """A tokenizer folder that cannot be used."""


class Tokenizer:
    """Text to ids and back.

    Raises:
      TokenizerError: no `tokenizer.model` in the folder, or one that was not made here
        (special ids, byte fallback or white-space handling differ).
    """

    def __init__(self, folder: str | os.PathLike):
        self.path = Path(folder) / MODEL_NAME
        if not self.path.is_file():
            raise TokenizerError(
                f"{folder} has no {MODEL_NAME}; train one with "
                "`python -m opencoder_jax.train_tokenizer`"
            )
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
        self._space_mark = [self._model.piece_to_id(piece) for piece in _SPACE_MARK_BYTES]
        self.fingerprint = file_sha256(self.path)[:16]

    @property
    def vocab_size(self) -> int:
        return self._model.vocab_size()

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without any special token."""
        if _SPACE_MARK not in text:
            return self._model.encode(text)
        ids: list[int] = []
        for index, part in enumerate(text.split(_SPACE_MARK)):
            if index:
                ids.extend(self._space_mark)
            ids.extend(self._model.encode(part))
        return ids

    def encode_batch(self, texts: Sequence[str], threads: int = 1) -> list[list[int]]:
        """`encode` of each text; one call into the library where no text needs care."""
        if any(_SPACE_MARK in text for text in texts):
            return [self.encode(text) for text in texts]
        return self._model.encode(list(texts), num_threads=threads)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; special tokens and ids beyond the vocabulary give no text.

        Bytes that are no UTF-8 (a sampled model may emit half a character) become U+FFFD.
        """
        first_text = PAD + 1
        control = set(self.control_ids.values())
        size = self._model.vocab_size()
        return self._model.decode(
            [int(i) for i in ids if first_text <= i < size and i not in control]
        )

    def piece(self, token: int) -> str:
        return self._model.id_to_piece(int(token))
