"""Tokenizes a set and packs it into training sequences of exactly S+1 tokens.

Reads a folder of `documents-*` or `conversations-*`, writes `train-*` and `heldout-*`
shards of `opencoder_jax.formats.packed` records, `dropped/`, and a manifest with the
counts. Texts are packed by best fit inside a fixed number of groups chosen by a hash of
the text's id, then all sequences are put in the order of a hash of their content: the
records depend on the set and the settings, never on how the job ran.

Every text has to come out, and every token and byte of it exactly once; the job checks
that on what it wrote. `docs/data.md` explains; `opencoder_jax/data/` reads the result.
"""

import collections
import dataclasses
import hashlib
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import apache_beam as beam

from beam_pipelines import accounting, runner, sinks, ticks
from beam_pipelines.packing import heldout
from beam_pipelines.packing.infilling import InfillSettings, RearrangeToInfill
from beam_pipelines.packing.items import Item
from beam_pipelines.packing.sequences import Counts, Vocabulary, item_counts, pack, sequence_counts
from beam_pipelines.packing.tokenize import DROPPED, TokenizeRecords
from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.formats import chat, shards
from opencoder_jax.formats.infilling import infill_tokens
from opencoder_jax.formats.manifest import already_done, fingerprint, read_manifest, write_manifest
from opencoder_jax.formats.packed import encode_packed
from opencoder_jax.formats.sentencepiece_tokenizer import SentencePieceTokenizer
from opencoder_jax.formats.split import hash_fraction
from opencoder_jax.formats.tokenizer import Tokenizer, open_tokenizer
from opencoder_jax.timing import timed

