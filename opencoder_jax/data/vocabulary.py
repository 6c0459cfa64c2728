"""Any tokenizer of ours or of a Hugging Face checkpoint, as a seqio vocabulary.

For seqio tasks that tokenize as they read (`seqio.preprocessors.tokenize`), T5X's metrics
and whatever else asks a feature for its vocabulary. Packed sets hold ids already and need
none. In gin:

    seqio.Feature.vocabulary = @vocabulary.TokenizerVocabulary()
    vocabulary.TokenizerVocabulary.folder = 'runs/imported/tokenizer'

Imports seqio, and with it TensorFlow, as `mixtures` does.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # No greetings on stderr.

import seqio
import tensorflow as tf

from opencoder_jax.formats.tokenizer import Tokenizer, open_tokenizer


class TokenizerVocabulary(seqio.Vocabulary):
    """The tokenizer of a folder, opened when it is first asked.

    Two vocabularies are equal where their tokenizers' fingerprints are, as seqio demands of
    the tasks of a mixture. seqio pads with 0 whatever a vocabulary says; `pad_id` is that.

    Raises:
      InputError: when first used: the folder holds no tokenizer.
    """

    def __init__(self, folder: str | os.PathLike, extra_ids: int = 0):
        """Args:
        folder: with `tokenizer.model` of this project, or any `tokenizer.json`.
        extra_ids: ids beyond the tokenizer's, for sentinels.
        """
        super().__init__(extra_ids=extra_ids)
        self._folder = os.fspath(folder)
        self._opened: Tokenizer | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        if self._opened is None:
            self._opened = open_tokenizer(self._folder)
        return self._opened

    @property
    def bos_id(self) -> int:
        """What a document starts with in packed sets."""
        return self.tokenizer.document_start

    @property
    def eos_id(self) -> int:
        """What a document ends with in packed sets; `seqio.preprocessors.append_eos` adds it."""
        return self.tokenizer.document_end

    @property
    def unk_id(self) -> None:
        """None: no text is unknown to a tokenizer that falls back to bytes."""

    @property
    def _base_vocab_size(self) -> int:
        return self.tokenizer.vocab_size

    def _encode(self, s: str) -> Sequence[int]:
        return self.tokenizer.encode(s)

    def _decode(self, ids: Iterable[int]) -> str:
        return self.tokenizer.decode(ids)

    def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
        def encode(text: tf.Tensor) -> Any:
            return tf.constant(self.tokenizer.encode(text.numpy().decode("utf-8")), tf.int32)

        return tf.ensure_shape(tf.py_function(encode, [s], tf.int32), [None])

    def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
        def decode(rows: tf.Tensor) -> Any:
            array = rows.numpy()
            if array.ndim == 1:
                return tf.constant(self.tokenizer.decode(array))
            return tf.constant([self.tokenizer.decode(row) for row in array])

        return tf.ensure_shape(tf.py_function(decode, [ids], tf.string), ids.shape[:-1])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TokenizerVocabulary)
            and self.extra_ids == other.extra_ids
            and self.tokenizer.fingerprint == other.tokenizer.fingerprint
        )

    def __hash__(self) -> int:
        return hash((self.tokenizer.fingerprint, self.extra_ids))

    def __str__(self) -> str:
        return f"TokenizerVocabulary({self._folder!r}, extra_ids={self.extra_ids})"
