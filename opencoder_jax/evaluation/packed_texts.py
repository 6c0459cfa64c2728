"""Texts of a packed set again, from its tokens: what was trained on, when the sources are gone.

A packed folder's manifest names its tokenizer by fingerprint, and its `config.gin` says where
that lay. A document that was rearranged to fill a gap is put back in order. One that is longer
than a sequence lies in pieces, in any order and any shard; so that words on both sides of a
cut are seen together, the ends of pieces are kept and joined where they overlap (packing
repeats a piece's last token as the first of the next).
"""

import ast
import collections
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from opencoder_jax.data.packed_set import open_packed_set, sequences
from opencoder_jax.errors import InputError
from opencoder_jax.formats.infilling import InfillTokens, infill_tokens
from opencoder_jax.formats.manifest import read_manifest
from opencoder_jax.formats.tokenizer import Tokenizer, TokenizerError, open_tokenizer

# Tokens kept on each side of a cut: more than ten words of code take.
_SEAM = 128


class PackedTexts:
    """The texts of a packed folder's training side, a list a sequence.

    Iterating gives lists of (document id, text of it or of a piece of it).
    """

    def __init__(self, folder: Path, tokenizers: Sequence[Tokenizer]) -> None:
        """Args:
        folder: that `beam_pipelines.pack` made.
        tokenizers: that may have packed it.

        Raises:
          InputError: the folder is damaged, or its tokenizer is nowhere.
        """
        self._set = open_packed_set(folder.parent, folder.name, "train")
        self._tokenizer = _tokenizer_of(folder, tokenizers)
        self._byte_lengths = self._tokenizer.byte_lengths
        self._infill: InfillTokens | None = None
        if read_manifest(folder)["config"].get("infilling"):
            self._infill = infill_tokens(self._tokenizer)
        self._heads: dict[str, list[tuple[int, np.ndarray]]] = collections.defaultdict(list)
        self._tails: dict[str, list[tuple[int, np.ndarray]]] = collections.defaultdict(list)

    def __len__(self) -> int:
        """Sequences."""
        return self._set.num_records

    def __iter__(self) -> Iterator[list[tuple[str, str]]]:
        number = 0
        for sequence in sequences(self._set):
            found = []
            for segment, identity in enumerate(sequence.document_ids, start=1):
                number += 1
                tokens = sequence.tokens[sequence.segment_ids == segment]
                self._keep_ends(identity, number, tokens)
                found.append((identity, self._text(tokens)))
            yield found

    def seams(self) -> Iterator[tuple[str, str]]:
        """(document id, text) around each cut of a document, once all sequences were read."""
        for identity, tails in self._tails.items():
            for number, tail in tails:
                for other, head in self._heads.get(identity, ()):
                    if other != number and head[0] == tail[-1]:
                        yield identity, self._text(np.concatenate([tail, head[1:]]))

    def _keep_ends(self, identity: str, number: int, tokens: np.ndarray) -> None:
        # What is whole begins and ends with a special token, a conversation too. All pieces of a
        # document but its last fill a sequence. Copies: a view keeps the whole sequence alive.
        full = len(tokens) == self._set.sequence_length + 1
        if full and self._byte_lengths[tokens[-1]]:
            self._tails[identity].append((number, tokens[-_SEAM:].copy()))
        if self._byte_lengths[tokens[0]]:
            self._heads[identity].append((number, tokens[:_SEAM].copy()))

    def _text(self, tokens: np.ndarray) -> str:
        ids = tokens.tolist()
        if self._infill and self._infill.middle in ids:
            ids = _in_order(ids, self._infill)
        return self._tokenizer.decode(ids)


def _in_order(ids: list[int], infill: InfillTokens) -> list[int]:
    """A rearranged document as it was; with the suffix first, prefix and middle are one part."""
    prefix, suffix, middle = (ids.index(token) for token in infill)
    return [*ids[:prefix], *ids[prefix + 1 : suffix], *ids[middle + 1 :], *ids[suffix + 1 : middle]]


def _tokenizer_of(folder: Path, tokenizers: Sequence[Tokenizer]) -> Tokenizer:
    wanted = read_manifest(folder)["inputs"]["tokenizer"]
    for tokenizer in tokenizers:
        if tokenizer.fingerprint == wanted:
            return tokenizer
    recorded = recorded_path(folder, "TOKENIZER_DIR", "tokenizer_dir")
    where = "its config.gin does not say where that was"
    if recorded:
        try:
            tokenizer = open_tokenizer(recorded)
            if tokenizer.fingerprint == wanted:
                return tokenizer
            where = f"{recorded} holds another one now"
        except TokenizerError as error:
            where = str(error)
    raise InputError(
        f"{folder} was packed with tokenizer {wanted}, which is not the evaluated model's, and "
        f"{where}: search the folder of documents that it was packed from instead"
    )


def recorded_path(folder: Path, *names: str) -> str:
    """What a folder's `config.gin` sets the first of some macros or parameters to; else empty."""
    path = folder / "config.gin"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for name in names:
        pattern = rf"^(?:\S+\.)?{name}\s*=\s*\\?\s*('(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\")\s*$"
        found = re.search(pattern, text, re.MULTILINE)
        if found:
            return ast.literal_eval(found[1])
    return ""
