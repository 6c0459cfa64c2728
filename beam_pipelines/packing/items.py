"""A tokenized text on its way into sequences: a document or a conversation.

What differs between the two (which tokens are predicted, whether a long one may be cut)
is settled in `tokenize`; from there on the job knows only items.
Next: `heldout` puts each on a side, `sequences` packs those of a group.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """Tokens of one text and what has to be known of it later.

    Tokens and weights are kept as bytes: four bytes a token between the stages of a job,
    where Python integers would take thirty.

    Attributes:
      id: of the document or conversation.
      repo: decides the side of the held-out split.
      path: for the accounting; empty for conversations.
      language: lower-case Linguist name.
      duplicate_cluster: of near duplicates; own id where it has none.
      text_bytes: UTF-8 bytes that the predicted tokens stand for.
      token_data: little-endian int32[n].
      weight_data: int8[n], 1 where the token is to be predicted.
      splittable: whether it may be cut where it is longer than a sequence.
      infilling: whether it is rearranged to a gap and its filling.
    """

    id: str
    repo: str
    path: str
    language: str
    duplicate_cluster: str
    text_bytes: int
    token_data: bytes
    weight_data: bytes
    splittable: bool
    infilling: bool = False

    @property
    def tokens(self) -> np.ndarray:
        """int32[n]."""
        return np.frombuffer(self.token_data, dtype="<i4")

    @property
    def weights(self) -> np.ndarray:
        """int8[n]."""
        return np.frombuffer(self.weight_data, dtype=np.int8)
