"""Fill-in-the-middle: what stands before a gap and after it, as tokens, and a training text.

Prefix, suffix, middle (Bavarian et al. 2022, arXiv 2207.14255), between the special tokens
that the tokenizer has for it. That a tokenizer has them does not say that its model was trained
with them: the paper's models were not. `beam_pipelines.packing.infilling` lays out training
texts so.
"""

from typing import NamedTuple

from opencoder_jax.errors import InputError
from opencoder_jax.formats.huggingface_tokenizer import HuggingFaceTokenizer
from opencoder_jax.formats.sentencepiece_tokenizer import SentencePieceTokenizer
from opencoder_jax.formats.tokenizer import Tokenizer

# Prefix, suffix, middle, as tokenizers in use call them.
_NAMES = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<PRE>", "<SUF>", "<MID>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
)


class InfillTokens(NamedTuple):
    """Ids of the special tokens that stand before each of the three parts."""

    prefix: int
    suffix: int
    middle: int


def infill_ids(prefix: str, suffix: str, tokenizer: Tokenizer) -> list[int]:
    """Tokens after which a model writes what belongs between `prefix` and `suffix`.

    Raises:
      InputError: the tokenizer has no tokens for it.
    """
    first, second, third = infill_tokens(tokenizer)
    before, after = tokenizer.encode(prefix), tokenizer.encode(suffix)
    return [*tokenizer.bos_ids, first, *before, second, *after, third]


def infill_tokens(tokenizer: Tokenizer) -> InfillTokens:
    """The tokenizer's tokens for it.

    Raises:
      InputError: it has none.
    """
    known: dict[str, int] = {}
    if isinstance(tokenizer, SentencePieceTokenizer):
        known = tokenizer.control_ids
    elif isinstance(tokenizer, HuggingFaceTokenizer):
        known = tokenizer.special_ids
    for names in _NAMES:
        if all(name in known for name in names):
            return InfillTokens(*(known[name] for name in names))
    raise InputError(
        f"{tokenizer.path} has no fill-in-the-middle tokens: its model cannot fill gaps"
    )
