"""What Beam costs: the cleaning job beside its own functions in a plain loop.

    python -m benchmarks.beam_overhead --corpus=DIR [--megabytes=60] [--repeats=6]

DIR holds `code_*.jsonl(.zst)` (`benchmarks/code_corpus.py`). The loop is
`benchmarks/plain_loop.py`; both write documents, drops, signals and statistics, and the
files have to be the same bytes. Compared is CPU time, of which each side's cost on a single
file (imports, tables, compiled code) is taken off: the least of several runs in turn, as a
busy machine only ever adds to it. Then the job on both cores. The last lines are Beam's
share over the loop, of runs that follow each other (how much the machine varies) and of the
least ones; `docs/runners.md` has figures.
"""

import argparse
import collections
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from beam_pipelines.corpus import STATISTICS_NAME
from benchmarks.code_corpus import corpus_megabytes, write_sample
from benchmarks.processes import Usage, measure
from opencoder_jax.errors import InputError

JOB, LOOP = "beam_pipelines.refinecode", "benchmarks.plain_loop"
BOTH_CORES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
_ONE_FILE = "def answer():\n    return 42\n"


def beam_overhead(corpus: Path, megabytes: float, repeats: int) -> None:
    """Prints the measurements; see the module."""
    with tempfile.TemporaryDirectory(prefix="beam-overhead-") as name:
        folder = Path(name)
        share = min(1.0, megabytes / corpus_megabytes(corpus))
        sample = write_sample(corpus, folder / "sample", share)
        print(f"{sample.documents} files, {sample.megabytes:.1f} MB")
        (folder / "one" / "repo").mkdir(parents=True)
        (folder / "one" / "repo" / "one.py").write_text(_ONE_FILE)

        clean(LOOP, folder / "one", folder / "warm-up")
        runs: dict[str, list[Usage]] = collections.defaultdict(list)
        for i in range(repeats):
            for name, module, source, flags in (
                ("one-loop", LOOP, "one", ()),
                ("one-job", JOB, "one", ()),
                ("loop", LOOP, "sample", ()),
                ("job", JOB, "sample", ()),
                ("both", JOB, "sample", BOTH_CORES),
            ):
                place = folder / name
                shutil.rmtree(place, ignore_errors=True)
                runs[name].append(clean(module, folder / source, place, *flags))
                print(f"run {i + 1}, {name}: {runs[name][-1].cpu_seconds:.1f} CPU s", flush=True)
        least = {name: min(found, key=lambda u: u.cpu_seconds) for name, found in runs.items()}
        both = min(runs["both"], key=lambda usage: usage.wall_seconds)
        loop_start, job_start = least["one-loop"].cpu_seconds, least["one-job"].cpu_seconds
        loop, job = least["loop"], least["job"]
        for other in ("job", "both"):
            same = output_bytes(folder / "loop") == output_bytes(folder / other)
            verdict = "the same bytes" if same else "DIFFERENT"
            print(f"output of loop and {other}: {verdict}")
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
    pairs = [
        (job.cpu_seconds - job_start) / (loop.cpu_seconds - loop_start) - 1
        for loop, job in zip(runs["loop"], runs["job"], strict=True)
    ]
    print(
        f"each job over the loop before it: {min(pairs):+.1%} to {max(pairs):+.1%}, median"
        f" {statistics.median(pairs):+.1%}"
    )
    print(f"beam_overhead: {in_job / in_loop - 1:+.1%} over the plain loop")


def clean(module: str, source: Path, output: Path, *flags: str) -> Usage:
    """One run of a command that takes the cleaning job's configuration."""
    command = [sys.executable, "-m", module, "--gin_file=refinecode/paper.gin"]
    command += [f"--gin.SOURCE_DIR={source}", f"--gin.OUTPUT_DIR={output}", "--gin.NUM_SHARDS=4"]
    return measure([*command, *flags])


def output_bytes(output: Path) -> dict[str, bytes]:
    """The shards and the statistics, by their place in the folder."""
    found = [*output.rglob("*.arrayrecord"), output / STATISTICS_NAME]
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in found}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=60.0)
    parser.add_argument("--repeats", type=int, default=6)
    arguments = parser.parse_args()
    try:
        beam_overhead(arguments.corpus, arguments.megabytes, arguments.repeats)
    except InputError as error:
        sys.exit(f"error: {error}")
