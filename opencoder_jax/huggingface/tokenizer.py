"""Our SentencePiece tokenizer as `tokenizer.json`; other families' come as they are.

SentencePiece joins the adjacent pair whose union scores best; Hugging Face's BPE follows
a list of merges. The list is every way to split every piece into two pieces, best piece
first. White space needs no normalizer: pieces keep a plain space where SentencePiece
writes U+2581, so a real U+2581 in a text is no piece and falls back to its bytes, exactly
as `opencoder_jax.formats.sentencepiece_tokenizer` encodes it.

One difference is Hugging Face's own and stays: its tokenizers read `<|im_end|>` spelled in
a text as the control token, ours never does (`encode_special_tokens=True` turns it off).
"""

import os
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
from tokenizers import AddedToken, decoders, models, processors

from opencoder_jax.formats.chat import DEFAULT_SYSTEM
from opencoder_jax.formats.manifest import write_json
from opencoder_jax.formats.sentencepiece_tokenizer import (
    BOS,
    EOS,
    PAD,
    SPACE_MARK,
    UNK,
    SentencePieceTokenizer,
)
from opencoder_jax.formats.tokenizer import TOKENIZER_CONFIG_FILE, TOKENIZER_FILE

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


def write_tokenizer(
    folder: str | os.PathLike, tokenizer: SentencePieceTokenizer, max_length: int
) -> None:
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

    def __init__(self, tokenizer: SentencePieceTokenizer):
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


def _tokenizer_config(
    tokenizer: SentencePieceTokenizer, pieces: _Pieces, max_length: int
) -> dict[str, Any]:
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
