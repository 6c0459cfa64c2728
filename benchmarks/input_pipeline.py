"""Batches a second against what a pod host needs, and against grain's plain iterator.

    python -m benchmarks.input_pipeline [--shards=4000] [--batches=200]

A v6e host that trains the 1.5B takes about 146,000 tokens a second (four chips of 36,000); two
cores should give ten times that. The set has thousands of shards of 40 sequences of 4,097
tokens, drawn by Zipf's law with documents of some 800 tokens, which compress worse than code.
One in forty shards is written, the others are hard links to it: opened, read and checked like
any other, but of a tenth of a gigabyte. A batch is 16 sequences, a host's share of 1,024 on 64.

Measured in one run: opening the set and its first batch; batches from threads and from
processes; grain with its own ArrayRecord source, shuffle, threads and batching over records
decoded by protobuf, and the same with our decoder. Tokens a second are by the clock, as the
machine was, and by the CPU time of all processes, as they would be on two cores with nothing
else to do. The last line is the ratio of the latter to the need.
"""

import argparse
import dataclasses
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain
import numpy as np

from opencoder_jax.data.batches import BatchSource, DatasetConfig
from opencoder_jax.formats.manifest import make_manifest, write_json
from opencoder_jax.formats.packed import (
    PackedSequence,
    decode_arrays,
    decode_packed,
    encode_packed,
    features,
    features_of,
)
from opencoder_jax.formats.shards import shard_name, write_shard

NEED = 146_000
SEQUENCE_LENGTH = 4096
BATCH = 16
RECORDS = 40
LINKS = 40
VOCABULARY = 96_640


def sequence(noise: np.random.Generator) -> PackedSequence:
    length = SEQUENCE_LENGTH + 1
    tokens = np.minimum(noise.zipf(1.3, length), VOCABULARY - 1).astype(np.int32)
    starts = np.flatnonzero(noise.random(length) < 1 / 800)
    segment_ids = np.searchsorted(starts, np.arange(length), side="right").astype(np.int32) + 1
    begins = np.concatenate([[0], starts])[segment_ids - 1]
    count = int(segment_ids[-1])
    return PackedSequence(
        tokens=tokens,
        segment_ids=segment_ids,
        positions=(np.arange(length) - begins).astype(np.int32),
        loss_weights=np.ones(length, np.int32),
        document_ids=tuple(f"{i:016x}" for i in range(count)),
        document_languages=("python",) * count,
        document_bytes=(3000,) * count,
    )


def write_set(folder: Path, num_shards: int) -> None:
    """A packed set as `beam_pipelines.pack` leaves it."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    names = [shard_name("train", number, num_shards) for number in range(num_shards)]
    for number, name in enumerate(names):
        if number % LINKS == 0:
            first = folder / name
            write_shard(first, [encode_packed(sequence(noise)) for _ in range(RECORDS)])
        else:
            os.link(first, folder / name)
    sizes = {name: (folder / name).stat().st_size for name in names}
    counts = {
        "train": {
            "sequences": RECORDS * num_shards,
            "shards": {name: {"records": RECORDS, "bytes": sizes[name]} for name in names},
        }
    }
    manifest = make_manifest(
        job="pack",
        config={"sequence_length": SEQUENCE_LENGTH},
        inputs={"tokenizer": "none"},
        counts=counts,
        files={},
    )
    write_json(folder / "manifest.json", manifest)


def grain_batches(folder: Path, decode: Callable[[bytes], Any]) -> grain.DatasetIterator[Any]:
    """What grain's documentation shows, with its defaults."""
    source = grain.sources.ArrayRecordDataSource(sorted(map(str, folder.glob("train-*"))))
    dataset = grain.MapDataset.source(source).shuffle(seed=0).repeat().map(decode).batch(BATCH)
    return iter(dataset.to_iter_dataset())


@dataclasses.dataclass
class Measured:
    """What a number of batches took, all processes together."""

    wall: float
    cpu: float
    tokens: int

    @property
    def rate(self) -> float:
        """Tokens a second on two cores that do nothing else."""
        return 2 * self.tokens / self.cpu

    def __str__(self) -> str:
        return (
            f"{self.tokens / self.wall:12,.0f} tokens/s as it was, "
            f"{self.rate:12,.0f} on two free cores"
        )


def cpu_seconds() -> float:
    """Of this process and of its children that run."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    ticks = 0
    for pid in [os.getpid(), *children]:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(stream: Any, batches: int) -> Measured:
    """Takes batches and closes; the first, for which threads and processes start, do not count."""
    for batch in itertools.islice(stream, 40):
        shape = batch["decoder_input_tokens"].shape
    wall, cpu = time.perf_counter(), cpu_seconds()
    for _ in itertools.islice(stream, batches):
        pass
    measured = Measured(
        time.perf_counter() - wall, cpu_seconds() - cpu, batches * shape[0] * shape[1]
    )
    stream.close()
    return measured


def measure_start(config: DatasetConfig, folder: Path) -> None:
    start = time.perf_counter()
    source = BatchSource(config)
    opened = time.perf_counter() - start
    source.batch(1_000_000)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    stream = grain_batches(folder, fast)
    next(stream)
    theirs = time.perf_counter() - start
    stream.close()
    print(
        f"start: opened in {opened:.2f} s, batch 1,000,000 after {ours:.2f} s; grain's own source "
        f"and its first batch {theirs:.2f} s"
    )


def fast(record: bytes) -> dict[str, np.ndarray]:
    return features_of(decode_arrays(record))


def through_protobuf(record: bytes) -> dict[str, np.ndarray]:
    return features(decode_packed(record))


def input_pipeline(num_shards: int, batches: int) -> None:
    """Prints the measurements; see the module."""
    with tempfile.TemporaryDirectory(prefix="input-pipeline-") as name:
        folder = Path(name) / "bench"
        write_set(folder, num_shards)
        config = DatasetConfig(
            {"bench": 1.0}, name, {"targets": SEQUENCE_LENGTH}, "train", BATCH, 0
        )
        print(f"{num_shards} shards, {num_shards * RECORDS} sequences of {SEQUENCE_LENGTH} tokens")
        measure_start(config, folder)
        ways: dict[str, Callable[[], Any]] = {
            "threads": BatchSource(config).iterate,
            "1 process": lambda: BatchSource(config).iterate(num_processes=1),
            "2 processes": lambda: BatchSource(config).iterate(num_processes=2),
            "grain, protobuf": lambda: grain_batches(folder, through_protobuf),
            "grain, our decoder": lambda: grain_batches(folder, fast),
        }
        rates = {}
        for way, stream in ways.items():
            measured = measure(stream(), batches)
            rates[way] = measured.rate
            print(f"{way:20}{measured}")
    print(
        f"on two free cores, times the need of {NEED:,} tokens/s a host: "
        + ", ".join(f"{way} {rate / NEED:.1f}" for way, rate in rates.items())
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=4000)
    parser.add_argument("--batches", type=int, default=200, help="of each measurement")
    arguments = parser.parse_args()
    input_pipeline(arguments.shards, arguments.batches)