JOB = "pack"
KINDS = ("documents", "conversations")
COUNTS_NAME = ".counts.json"
# What the items of a side add up to, the sequences must as well.
CONSERVED = ("documents", "predicted_tokens", "text_bytes")
_ITEM_COUNTS = "items"
_SEQUENCE_COUNTS: Final = "sequences"
TRAIN, HELDOUT = SIDES = heldout.Sides._fields[:2]


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What the records depend on, besides the set and the tokenizer (see `pack_set`)."""

    sequence_length: int
    num_shards: int
    heldout_fraction: float
    heldout_seed: int
    shuffle_seed: int

    def __post_init__(self) -> None:
        for name in ("sequence_length", "num_shards"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not 0 <= self.heldout_fraction < 1:
            raise InputError(
                f"heldout_fraction is {self.heldout_fraction}, expected 0 <= fraction < 1"
            )

    def shards_of(self, side: str) -> int:
        """Groups and files of a side: the held-out one has as many as its share asks for."""
        if side == TRAIN:
            return self.num_shards
        return max(1, math.ceil(self.num_shards * self.heldout_fraction))


def pack_set(
    input_dir: str,
    tokenizer_dir: str,
    output_dir: str,
    sequence_length: int,
    num_shards: int,
    heldout_fraction: float,
    heldout_seed: int = 0,
    shuffle_seed: int = 0,
    fim_rate: float = 0.0,
    fim_suffix_first: float = 0.5,
    fim_seed: int = 0,
    last_answer_only: bool = False,
    pipeline_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Packs one set of documents or conversations.

    Args:
      input_dir: finished folder with `documents-*` or `conversations-*` shards.
      tokenizer_dir: folder of `opencoder_jax.train_tokenizer`, or with the `tokenizer.json`
        of a Hugging Face checkpoint.
      output_dir: gets `train-*`, `heldout-*`, `dropped/`, `manifest.json`; its name is the
        name of the training task.
      sequence_length: S; records have S+1 tokens.
      num_shards: packing groups and files of the training side; a worker holds the tokens
        of one group in memory.
      heldout_fraction: share of repositories held out; the same for all sets of a run.
      heldout_seed: chooses them; the same for all sets of a run.
      shuffle_seed: orders the sequences.
      fim_rate: share of training documents that are rearranged for fill-in-the-middle; the
        paper's models have none.
      fim_suffix_first: share of those with the suffix before the prefix.
      fim_seed: chooses them, and where they are cut.
      last_answer_only: the loss of a conversation falls on its last answer alone; else on all.
      pipeline_args: Beam's own flags.

    Returns:
      The manifest.

    Raises:
      InputError: an input folder is missing, unfinished or damaged, the output was made
        with other settings or another tokenizer, or fill-in-the-middle is asked for of a
        tokenizer without tokens for it, or of conversations, or the last answer of documents.
    """
    infilling = InfillSettings(fim_rate, fim_suffix_first, fim_seed)
    settings = Settings(sequence_length, num_shards, heldout_fraction, heldout_seed, shuffle_seed)
    kind = input_kind(input_dir)
    tokenizer = open_tokenizer(tokenizer_dir)
    vocabulary = Vocabulary(tokenizer.byte_lengths, tokenizer.pad)
    if fim_rate:
        infill_tokens(tokenizer)
        if kind != "documents":
            raise InputError(f"fim_rate is {fim_rate}, but {input_dir} holds {kind}, no documents")
    if last_answer_only and kind == "documents":
        raise InputError(f"last_answer_only is set, but {input_dir} holds documents")
    inputs = {
        "set": read_manifest(input_dir)["fingerprint"],
        "tokenizer": tokenizer.fingerprint,
        **layout_fingerprint(tokenizer, kind),
    }
    config = dataclasses.asdict(settings)
    if fim_rate:
        config |= {"infilling": dataclasses.asdict(infilling)}
    if last_answer_only:
        config |= {"last_answer_only": True}
    manifest = already_done(output_dir, job=JOB, config=config, inputs=inputs)
    if manifest is not None:
        print(f"{output_dir} is finished: nothing to do", file=sys.stderr)
        return manifest
    input_count = shards.count_records(input_dir, kind)
    stages = (ticks.Stage("tokenized", f"pack {Path(output_dir).name}", input_count),)
    with runner.working_folder(output_dir) as work:
        with timed(work), ticks.shown(stages, kind) as ticking:
            with runner.pipeline(pipeline_args) as pipeline:
                records = (
                    pipeline
                    | "Shards" >> beam.Create([str(p) for p in shards.list_shards(input_dir, kind)])
                    | "Read" >> beam.FlatMap(shards.read_shard).with_output_types(bytes)
                    | "Tick" >> ticks.Tick(ticking, "tokenized")
                )
                tokenize = TokenizeRecords(
                    kind, os.fspath(tokenizer_dir), sequence_length, last_answer_only
                )
                infill = (
                    RearrangeToInfill(infilling, os.fspath(tokenizer_dir), sequence_length)
                    if fim_rate
                    else None
                )
                _build(records, tokenize, infill, settings, vocabulary, work)
            summary = checked_counts(work, input_count)
        configuration.write_config_gin(work)
        manifest = write_manifest(work, job=JOB, config=config, inputs=inputs, counts=summary)
    _print_summary(output_dir, summary)
    return manifest


def _build(
    records: beam.PCollection,
    tokenize: TokenizeRecords,
    infill: RearrangeToInfill | None,
    settings: Settings,
    vocabulary: Vocabulary,
    work: Path,
) -> None:
    """The rest of the pipeline: everything that is written to `work`."""
    tokenized = records | "Tokenize" >> beam.ParDo(tokenize).with_outputs(DROPPED, main="items")
    split = tokenized["items"] | "Split" >> heldout.SplitHeldOut(
        settings.heldout_fraction, settings.heldout_seed
    )
    counts: list[beam.PCollection] = []
    train = split.train | "Infill" >> beam.ParDo(infill) if infill else split.train
    for side, items in ((TRAIN, train), (HELDOUT, split.heldout)):
        counts += items | f"Pack {side}" >> PackSide(work, side, settings, vocabulary)
    _ = counts | "Counts" >> beam.Flatten() | sinks.WriteJson(work / COUNTS_NAME)
    _ = (
        (tokenized[DROPPED], split.dropped)
        | "Drops" >> beam.Flatten()
        | "WriteDrops"
        >> sinks.WriteShards(
            work / "dropped", "dropped", 1, accounting.encode_drop, lambda drop: drop.id
        )
    )


