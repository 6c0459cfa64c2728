"""What every stage needs of a tokenizer, and the one function that opens any.

Two kinds of folder hold one: the project's own (`tokenizer.model`, made by
`opencoder_jax.train_tokenizer`), and that of any Hugging Face checkpoint (`tokenizer.json`
with `tokenizer_config.json` and its chat template). Packing, training, evaluation and
generation take either and ask for nothing that is not in `Tokenizer`.
Next: `sentencepiece_tokenizer`, `huggingface_tokenizer`; `chat` lays conversations out.
"""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from opencoder_jax.errors import InputError

MODEL_NAME = "tokenizer.model"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
GENERATION_CONFIG_FILE = "generation_config.json"
CONFIG_FILE = "config.json"
# What a folder may hold of a tokenizer, ours or another family's, and what ends its texts.
TOKENIZER_FILES = (
    MODEL_NAME,
    TOKENIZER_FILE,
    TOKENIZER_CONFIG_FILE,
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    GENERATION_CONFIG_FILE,
)
# Comes back from a tokenizer that keeps every byte: white space, control bytes, rare letters.
LOSSLESS_PROBE = "  if x:\r\n\t\treturn\u00a0'\u00e9\u6f22\U0001f600'  \n\n \x00"


class TokenizerError(InputError):
    """A tokenizer folder that cannot be used, or a text that no tokenizer can encode."""


class ExchangedTokenizerError(InputError):
    """A `tokenizer.model` that is not the one of the manifest beside it."""


class Tokenizer(Protocol):
    """Text to ids and back.

    Attributes:
      path: of the file that holds it.
      fingerprint: 16 hex digits of that file's SHA-256.
    """

    path: Path
    fingerprint: str

    @property
    def vocab_size(self) -> int: ...

    @property
    def bos_ids(self) -> tuple[int, ...]:
        """What stands before a text that a model continues; empty where nothing does."""

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Tokens that end a generated text."""

    @property
    def document_start(self) -> int:
        """What a training document begins with, so that its first token is predicted too."""

    @property
    def document_end(self) -> int:
        """What a training document ends with."""

    @property
    def pad(self) -> int:
        """What fills a sequence up; never seen by loss or attention."""

    @property
    def byte_lengths(self) -> np.ndarray:
        """int32[V], UTF-8 bytes of text that each id stands for; 0 for special tokens.

        The sum over `encode(text)` is the length of `text` in UTF-8.

        Raises:
          TokenizerError: the tokenizer changes texts, so that no such sum holds.
        """

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without any special token, even where the text spells one.

        Raises:
          TokenizerError: `text` holds a lone surrogate, which has no UTF-8 form.
        """

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; special tokens give no text."""

    def piece(self, token: int) -> str:
        """How the vocabulary spells a token.

        Raises:
          LookupError: there is no such token.
        """


def open_tokenizer(folder: str | os.PathLike) -> Tokenizer:
    """The tokenizer in a folder: the project's own, or else a `tokenizer.json`.

    Raises:
      TokenizerError: there is none, or it cannot be used.
      ExchangedTokenizerError: it is not the one that the folder's manifest names.
    """
    # Here, because a machine that cleans documents has only one of the two libraries.
    from opencoder_jax.formats.sentencepiece_tokenizer import SentencePieceTokenizer

    try:
        return SentencePieceTokenizer(folder)
    except TokenizerError:
        # A folder of another family may have a SentencePiece model that is not ours.
        if not (Path(folder) / TOKENIZER_FILE).is_file():
            raise
    from opencoder_jax.formats.huggingface_tokenizer import HuggingFaceTokenizer

    return HuggingFaceTokenizer(folder)


def copy_tokenizer(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Copies what `open_tokenizer` needs; `target` exists.

    Which tokens end a text may stand in the model's `config.json` alone; they are kept as
    a `generation_config.json`.
    """
    source, target = Path(source), Path(target)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    if not (target / GENERATION_CONFIG_FILE).exists():
        values = read_json_object(source / CONFIG_FILE)
        ids = {name: value for name, value in values.items() if name in SPECIAL_ID_KEYS}
        if ids:
            (target / GENERATION_CONFIG_FILE).write_text(json.dumps(ids, indent=1) + "\n")


SPECIAL_ID_KEYS = ("bos_token_id", "eos_token_id", "pad_token_id")


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds one object; empty where there is no file.

    Raises:
      TokenizerError: it holds something else.
    """
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TokenizerError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise TokenizerError(f"{path}: expected a JSON object")
    return value


def refuse_surrogates(text: str) -> None:
    """Refuses what has no UTF-8 form.

    Raises:
      TokenizerError: with the character's place.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"text with a lone surrogate at character {error.start} cannot be encoded; "
            "it was not read as valid UTF-8"
        ) from error
