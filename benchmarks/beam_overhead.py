"""What Beam costs: the cleaning job beside its own functions in a plain loop.

    python -m benchmarks.beam_overhead --corpus=DIR [--megabytes=30]

DIR holds `code_*.jsonl(.zst)` (`benchmarks/code_corpus.py`). The loop is
`benchmarks/plain_loop.py`; both write their documents, and the files have to be the same bytes.
Compared is CPU time, of which each side's cost on a single file (imports, tables, compiled
code) is taken off. Then the job once more on both cores. The last line is Beam's share over
the loop; `docs/runners.md` has figures.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.code_corpus import corpus_megabytes, write_sample
from benchmarks.processes import Usage, measure
from opencoder_jax.errors import InputError

JOB, LOOP = "beam_pipelines.refinecode", "benchmarks.plain_loop"
BOTH_CORES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
_ONE_FILE = "def answer():\n    return 42\n"


def beam_overhead(corpus: Path, megabytes: float) -> None:
    """Prints the measurements; see the module."""
    with tempfile.TemporaryDirectory(prefix="beam-overhead-") as name:
        folder = Path(name)
        share = min(1.0, megabytes / corpus_megabytes(corpus))
        sample = write_sample(corpus, folder / "sample", share)
        print(f"{sample.documents} files, {sample.megabytes:.1f} MB")
        (folder / "one" / "repo").mkdir(parents=True)
        (folder / "one" / "repo" / "one.py").write_text(_ONE_FILE)

        clean(LOOP, folder / "one", folder / "warm-up")
        loop_start = clean(LOOP, folder / "one", folder / "one-loop").cpu_seconds
        job_start = clean(JOB, folder / "one", folder / "one-job").cpu_seconds
        loop = clean(LOOP, folder / "sample", folder / "loop")
        job = clean(JOB, folder / "sample", folder / "job")
        both = clean(JOB, folder / "sample", folder / "both", *BOTH_CORES)
        for other in ("job", "both"):
            same = shard_bytes(folder / "loop") == shard_bytes(folder / other)
            verdict = "the same bytes" if same else "DIFFERENT"
            print(f"documents and signals of loop and {other}: {verdict}")
    in_loop, in_job = loop.cpu_seconds - loop_start, job.cpu_seconds - job_start
    print(f"start-up, CPU s: loop {loop_start:.1f}, job {job_start:.1f}")
    for title, seconds, usage in (("loop", in_loop, loop), ("job, one process", in_job, job)):
        print(
            f"{title}: {seconds:.1f} CPU s, {sample.megabytes / seconds:.2f} MB/s of a core,"
            f" peak {usage.launcher_bytes / 1e6:.0f} MB"
        )
    print(
        f"job, two worker processes: {both.cpu_seconds:.1f} CPU s and"
        f" {both.wall_seconds:.1f} s in all, {sample.megabytes / both.wall_seconds:.2f} MB/s,"
        f" peak of a worker {both.worker_bytes / 1e6:.0f} MB"
    )
    print(f"beam_overhead: {in_job / in_loop - 1:+.1%} over the plain loop")


def clean(module: str, source: Path, output: Path, *flags: str) -> Usage:
    """One run of a command that takes the cleaning job's configuration."""
    command = [sys.executable, "-m", module, "--gin_file=refinecode/paper.gin"]
    command += [f"--gin.SOURCE_DIR={source}", f"--gin.OUTPUT_DIR={output}", "--gin.NUM_SHARDS=4"]
    return measure([*command, *flags])


def shard_bytes(output: Path) -> dict[str, bytes]:
    """The shards of documents and signals, by name."""
    found = [*output.glob("documents-*.arrayrecord"), *output.glob("signals/*.arrayrecord")]
    return {path.name: path.read_bytes() for path in found}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=30.0)
    arguments = parser.parse_args()
    try:
        beam_overhead(arguments.corpus, arguments.megabytes)
    except InputError as error:
        sys.exit(f"error: {error}")
