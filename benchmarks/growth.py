"""How the cleaning job's cost grows: the same job on 1, 2, 4 and 8 times as many documents.

    python -m benchmarks.growth --corpus=DIR [--megabytes=80]

DIR holds `code_*.jsonl(.zst)`. Samples are by hash and inside each other, so no document is
there twice; shards stay as large as they are, so a larger corpus has more of them. The job
runs in a worker process of its own: in Beam's local runner the launcher holds the shuffled
data, as a service would, and only a worker's memory says something about a cluster. Its
cost on one file (imports, graph, compiled code) is taken off. The last line is the CPU cost
of a document, and a worker's peak memory, at 8 times over that at 1; `docs/runners.md` has
figures.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.beam_overhead import JOB, clean
from benchmarks.code_corpus import corpus_megabytes, write_sample
from opencoder_jax.errors import InputError

WORKERS = ("--direct_running_mode=multi_processing", "--direct_num_workers=1")
FACTORS = (1, 2, 4, 8)


def growth(corpus: Path, megabytes: float) -> None:
    """Prints the measurements; see the module."""
    largest = min(1.0, megabytes / corpus_megabytes(corpus))
    with tempfile.TemporaryDirectory(prefix="growth-") as name:
        folder = Path(name)
        (folder / "one" / "repo").mkdir(parents=True)
        (folder / "one" / "repo" / "one.py").write_text("def answer():\n    return 42\n")
        clean(JOB, folder / "one", folder / "warm-up", *WORKERS)
        start = clean(JOB, folder / "one", folder / "one-output", *WORKERS)
        print(f"one file: {start.cpu_seconds:.1f} CPU s, worker {start.worker_bytes / 1e6:.0f} MB")
        costs, peaks = [], []
        for factor in FACTORS:
            source = folder / f"sample{factor}"
            sample = write_sample(corpus, source, largest * factor / FACTORS[-1])
            shards = f"--gin.NUM_SHARDS={4 * factor}"
            usage = clean(JOB, source, folder / f"output{factor}", *WORKERS, shards)
            seconds = usage.cpu_seconds - start.cpu_seconds
            costs.append(seconds / sample.documents)
            peaks.append(usage.worker_bytes)
            print(
                f"{factor}x: {sample.documents} documents, {sample.megabytes:.1f} MB:"
                f" {seconds:.1f} CPU s, {1e3 * costs[-1]:.2f} ms a document,"
                f" {1e3 * seconds / sample.megabytes:.0f} ms a MB; peak memory of a worker"
                f" {usage.worker_bytes / 1e6:.0f} MB, of the launcher"
                f" {usage.launcher_bytes / 1e6:.0f} MB"
            )
    print(
        f"growth: at 8x a document costs {costs[-1] / costs[0]:.2f} times as much as at 1x, the"
        f" worker's peak memory is {peaks[-1] / peaks[0]:.2f} times that at 1x"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=80.0, help="of the largest sample")
    arguments = parser.parse_args()
    try:
        growth(arguments.corpus, arguments.megabytes)
    except InputError as error:
        sys.exit(f"error: {error}")
