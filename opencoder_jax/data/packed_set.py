"""A packed folder and what its manifest promises; its held-out sequences for evaluation.

Everything that reads packed data opens it here, so a set that is missing, unfinished, cut
short or of another length gives the same clear error everywhere.
"""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from opencoder_jax.errors import InputError
from opencoder_jax.formats import shards
from opencoder_jax.formats.manifest import ManifestError, read_manifest
from opencoder_jax.formats.packed import PackedSequence, decode_packed

SPLITS = ("train", "heldout")


@dataclasses.dataclass(frozen=True, slots=True)
class PackedSet:
    """One side of one packed folder.

    Attributes:
      name: of the set, which is the folder's and the task's.
      split: `train` or `heldout`.
      paths: its shards in order.
      num_records: sequences in all of them.
      sequence_length: S; records have S+1 tokens.
      fingerprint: of the folder's files, from its manifest.
      tokenizer_fingerprint: of the tokenizer that it was made with.
    """

    name: str
    split: str
    paths: tuple[Path, ...]
    num_records: int
    sequence_length: int
    fingerprint: str
    tokenizer_fingerprint: str


def open_packed_set(packed_dir: str | os.PathLike, name: str, split: str) -> PackedSet:
    """The side `split` of the packed folder `packed_dir/name`.

    Raises:
      InputError: no such set or split, not finished, or its shards hold fewer records than
        its manifest says.
    """
    if split not in SPLITS:
        raise InputError(f"split {split!r}, expected one of {SPLITS}")
    folder = Path(packed_dir) / name
    if not folder.is_dir():
        there = sorted(p.parent.name for p in Path(packed_dir).glob("*/manifest.json"))
        raise InputError(
            f"{folder}: no such packed set (in {packed_dir}: {', '.join(there) or 'none'}); "
            "make it with `python -m beam_pipelines.pack`"
        )
    manifest = read_manifest(folder)
    if manifest["job"] != "pack":
        raise ManifestError(f"{folder} was made by {manifest['job']}, not by beam_pipelines.pack")
    try:
        paths = tuple(shards.list_shards(folder, split))
    except FileNotFoundError as error:
        raise InputError(f"{error}; pack the set again") from error
    expected = manifest["counts"][split]["sequences"]
    found = shards.count_records(folder, split)
    if found != expected:
        raise InputError(
            f"{folder}: its {split} shards hold {found} records, its manifest says {expected}; "
            "remove the folder and pack the set again"
        )
    return PackedSet(
        name=name,
        split=split,
        paths=paths,
        num_records=found,
        sequence_length=manifest["config"]["sequence_length"],
        fingerprint=manifest["fingerprint"],
        tokenizer_fingerprint=manifest["inputs"]["tokenizer"],
    )


def heldout_sequences(packed_dir: str | os.PathLike, name: str) -> Iterator[PackedSequence]:
    """The held-out sequences of the set `packed_dir/name`, always in the same order.

    Raises:
      InputError: as `open_packed_set`, at once; there may be none to yield.
    """
    packed_set = open_packed_set(packed_dir, name, "heldout")
    return (
        decode_packed(record) for path in packed_set.paths for record in shards.read_shard(path)
    )
