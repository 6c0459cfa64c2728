"""Records of a set to items: documents whole, conversations in ChatML.

A document becomes `<s>` tokens `</s>`. The `<s>` is there so that the first real token is
predicted too: bits per byte then covers every byte of the text. A conversation that does
not fit into one sequence is dropped, never cut: an answer without its end teaches a model
not to end (the released `sft/scripts` cut to 1,216 and 1,500 tokens).
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import apache_beam as beam
import numpy as np

from beam_pipelines.accounting import SAMPLE_CHARACTERS, Drop
from beam_pipelines.packing.items import Item
from opencoder_jax.formats.chat import encode_chat
from opencoder_jax.formats.conversation import Conversation, decode_conversation
from opencoder_jax.formats.document import Document, decode_document
from opencoder_jax.formats.tokenizer import BOS, EOS, Tokenizer

DROPPED: Final = "dropped"


def document_item(document: Document, tokenizer: Tokenizer) -> Item:
    tokens = np.array([BOS, *tokenizer.encode(document.text), EOS], dtype="<i4")
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


def conversation_item(conversation: Conversation, tokenizer: Tokenizer) -> Item:
    ids, weights = encode_chat(conversation.messages, tokenizer)
    answers = [content for role, content in conversation.messages if role == "assistant"]
    return Item(
        id=conversation.id,
        repo=conversation.repo,
        path="",
        language=conversation.language,
        duplicate_cluster=conversation.id,
        text_bytes=sum(len(answer.encode("utf-8")) for answer in answers),
        token_data=np.array(ids, dtype="<i4").tobytes(),
        weight_data=np.array(weights, np.int8).tobytes(),
        splittable=False,
    )


class TokenizeRecords(beam.DoFn):
    """Serialized records to items; those that cannot be packed go to the output `DROPPED`."""

    def __init__(self, kind: str, tokenizer_dir: str, sequence_length: int) -> None:
        """Args:
        kind: `documents` or `conversations`.
        tokenizer_dir: folder that every worker can read.
        sequence_length: S.
        """
        super().__init__()
        self._kind = kind
        self._tokenizer_dir = tokenizer_dir
        self._sequence_length = sequence_length

    def setup(self) -> None:
        self._tokenizer = Tokenizer(self._tokenizer_dir)

    def process(
        self, record: bytes
    ) -> Iterator[Item | beam.pvalue.TaggedOutput[Literal["dropped"], Drop]]:
        if self._kind == "documents":
            yield document_item(decode_document(record), self._tokenizer)
            return
        conversation = decode_conversation(record)
        item = conversation_item(conversation, self._tokenizer)
        if len(item.tokens) <= self._sequence_length + 1:
            yield item
        else:
            yield beam.pvalue.TaggedOutput(
                DROPPED, too_long(item, conversation.messages, self._sequence_length)
            )


def too_long(item: Item, messages: Sequence[tuple[str, str]], sequence_length: int) -> Drop:
    """The drop of a conversation that does not fit into a sequence."""
    return Drop(
        id=item.id,
        repo=item.repo,
        path=item.path,
        language=item.language,
        reason="too_long",
        signal="tokens",
        value=float(len(item.tokens)),
        threshold=f"> {sequence_length + 1}",
        sample="\n".join(content for _, content in messages)[:SAMPLE_CHARACTERS],
    )
