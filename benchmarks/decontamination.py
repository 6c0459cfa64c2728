"""What decontamination finds in real code, and how fast: the compiled scan beside the reference.

    python -m benchmarks.decontamination --corpus=DIR [--benchmark_data=DIR] [--share=0.1] [--hits]

The corpus is a folder of `code_*.jsonl(.zst)`, as benchmarks.near_dedup has it; none of its files
are benchmarks, so nearly all hits are false. All of it is scanned; both ways of finding are
timed on the files of a hash share, one core each, and have to agree on every one. Prints hits by
benchmark, and with --hits each with the text that matched.
"""

import argparse
import collections
import sys
import time
from collections.abc import Callable
from pathlib import Path

from beam_pipelines.transforms.decontamination import kept_out
from benchmarks.code_corpus import rows
from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.contamination import BenchmarkIndex, Hit
from opencoder_jax.formats.split import hash_fraction


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--benchmark_data", default="")
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--hits", action="store_true")
    options = parser.parse_args()
    try:
        _measure(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _measure(options: argparse.Namespace) -> None:
    benchmarks = kept_out(None, options.benchmark_data)
    scan, reference = benchmarks.scan(), BenchmarkIndex(benchmarks.texts())
    scan.find("compile it"), scan.find("é")
    found: collections.Counter[tuple[str, str]] = collections.Counter()
    timed: list[str] = []
    files = 0
    for row in rows(options.corpus):
        files += 1
        name, text = f"{row['repo_name']}/{row['path']}", row["content"]
        if hash_fraction("decontamination", name) < options.share:
            timed.append(text)
        hit = scan.find(text)
        if hit is not None:
            found[hit.problem.benchmark, hit.reason] += 1
            if options.hits:
                print(f"{hit.reason:<22} {hit.detail[:120]}  in {name}")
    print(f"{files} files, {found.total()} hits ({found.total() / files:.3%})")
    for (benchmark, reason), count in sorted(found.items()):
        print(f"  {benchmark:<28} {reason:<22} {count}")
    megabytes = sum(len(text.encode("utf-8", "replace")) for text in timed) / 1e6
    plain, by_reference = _timed(reference.find, timed)
    fast, by_scan = _timed(scan.find, timed)
    differing = sum(a != b for a, b in zip(by_reference, by_scan, strict=True))
    print(
        f"{megabytes:.1f} MB in {len(timed)} files: reference {megabytes / plain:.1f} MB/s, "
        f"compiled {megabytes / fast:.1f} MB/s, ratio {plain / fast:.1f}; {differing} differ"
    )


def _timed(find: Callable[[str], Hit | None], texts: list[str]) -> tuple[float, list[Hit | None]]:
    start = time.perf_counter()
    hits = [find(text) for text in texts]
    return time.perf_counter() - start, hits


if __name__ == "__main__":
    sys.exit(main())