class PackedCounts(NamedTuple):
    """What `PackSide` returns: what the items add up to, and what the sequences hold.

    Each a PCollection of one (name, counts) pair.
    """

    items: Any
    sequences: Any


class PackSide(beam.PTransform):
    """Packs the items of one side and writes its shards."""

    def __init__(self, folder: Path, side: str, settings: Settings, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._folder = folder
        self._side = side
        self._settings = settings
        self._vocabulary = vocabulary

    def expand(self, items: beam.PCollection) -> Any:
        num_shards = self._settings.shards_of(self._side)
        packed = (
            items
            | "Group" >> beam.Map(_with_group, num_shards)
            | beam.GroupByKey()
            | "Pack"
            >> beam.ParDo(_PackGroup(self._settings, self._vocabulary)).with_outputs(
                _SEQUENCE_COUNTS, main="records"
            )
        )
        _ = packed["records"] | "Write" >> sinks.WriteShards(
            self._folder, self._side, num_shards, _record_of, _order_of
        )
        wanted = (
            items
            | "CountItems" >> beam.Map(item_counts, self._settings.sequence_length)
            | "SumItems" >> beam.CombineGlobally(add_counts)
            | "NameItems" >> beam.Map(_named, f"{self._side}/{_ITEM_COUNTS}")
        )
        found = (
            packed[_SEQUENCE_COUNTS]
            | "SumSequences" >> beam.CombineGlobally(add_counts)
            | "NameSequences" >> beam.Map(_named, f"{self._side}/{_SEQUENCE_COUNTS}")
        )
        return PackedCounts(wanted, found)


class _PackGroup(beam.DoFn):
    """(group, items) to (order, record) pairs, and to the group's counts."""

    def __init__(self, settings: Settings, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._settings = settings
        self._vocabulary = vocabulary

    def process(
        self, group: tuple[int, Iterable[Item]]
    ) -> Iterator[tuple[str, bytes] | beam.pvalue.TaggedOutput[Literal["sequences"], Counts]]:
        total: collections.Counter[str] = collections.Counter()
        ids: set[str] = set()
        for sequence in pack(group[1], self._settings.sequence_length, self._vocabulary):
            record = encode_packed(sequence)
            yield _order(self._settings.shuffle_seed, record), record
            total.update(sequence_counts(sequence))
            ids.update(sequence.document_ids)
        total["documents"] = len(ids)
        yield beam.pvalue.TaggedOutput(_SEQUENCE_COUNTS, dict(total))


def layout_fingerprint(tokenizer: Tokenizer, kind: str) -> dict[str, str]:
    """Of what a foreign tokenizer's folder says besides the ids of pieces, as further inputs.

    Empty for the project's own tokenizer, whose layouts are code.
    """
    if isinstance(tokenizer, SentencePieceTokenizer):
        return {}
    ends = [tokenizer.document_start, tokenizer.document_end, tokenizer.pad]
    inputs = {"special_tokens": fingerprint(ends)}
    if kind == "conversations":
        inputs["chat_template"] = chat.layout_fingerprint(tokenizer)
    return inputs


def input_kind(folder: str) -> str:
    """`documents` or `conversations`, whichever shards `folder` holds.

    Raises:
      InputError: the folder is missing, or holds neither or both.
    """
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder")
    found = [kind for kind in KINDS if any(Path(folder).glob(f"{kind}-*-of-*.arrayrecord"))]
    if len(found) != 1:
        raise InputError(
            f"{folder} holds {' and '.join(found) or 'no'} shards; expected either "
            "documents-*.arrayrecord (a corpus) or conversations-*.arrayrecord (instructions)"
        )
    return found[0]


def add_counts(parts: Iterable[Counts]) -> Counts:
    """The sum, name by name."""
    total: collections.Counter[str] = collections.Counter()
    for part in parts:
        total.update(part)
    return dict(total)


def checked_counts(work: Path, input_count: int) -> dict[str, Any]:
    """The manifest's counts, from the shards in `work` and the sums that the job left there.

    Takes the file of the sums away: it is no result.

    Raises:
      AccountingError: a text, a token or a byte was lost or came out twice.
    """
    sums = json.loads((work / COUNTS_NAME).read_text())
    drops = collections.Counter(
        accounting.decode_drop(record).reason
        for record in shards.read_records(work / "dropped", "dropped")
    )
    summary: dict[str, Any] = {}
    for side in SIDES:
        wanted, found = sums[f"{side}/{_ITEM_COUNTS}"], sums[f"{side}/{_SEQUENCE_COUNTS}"]
        files = shard_counts(work, side)
        found["records"] = sum(file["records"] for file in files.values())
        differing = [
            f"{name}: {wanted.get(name, 0)} in, {found.get(name, 0)} out"
            for name in CONSERVED
            if wanted.get(name, 0) != found.get(name, 0)
        ]
        if found["records"] != found.get("sequences", 0):
            differing.append(
                f"sequences: {found.get('sequences', 0)} made, {found['records']} written"
            )
        if differing:
            raise accounting.AccountingError(f"{side}: " + "; ".join(differing))
        summary[side] = {**_side_summary(wanted, found), "shards": files}
    packed = sum(summary[side]["documents"] for side in SIDES)
    (work / COUNTS_NAME).unlink()
    return {"accounting": accounting.conservation(input_count, packed, drops), **summary}


def shard_counts(folder: Path, side: str) -> dict[str, dict[str, int]]:
    """Records and bytes of each shard of a side, by name: so training need not open them all."""
    files = {}
    for path in shards.list_shards(folder, side):
        with shards.open_shard(path) as reader:
            files[path.name] = {"records": reader.num_records(), "bytes": path.stat().st_size}
    return files


def _side_summary(wanted: Counts, found: Counts) -> dict[str, Any]:
    names = ("sequences", "segments", "tokens", "padding_tokens", *CONSERVED)
    languages: dict[str, dict[str, int]] = collections.defaultdict(dict)
    for name, count in sorted(wanted.items()):
        if name.startswith("languages/"):
            language, what = name.removeprefix("languages/").rsplit("/", 1)
            languages[language][what] = count
    tokens = found.get("tokens", 0)
    return {
        **{name: found.get(name, 0) for name in names},
        **{name: wanted.get(name, 0) for name in ("split_documents", "infilling_documents")},
        "padding_share": round(found.get("padding_tokens", 0) / tokens, 6) if tokens else 0.0,
        "languages": dict(languages),
    }


def _with_group(item: Item, num_groups: int) -> tuple[int, Item]:
    return int(hash_fraction("pack-group", item.id) * num_groups), item


def _order(seed: int, record: bytes) -> str:
    return hashlib.sha256(b"%d\0" % seed + record).hexdigest()


def _order_of(ordered: tuple[str, bytes]) -> str:
    return ordered[0]


def _record_of(ordered: tuple[str, bytes]) -> bytes:
    return ordered[1]


def _named(counts: Counts, name: str) -> tuple[str, Counts]:
    return name, counts


def _print_summary(output_dir: str, summary: dict[str, Any]) -> None:
    train, held = summary[TRAIN], summary[HELDOUT]
    dropped = sum(summary["accounting"]["dropped"].values())
    print(
        f"{output_dir}: {summary['accounting']['input']} texts in, {train['documents']} packed "
        f"into {train['sequences']} sequences ({train['padding_share']:.2%} padding), "
        f"{held['documents']} held out in {held['sequences']}, {dropped} dropped"
        + (f", {train['infilling_documents']} to fill gaps" * bool(train["infilling_documents"]))
    )


if __name__ == "__main__":
    sys.exit(
        configuration.main(
            pack_set, default_gin_files=["pack/demo.gin"], pass_through="pipeline_args"
        )
    )
