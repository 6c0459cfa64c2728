"""What each deviation from the released filter does to the files of a corpus: signals and fates.

    python -m benchmarks.deviations --corpus=DIR [--share=1] [--processes=1]
        [--released=FILE] [--output=FILE]

For every file (`code_*.jsonl`, perhaps `.zst`; `--share` takes a part by hash) and every
deviation, our signals are computed once more with the released definition of that one thing
in the place of ours, and the rules applied to both. No released code is needed. FILE of
`--released` (`released_filter` writes it) has what the released filter itself said of each
file; it adds the deviation of file types and all deviations as they are. `--output` gets
one JSON line a file that any deviation changes, or that they do not explain.
"""

import argparse
import collections
import dataclasses
import itertools
import json
import multiprocessing
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.table import Table

from benchmarks.cleaning import rule_tables
from benchmarks.code_corpus import rows
from benchmarks.released_fates import ALL, AS_RUN, FILE_TYPES, SINGLE, Effect, Fate, Judge
from opencoder_jax.errors import InputError
from opencoder_jax.formats.split import hash_fraction
from opencoder_jax.progress import track

_BATCH = 32
_AHEAD = 4  # batches a process, so that the corpus is not read faster than it is judged

Key = tuple[str, str, str]
Released = Mapping[Key, Mapping[str, Any]]
Batch = list[tuple[Mapping[str, Any], Mapping[str, Any] | None]]


@dataclasses.dataclass
class Count:
    """What one deviation does, in files; `signals` in pairs (file, signal)."""

    files: int = 0
    signals: int = 0
    stay: int = 0
    go: int = 0
    failed: int = 0

    def add(self, effect: Effect) -> None:
        """Counts one file's effect."""
        self.files += not effect.failed
        self.signals += len(effect.signals)
        self.stay += effect.kept_here and not effect.kept_there
        self.go += effect.kept_there and not effect.kept_here
        self.failed += effect.failed


@dataclasses.dataclass
class Counts:
    """What was found in a corpus."""

    files: int = 0
    judged: int = 0
    kept: int = 0
    by_share_alone: int = 0
    dropped_by_share: int = 0
    compared: int = 0
    equal: int = 0
    deviations: dict[str, Count] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(Count)
    )

    def add(self, fate: Fate) -> None:
        """Counts one file."""
        self.files += 1
        self.judged += fate.doc_type in ("code", "data", "text")
        self.kept += fate.kept
        self.by_share_alone += fate.by_share_alone
        self.dropped_by_share += fate.by_share_alone and not fate.kept
        self.compared += fate.compared
        self.equal += fate.equal
        for effect in fate.effects:
            self.deviations[effect.deviation].add(effect)


def deviations(
    corpus: Path, share: float, processes: int, released: Path | None, output: IO[str] | None
) -> Counts:
    """Counts and prints; see the module.

    Raises:
      InputError: a file is missing or has a wrong form.
    """
    said = _released(released) if released else None
    counts = Counts()
    with track("files", None, "files") as advance:
        for fates in _judged(_batches(corpus, share, said), processes):
            for fate in fates:
                counts.add(fate)
                if output and (fate.effects or fate.equal < fate.compared):
                    output.write(json.dumps(dataclasses.asdict(fate)) + "\n")
            advance(len(fates))
    _print(counts)
    return counts


def _batches(corpus: Path, share: float, released: Released | None) -> Iterator[Batch]:
    def sampled() -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any] | None]]:
        for row in rows(corpus):
            if hash_fraction("deviations", row["repo_name"], row["path"]) >= share:
                continue
            if released is None:
                yield row, None
                continue
            key = (row["repo_name"], row["version"], row["path"])
            if key not in released:
                raise InputError(f"--released has no line for {'/'.join(key)}; make it anew")
            yield row, released[key]

    for batch in itertools.batched(sampled(), _BATCH):
        yield list(batch)


def _judged(batches: Iterable[Batch], processes: int) -> Iterator[list[Fate]]:
    """In the order of the corpus, whatever the number of processes."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_start) as pool:
        waiting: collections.deque[Future[list[Fate]]] = collections.deque()
        for batch in batches:
            waiting.append(pool.submit(_fates, batch))
            if len(waiting) > _AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


_judge: list[Judge] = []  # of this process


def _start() -> None:
    warnings.simplefilter("ignore")  # Invalid escapes in the files are not ours.
    _judge.append(Judge(rule_tables()))


def _fates(batch: Batch) -> list[Fate]:
    return [_judge[0].fate(row, released) for row, released in batch]


def _released(path: Path) -> Released:
    said: dict[Key, Mapping[str, Any]] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                said[row["repo_name"], row["version"], row["path"]] = {
                    name: row[name] for name in ("doc_type", "language", "kept", "signals")
                }
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        where = f"{path}, line {len(said) + 1}"
        raise InputError(
            f"{where}: expected what `released_filter --rows` writes ({error!r})"
        ) from error
    return said


def _print(counts: Counts) -> None:
    console = Console(width=150, highlight=False)
    table = Table(
        *("deviation", "released filter", "here", "files", "signals"),
        *("dropped there, kept here", "kept there, dropped here", "no value there"),
    )
    described = {deviation.name: deviation for deviation in SINGLE}
    for name in (*described, FILE_TYPES, ALL, AS_RUN):
        if name in (FILE_TYPES, AS_RUN) and name not in counts.deviations:
            continue
        count, deviation = counts.deviations[name], described.get(name)
        words = (deviation.released, deviation.here) if deviation else ("", "")
        numbers = (count.files, count.signals, count.stay, count.go, count.failed)
        table.add_row(name, *words, *map(str, numbers))
    console.print(table, markup=False)
    everything = counts.deviations[ALL]
    console.print(
        f"{counts.by_share_alone} files violate only rules that drop a share; the hash drops "
        f"{counts.dropped_by_share} of them"
    )
    if counts.compared:
        console.print(
            f"{ALL} give {counts.equal} of {counts.compared} values of the released filter "
            "(files that both take for the same language)"
        )
    console.print(
        f"deviations: {counts.files} files, {counts.judged} of a known type, {counts.kept} kept; "
        f"all deviations together change the fate of {everything.stay + everything.go}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--released", type=Path)
    parser.add_argument("--output", type=argparse.FileType("w", encoding="utf-8"))
    options = parser.parse_args()
    try:
        deviations(
            *(options.corpus, options.share, options.processes, options.released, options.output)
        )
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
