"""Records of a set to items: documents whole, conversations in the tokenizer's chat layout.

A document becomes `<s>` tokens `</s>` (or what begins and ends a text with a foreign
tokenizer). The `<s>` is there so that the first real token is predicted too: bits per byte
then covers every byte of the text. A conversation that does not fit into one sequence is
dropped, never cut: an answer without its end teaches a model not to end (the released
`sft/scripts` cut to 1,216 and 1,500 tokens).

Some foreign tokenizers normalize rare characters: a text whose tokens do not stand for its
bytes is dropped too, for its bits per byte would be of another text.
"""

from collections.abc import Iterator
from typing import Final, Literal

import apache_beam as beam
import numpy as np

from beam_pipelines.accounting import SAMPLE_CHARACTERS, Drop
from beam_pipelines.packing.items import Item
from opencoder_jax.formats.chat import encode_chat
from opencoder_jax.formats.conversation import Conversation, decode_conversation
from opencoder_jax.formats.document import Document, decode_document
from opencoder_jax.formats.tokenizer import Tokenizer, open_tokenizer

DROPPED: Final = "dropped"


def document_item(document: Document, tokenizer: Tokenizer) -> Item:
    tokens = np.array(
        [tokenizer.document_start, *tokenizer.encode(document.text), tokenizer.document_end],
        dtype="<i4",
    )
    weights = np.ones(len(tokens), np.int8)
    weights[0] = 0
    return Item(
        id=document.id,
        repo=document.repo,
        path=document.path,
        language=document.language,
        duplicate_cluster=document.duplicate_cluster or document.id,
        text_bytes=len(document.text.encode("utf-8")),
        token_data=tokens.tobytes(),
        weight_data=weights.tobytes(),
        splittable=True,
    )


def conversation_item(
    conversation: Conversation, tokenizer: Tokenizer, last_answer_only: bool = False
) -> Item:
    ids, weights, text_bytes = encode_chat(conversation.messages, tokenizer, last_answer_only)
    return Item(
        id=conversation.id,
        repo=conversation.repo,
        path="",
        language=conversation.language,
        duplicate_cluster=conversation.id,
        text_bytes=text_bytes,
        token_data=np.array(ids, dtype="<i4").tobytes(),
        weight_data=np.array(weights, np.int8).tobytes(),
        splittable=False,
    )


class TokenizeRecords(beam.DoFn):
    """Serialized records to items; those that cannot be packed go to the output `DROPPED`."""

    def __init__(
        self,
        kind: str,
        tokenizer_dir: str,
        sequence_length: int,
        last_answer_only: bool = False,
    ) -> None:
        """Args:
        kind: `documents` or `conversations`.
        tokenizer_dir: folder that every worker can read.
        sequence_length: S.
        last_answer_only: of a conversation the last answer alone is predicted.
        """
        super().__init__()
        self._kind = kind
        self._last_answer_only = last_answer_only
        self._tokenizer_dir = tokenizer_dir
        self._sequence_length = sequence_length

    def setup(self) -> None:
        self._tokenizer = open_tokenizer(self._tokenizer_dir)

    def process(
        self, record: bytes
    ) -> Iterator[Item | beam.pvalue.TaggedOutput[Literal["dropped"], Drop]]:
        if self._kind == "documents":
            document = decode_document(record)
            item = document_item(document, self._tokenizer)
            sample = document.text
        else:
            conversation = decode_conversation(record)
            item = conversation_item(conversation, self._tokenizer, self._last_answer_only)
            sample = "\n".join(content for _, content in conversation.messages)
        drop = changed(item, self._tokenizer.byte_lengths, sample)
        if not drop and not item.splittable and len(item.tokens) > self._sequence_length + 1:
            drop = too_long(item, sample, self._sequence_length)
        yield beam.pvalue.TaggedOutput(DROPPED, drop) if drop else item


def changed(item: Item, byte_lengths: np.ndarray, sample: str) -> Drop | None:
    """The drop of a text whose tokens stand for other bytes than its own."""
    found = int(byte_lengths[item.tokens[item.weights == 1]].sum())
    if found == item.text_bytes:
        return None
    return _drop(
        item,
        "changed_by_tokenizer",
        "bytes",
        found,
        threshold=f"!= {item.text_bytes}",
        sample=sample,
    )


def too_long(item: Item, sample: str, sequence_length: int) -> Drop:
    """The drop of a conversation that does not fit into a sequence."""
    return _drop(
        item,
        "too_long",
        "tokens",
        len(item.tokens),
        threshold=f"> {sequence_length + 1}",
        sample=sample,
    )


def _drop(item: Item, reason: str, signal: str, value: int, *, threshold: str, sample: str) -> Drop:
    return Drop(
        id=item.id,
        repo=item.repo,
        path=item.path,
        language=item.language,
        reason=reason,
        signal=signal,
        value=float(value),
        threshold=threshold,
        sample=sample[:SAMPLE_CHARACTERS],
    )
