"""Any `tokenizer.json`: the tokenizer of a Hugging Face checkpoint, to run it and to train it.

The file is read by Hugging Face's own library. What the pipeline asks besides is derived
from the folder: which tokens begin and end texts (`tokenizer_config.json`,
`generation_config.json`, `config.json`), and how many bytes of text a token stands for.
That is defined for byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM) and for BPE with byte
fallback that adds no space of its own. A tokenizer that changes texts still runs a model,
but nothing can be packed with it: bits per byte would count other bytes than the text's.
"""

import functools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tokenizers

from opencoder_jax.formats.manifest import file_sha256
from opencoder_jax.formats.tokenizer import (
    CONFIG_FILE,
    GENERATION_CONFIG_FILE,
    LOSSLESS_PROBE,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    TokenizerError,
    read_json_object,
    refuse_surrogates,
)

if TYPE_CHECKING:
    from opencoder_jax.formats.chat_template import ChatTemplate

_SPACE_MARK = "\u2581"
_SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")


class HuggingFaceTokenizer:
    """A `tokenizer.json` of any model family; see `Tokenizer` for what is not said here.

    Attributes:
      path: of the file.
      fingerprint: 16 hex digits of the file's SHA-256.
      special_tokens: `bos_token`, `eos_token`, ... of `tokenizer_config.json`, as text.
      special_ids: text to id of every special token of the vocabulary.
      bos_ids: what this tokenizer puts before every text; empty for most.
      eos_ids: as `generation_config.json` says, else `config.json`, else `eos_token`.

    Raises:
      TokenizerError: there is no such file, or it is damaged.
    """

    def __init__(self, folder: str | os.PathLike):
        self.path = Path(folder) / TOKENIZER_FILE
        if not self.path.is_file():
            raise TokenizerError(f"{folder} has no {TOKENIZER_FILE}")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(self.path))
        except Exception as error:  # The library raises nothing narrower.
            raise TokenizerError(f"{self.path} is damaged: {error}") from error
        # A text that spells a control token stays text, as with our own tokenizer.
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.fingerprint = file_sha256(self.path)[:16]
        added = self._tokenizer.get_added_tokens_decoder()
        self.special_ids = {token.content: i for i, token in added.items() if token.special}
        # White space that a special token takes with it where a template spells it.
        self.strips = {t.content: (t.lstrip, t.rstrip) for t in added.values() if t.special}
        self.special_tokens = self._special_tokens()
        self.bos_ids = self._adds_at_start()
        self.eos_ids = self._eos_ids()

    @property
    def vocab_size(self) -> int:
        return max(self._tokenizer.get_vocab().values()) + 1

    @property
    def document_start(self) -> int:
        """What it puts before every text, else its BOS, else its end of text as GPT-2 does."""
        if self.bos_ids:
            return self.bos_ids[-1]
        bos = self._special_id("bos_token")
        return self.document_end if bos is None else bos

    @property
    def document_end(self) -> int:
        eos = self._special_id("eos_token")
        if eos is None and self.eos_ids:
            eos = self.eos_ids[0]
        if eos is None:
            raise TokenizerError(
                f"{self.path.parent} names no token that ends a document; add eos_token to "
                f"{TOKENIZER_CONFIG_FILE}"
            )
        return eos

    @property
    def pad(self) -> int:
        pad = self._special_id("pad_token")
        return self.document_end if pad is None else pad

    @functools.cached_property
    def byte_lengths(self) -> np.ndarray:
        decoders = _decoder_types(json.loads(self._tokenizer.to_str())["decoder"])
        byte_level = "ByteLevel" in decoders
        lengths = np.zeros(self.vocab_size, np.int32)
        if byte_level or "ByteFallback" in decoders:
            for token, i in self._tokenizer.get_vocab(with_added_tokens=False).items():
                lengths[i] = len(token) if byte_level else _fallback_length(token)
            # An added token that is not special is a piece of text, spelled out.
            for i, added in self._tokenizer.get_added_tokens_decoder().items():
                lengths[i] = 0 if added.special else len(added.content.encode("utf-8"))
        # Some add a space to a text that begins with none.
        if not all(self._keeps(text, lengths) for text in (LOSSLESS_PROBE, "if x")):
            raise TokenizerError(
                f"{self.path} changes text (it normalizes, adds a space, or has no byte-level or "
                "byte-fallback pieces): it can run its model, but no data can be packed with it"
            )
        return lengths

    @functools.cached_property
    def chat_template(self) -> "ChatTemplate":
        """Of the folder; raises `TemplateError` where it has none."""
        # Jinja is for those alone who lay conversations out.
        from opencoder_jax.formats.chat_template import ChatTemplate

        return ChatTemplate(self)

    def encode(self, text: str) -> list[int]:
        refuse_surrogates(text)
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int]) -> str:
        return self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=True)

    def piece(self, token: int) -> str:
        piece = self._tokenizer.id_to_token(int(token))
        if piece is None:
            raise LookupError(f"{self.path} has no token {token}")
        return piece

    def _keeps(self, text: str, byte_lengths: np.ndarray) -> bool:
        ids = self.encode(text)
        kept = self.decode(ids) == text
        return kept and int(byte_lengths[ids].sum()) == len(text.encode("utf-8"))

    def _adds_at_start(self) -> tuple[int, ...]:
        first = self.encode("a")
        ids = self._tokenizer.encode("a", add_special_tokens=True).ids
        return tuple(ids[: ids.index(first[0])]) if first and first[0] in ids else ()

    def _special_tokens(self) -> dict[str, str]:
        folder = self.path.parent
        values = {
            **read_json_object(folder / "special_tokens_map.json"),
            **read_json_object(folder / TOKENIZER_CONFIG_FILE),
        }
        named: dict[str, str] = {}
        for name in _SPECIAL_NAMES:
            token = values.get(name)
            # A token is its text, or an object with it.
            text = token.get("content") if isinstance(token, Mapping) else token
            if isinstance(text, str):
                named[name] = text
        known = self._tokenizer.token_to_id
        unknown = {name: text for name, text in named.items() if known(text) is None}
        if unknown:
            raise TokenizerError(
                f"{folder / TOKENIZER_CONFIG_FILE}: {unknown} is not in {TOKENIZER_FILE}"
            )
        return named

    def _special_id(self, name: str) -> int | None:
        token = self.special_tokens.get(name)
        return None if token is None else self._tokenizer.token_to_id(token)

    def _eos_ids(self) -> tuple[int, ...]:
        for name in (GENERATION_CONFIG_FILE, CONFIG_FILE):
            eos = read_json_object(self.path.parent / name).get("eos_token_id")
            if eos is not None:
                return tuple(eos) if isinstance(eos, list) else (eos,)
        eos = self._special_id("eos_token")
        return () if eos is None else (eos,)


def _decoder_types(decoder: Any) -> set[str]:
    if not decoder:
        return set()
    return {decoder["type"]}.union(*map(_decoder_types, decoder.get("decoders", ())))


def _fallback_length(token: str) -> int:
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return 1
    return len(token.replace(_SPACE_MARK, " ").encode("utf-8"))
