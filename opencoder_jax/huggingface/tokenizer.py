"""Our SentencePiece tokenizer as `tokenizer.json`, and any `tokenizer.json` as a tokenizer.

SentencePiece joins the adjacent pair whose union scores best; Hugging Face's BPE follows
a list of merges. The list is every way to split every piece into two pieces, best piece
first. White space needs no normalizer: pieces keep a plain space where SentencePiece
writes U+2581, so a real U+2581 in a text is no piece and falls back to its bytes, exactly
as `opencoder_jax.formats.tokenizer` encodes it.

One difference is Hugging Face's own and stays: its tokenizers read `<|im_end|>` spelled in
a text as the control token, ours never does (`encode_special_tokens=True` turns it off).
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
from tokenizers import AddedToken, decoders, models, processors

from opencoder_jax.formats.chat import DEFAULT_SYSTEM
from opencoder_jax.formats.manifest import file_sha256, write_json
from opencoder_jax.formats.tokenizer import BOS, EOS, PAD, SPACE_MARK, UNK, Tokenizer
from opencoder_jax.huggingface.tensors import HuggingFaceError

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"

# What `formats.chat.encode_chat` does, as text.
CHAT_TEMPLATE = (
    "{%- if not messages or messages[0]['role'] != 'system' -%}"
    "{{ '<|im_start|>system\\n" + DEFAULT_SYSTEM + "<|im_end|>\\n' }}"
    "{%- endif -%}"
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)


class HuggingFaceTokenizer:
    """A `tokenizer.json` of any model family.

    Attributes:
      path: of the file.
      fingerprint: 16 hex digits of the file's SHA-256.

    Raises:
      HuggingFaceError: there is no such file, or it is damaged.
    """

    def __init__(self, folder: str | os.PathLike):
        self.path = Path(folder) / TOKENIZER_FILE
        if not self.path.is_file():
            raise HuggingFaceError(f"{folder} has no {TOKENIZER_FILE}")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(self.path))
        except Exception as error:  # The library raises nothing narrower.
            raise HuggingFaceError(f"{self.path} is damaged: {error}") from error
        # A text that spells a control token stays text, as with our own tokenizer.
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.fingerprint = file_sha256(self.path)[:16]

    @property
    def vocab_size(self) -> int:
        return max(self._tokenizer.get_vocab().values()) + 1

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without any special token."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; special tokens give no text."""
        return self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=True)

    def adds_at_start(self) -> tuple[int, ...]:
        """What this tokenizer puts before every text, e.g. a BOS."""
        first = self.encode("a")
        ids = self._tokenizer.encode("a", add_special_tokens=True).ids
        return tuple(ids[: ids.index(first[0])]) if first and first[0] in ids else ()


def write_tokenizer(folder: str | os.PathLike, tokenizer: Tokenizer, max_length: int) -> None:
    """Writes `tokenizer.json`, `tokenizer_config.json` and the SentencePiece model itself.

    Like every training document, a text starts with `<s>`; the chat template, like every
    training conversation, does not.
    """
    folder = Path(folder)
    pieces = _Pieces(tokenizer)
    built = tokenizers.Tokenizer(
        models.BPE(
            vocab=pieces.vocabulary(),
            merges=pieces.merges(),
            unk_token=pieces.text[UNK],
            byte_fallback=True,
            fuse_unk=False,
        )
    )
    built.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    bos = pieces.text[BOS]
    built.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, BOS)]
    )
    special = [UNK, BOS, EOS, PAD, *tokenizer.control_ids.values()]
    built.add_special_tokens(
        [AddedToken(pieces.text[i], normalized=False, special=True) for i in special]
    )
    built.save(str(folder / TOKENIZER_FILE))
    write_json(folder / TOKENIZER_CONFIG_FILE, _tokenizer_config(tokenizer, pieces, max_length))
    (folder / tokenizer.path.name).write_bytes(tokenizer.path.read_bytes())


class _Pieces:
    """The pieces of a SentencePiece model, with plain spaces."""

    def __init__(self, tokenizer: Tokenizer):
        self._model = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer.path))
        size = self._model.vocab_size()
        self.text = [self._model.id_to_piece(i).replace(SPACE_MARK, " ") for i in range(size)]

    def vocabulary(self) -> dict[str, int]:
        return {piece: i for i, piece in enumerate(self.text)}

    def merges(self) -> list[tuple[str, str]]:
        """All splits of all text pieces, best piece first, the longer left part first.

        SentencePiece takes the leftmost of overlapping pairs with the same union; where a
        piece has several splits the longer left part is the one that comes leftmost.
        """
        joined = [i for i in range(len(self.text)) if self._is_text(i)]
        known = {self.text[i] for i in joined}
        merges = []
        for i in sorted(joined, key=self._model.get_score, reverse=True):
            piece = self.text[i]
            merges += [
                (piece[:cut], piece[cut:])
                for cut in range(len(piece) - 1, 0, -1)
                if piece[:cut] in known and piece[cut:] in known
            ]
        return merges

    def _is_text(self, i: int) -> bool:
        model = self._model
        return not (model.is_control(i) or model.is_unknown(i) or model.is_byte(i))


def _tokenizer_config(tokenizer: Tokenizer, pieces: _Pieces, max_length: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": pieces.text[UNK],
        "bos_token": pieces.text[BOS],
        "eos_token": pieces.text[EOS],
        "pad_token": pieces.text[PAD],
        "additional_special_tokens": list(tokenizer.control_ids),
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_length,
        "chat_template": CHAT_TEMPLATE,
    }
