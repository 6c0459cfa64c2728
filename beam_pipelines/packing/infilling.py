"""Documents rearranged so that a model learns to fill gaps: prefix, suffix, then the middle.

The transform of Bavarian et al. 2022 (arXiv 2207.14255), on characters and whole documents: a
share of the training documents is cut at two places, and the part between them is put last,
behind the special tokens that `opencoder_jax.formats.infilling` writes into prompts. Of those
a share has the suffix first (their SPM, as the StarCoder models have it), which keeps
prefix and middle together. What is chosen and where it is cut is a hash of the document's
id. A document that would not fit into one sequence stays as it is, for a part of it would be a
gap without its ends; so does everything held out, whose bits per byte are of plain text.
"""

import dataclasses
from collections.abc import Iterator

import apache_beam as beam
import numpy as np

from beam_pipelines.packing.items import Item
from opencoder_jax.errors import InputError
from opencoder_jax.formats.infilling import infill_tokens
from opencoder_jax.formats.split import hash_fraction
from opencoder_jax.formats.tokenizer import Tokenizer, open_tokenizer


@dataclasses.dataclass(frozen=True, slots=True)
class InfillSettings:
    """How many documents are rearranged, and how.

    Attributes:
      rate: share of training documents; 0 for none.
      suffix_first: share of those with the suffix before the prefix.
      seed: of the choices.
    """

    rate: float = 0.0
    suffix_first: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rate", "suffix_first"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"fim_{name} is {getattr(self, name)}, expected 0 to 1")


class RearrangeToInfill(beam.DoFn):
    """Items to items, a share of them rearranged."""

    def __init__(self, settings: InfillSettings, tokenizer_dir: str, sequence_length: int) -> None:
        """Args:
        settings: which, and how.
        tokenizer_dir: folder that every worker can read.
        sequence_length: S; what has more than S + 1 tokens stays as it is.
        """
        super().__init__()
        self._settings = settings
        self._tokenizer_dir = tokenizer_dir
        self._longest = sequence_length + 1

    def setup(self) -> None:
        self._tokenizer = open_tokenizer(self._tokenizer_dir)

    def process(self, item: Item) -> Iterator[Item]:
        yield rearranged(item, self._settings, self._tokenizer, self._longest) or item


def rearranged(
    item: Item, settings: InfillSettings, tokenizer: Tokenizer, longest: int
) -> Item | None:
    """A document's item with a gap and its filling; None where it stays as it is."""

    def chance(of: str) -> float:
        return hash_fraction("infill", of, settings.seed, item.id)

    if not item.splittable or chance("whether") >= settings.rate:
        return None
    begin, *tokens, end = item.tokens.tolist()
    text = tokenizer.decode(tokens)
    # Each of the places between characters, the text's ends included, is as likely.
    first, second = sorted(int(chance(of) * (len(text) + 1)) for of in ("one", "other"))
    prefix, middle, suffix = (
        tokenizer.encode(part) for part in (text[:first], text[first:second], text[second:])
    )
    parts = infill_tokens(tokenizer)
    if chance("order") < settings.suffix_first:
        # The special tokens are where a prompt with an empty prefix has them.
        before = [parts.prefix, parts.suffix, *suffix, parts.middle, *prefix]
    else:
        before = [parts.prefix, *prefix, parts.suffix, *suffix, parts.middle]
    ids = np.array([begin, *before, *middle, end], dtype="<i4")
    # Special tokens are a prompt's: nothing that a model should write by itself.
    weights = (~np.isin(ids, parts)).astype(np.int8)
    weights[0] = 0
    text_bytes = int(tokenizer.byte_lengths[ids[weights == 1]].sum())
    # Some tokenizers write a text otherwise when it is cut.
    if len(ids) > longest or text_bytes != item.text_bytes:
        return None
    return dataclasses.replace(
        item, token_data=ids.tobytes(), weight_data=weights.tobytes(), infilling=True
    )
