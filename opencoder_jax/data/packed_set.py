"""A packed folder and what its manifest promises; its held-out sequences for evaluation.

Everything that reads packed data opens it here, so a set that is missing, unfinished, cut
short or of another length gives the same clear error everywhere. Opening a set reads its
manifest and lists its folder, on this machine or in a store: shards that are missing or of
another size are named at once, and none is opened, so thousands of them take no time. Next:
`records` reads single records.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

from opencoder_jax.data import stores
from opencoder_jax.data.gathered_sets import set_folder, set_folders
from opencoder_jax.data.records import Shard, ShardRecords
from opencoder_jax.errors import InputError
from opencoder_jax.formats import shards
from opencoder_jax.formats.manifest import ManifestError
from opencoder_jax.formats.packed import PackedSequence, decode_packed

SPLITS = ("train", "heldout")
# The packed folders of a run (docs/architecture.md).
PACKED_TASKS = ("refinecode", "algorithmic_corpus", "code_snippets", "sft_stage1", "sft_stage2")
# An error names so many shards.
_NAMED = 5


@dataclasses.dataclass(frozen=True, slots=True)
class PackedSet:
    """One side of one packed folder.

    Attributes:
      name: of the set, which is the folder's and the task's.
      split: `train` or `heldout`.
      shards: its files in order.
      sequence_length: S; records have S+1 tokens.
      fingerprint: of the folder's files, from its manifest.
      tokenizer_fingerprint: of the tokenizer that it was made with.
      predicted_tokens: that the loss counts, in all sequences; None where the manifest does
        not tell.
    """

    name: str
    split: str
    shards: tuple[Shard, ...]
    sequence_length: int
    fingerprint: str
    tokenizer_fingerprint: str
    predicted_tokens: int | None = None

    @property
    def num_records(self) -> int:
        """Sequences in all shards."""
        return sum(shard.num_records for shard in self.shards)


def open_packed_set(packed_dir: str | os.PathLike, name: str, split: str) -> PackedSet:
    """The side `split` of the packed folder `packed_dir/name`, or of what it stands for.

    Raises:
      InputError: no such set or split, not finished, or its shards are not those that its
        manifest names.
    """
    if split not in SPLITS:
        raise InputError(f"split {split!r}, expected one of {SPLITS}")
    packed_dir = os.fspath(packed_dir).rstrip("/")
    folder = set_folder(packed_dir, name)
    if not stores.is_remote(folder) and not os.path.isdir(folder):
        there = ", ".join(set_folders(packed_dir)) or "none"
        raise InputError(
            f"{folder}: no such packed set (in {packed_dir}: {there}); "
            "make it with `python -m beam_pipelines.pack`"
        )
    manifest = stores.read_manifest(folder)
    if manifest["job"] != "pack":
        raise ManifestError(f"{folder} was made by {manifest['job']}, not by beam_pipelines.pack")
    counts = manifest["counts"][split]
    if "shards" in counts:
        found = _listed_shards(folder, counts["shards"])
    else:
        found = _opened_shards(folder, split)
    packed_set = PackedSet(
        name=name,
        split=split,
        shards=found,
        sequence_length=manifest["config"]["sequence_length"],
        fingerprint=manifest["fingerprint"],
        tokenizer_fingerprint=manifest["inputs"]["tokenizer"],
        predicted_tokens=counts.get("predicted_tokens"),
    )
    if packed_set.num_records != counts["sequences"]:
        raise InputError(
            f"{folder}: its {split} shards hold {packed_set.num_records} records, its manifest "
            f"says {counts['sequences']}; remove the folder and pack the set again"
        )
    return packed_set


def heldout_sequences(packed_dir: str | os.PathLike, name: str) -> Iterator[PackedSequence]:
    """The held-out sequences of the set `packed_dir/name`, always in the same order.

    Raises:
      InputError: as `open_packed_set`, at once; there may be none to yield.
    """
    return sequences(open_packed_set(packed_dir, name, "heldout"))


def sequences(packed_set: PackedSet) -> Iterator[PackedSequence]:
    """The sequences of an opened set in the order of its records, read as they are asked for."""
    records = ShardRecords(packed_set.shards)
    return (decode_packed(records[index]) for index in range(len(records)))


def _listed_shards(folder: str, promised: Mapping[str, Any]) -> tuple[Shard, ...]:
    """The shards of the manifest, compared with a listing of the folder."""
    sizes = stores.file_sizes(folder)
    missing = [name for name in sorted(promised) if name not in sizes]
    if missing:
        raise InputError(f"{folder} lacks {_some(missing)}; copy it anew, or pack the set again")
    other = [
        f"{name} ({sizes[name]} bytes, not {entry['bytes']})"
        for name, entry in sorted(promised.items())
        if sizes[name] not in (None, entry["bytes"])
    ]
    if other:
        raise InputError(
            f"{folder}: damaged or cut short: {_some(other)}; copy it anew, or pack the set again"
        )
    return tuple(
        Shard(f"{folder}/{name}", entry["records"], entry["bytes"])
        for name, entry in sorted(promised.items())
    )


def _opened_shards(folder: str, split: str) -> tuple[Shard, ...]:
    """The shards of a set whose manifest does not name them yet; each has to be opened."""
    if stores.is_remote(folder):
        raise InputError(
            f"{folder}: its manifest names no shards, as those of earlier versions; pack the set "
            "again, or copy it to this machine"
        )
    try:
        paths = shards.list_shards(folder, split)
    except FileNotFoundError as error:
        raise InputError(f"{error}; pack the set again") from error
    found = []
    for path in paths:
        with shards.open_shard(path) as reader:
            found.append(Shard(os.fspath(path), reader.num_records(), path.stat().st_size))
    return tuple(found)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
