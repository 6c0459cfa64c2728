"""Reads a run's folders into plain dataclasses that the page can lay out.

A run may be at any point: a stage that has not finished is absent (None or an empty
tuple), never an error; a file that is there and damaged is an error that names it.
Each stage's own layout is read in one module: `corpus`, `training_runs`, `evaluations`,
`derived_sets`; here are the things that all stages share.
"""

import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import MANIFEST_NAME, read_manifest
from opencoder_jax.report.corpus import Corpus, read_corpus
from opencoder_jax.report.derived_sets import (
    PackedSet,
    SyntheticSet,
    TokenizerFacts,
    read_packed_sets,
    read_synthetic_sets,
    read_tokenizer,
)
from opencoder_jax.report.evaluations import Evaluation, read_evaluations
from opencoder_jax.report.training_runs import Phase, read_phases

# In the order in which a run makes them; other folders with a timing follow.
STAGE_TITLES = {
    "corpus": "Clean and deduplicate",
    "tokenizer": "Train the tokenizer",
    "annealing_data": "Annealing data",
    "sft_data": "Instruction data",
    "packed": "Pack",
    "pretrain": "Pretrain",
    "anneal": "Anneal",
    "sft_stage1": "SFT stage 1",
    "sft_stage2": "SFT stage 2",
    "export": "Export to Hugging Face",
}
_VERSIONED = (
    "opencoder-jax",
    "jax",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "seqio",
    "apache-beam",
    "array-record",
    "sentencepiece",
    "numpy",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Timing:
    """What one command took."""

    title: str
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class StageRecord:
    """One finished folder: what made it, from what."""

    folder: str
    job: str
    fingerprint: str
    config_fingerprint: str
    inputs: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """Everything the page shows of one run."""

    name: str
    corpus: Corpus | None
    tokenizer: TokenizerFacts | None
    packed: tuple[PackedSet, ...]
    synthesis: tuple[SyntheticSet, ...]
    phases: tuple[Phase, ...]
    evaluations: tuple[Evaluation, ...]
    timings: tuple[Timing, ...]
    stages: tuple[StageRecord, ...]
    configurations: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]

    @property
    def total_seconds(self) -> float:
        return sum(timing.wall_seconds for timing in self.timings)

    @property
    def peak_bytes(self) -> int:
        return max((timing.peak_bytes for timing in self.timings), default=0)


def collect(run_dir: Path) -> Run:
    """Everything that the folders of `run_dir` tell.

    Raises:
      InputError: `run_dir` is no folder, or a file in it is damaged.
    """
    if not run_dir.is_dir():
        raise InputError(f"{run_dir}: no such folder; give a run's folder, e.g. runs/demo")
    phases = read_phases(run_dir)
    return Run(
        name=run_dir.resolve().name,
        corpus=read_corpus(run_dir / "corpus"),
        tokenizer=read_tokenizer(run_dir / "tokenizer"),
        packed=read_packed_sets(run_dir),
        synthesis=read_synthetic_sets(run_dir),
        phases=phases,
        evaluations=read_evaluations(run_dir, phases),
        timings=tuple(collect_timings(run_dir)),
        stages=tuple(_stages(run_dir)),
        configurations=tuple(_configurations(run_dir)),
        versions=tuple(_versions()),
    )


def collect_timings(run_dir: Path) -> list[Timing]:
    """What each finished command of a run measured of itself, in the order of the stages.

    Raises:
      InputError: a `timing.json` is damaged.
    """
    return list(_timings(run_dir))


def _timings(run_dir: Path) -> Iterator[Timing]:
    for path in _in_stage_order(run_dir, "timing.json"):
        figures = _read_json(path)
        try:
            yield Timing(
                title=_stage_title(path.parent.relative_to(run_dir)),
                wall_seconds=float(figures["wall_seconds"]),
                cpu_seconds=float(figures["cpu_seconds"]),
                peak_bytes=int(figures["peak_memory_bytes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} lacks a figure ({error!r}); remove it") from error


def _stages(run_dir: Path) -> Iterator[StageRecord]:
    for path in _in_stage_order(run_dir, MANIFEST_NAME):
        if path.parent.name == "tokenizer" and path.parent.parent != run_dir:
            # A model directory's copy of the run's own.
            continue
        manifest = read_manifest(path.parent)
        yield StageRecord(
            folder=str(path.parent.relative_to(run_dir)),
            job=manifest["job"],
            fingerprint=manifest["fingerprint"],
            config_fingerprint=manifest["config_fingerprint"],
            inputs=tuple((name, str(value)[:16]) for name, value in manifest["inputs"].items()),
        )


def _configurations(run_dir: Path) -> Iterator[tuple[str, str]]:
    for path in _in_stage_order(run_dir, "config.gin"):
        yield str(path.parent.relative_to(run_dir)), path.read_text(errors="replace")


def _versions() -> Iterator[tuple[str, str]]:
    yield "Python", platform.python_version()
    for name in _VERSIONED:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def _in_stage_order(run_dir: Path, name: str) -> list[Path]:
    """Files `name` of finished or running stages, hidden folders left out."""
    order = list(STAGE_TITLES)

    def key(path: Path) -> tuple[int, str]:
        top = path.relative_to(run_dir).parts[0].split("-")[0]
        return order.index(top) if top in order else len(order), str(path.parent)

    found = [
        path
        for path in run_dir.rglob(name)
        if not any(part.startswith(".") for part in path.relative_to(run_dir).parts)
    ]
    return sorted(found, key=key)


def _stage_title(folder: Path) -> str:
    """`packed-512/refinecode` as `Pack: refinecode`."""
    top, *rest = folder.parts
    title = STAGE_TITLES.get(top.split("-")[0], top)
    rest = [part for part in rest if part != "evaluation"]
    return f"{title}: {' '.join(rest).replace('_', ' ')}" if rest else title


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); run its stage again") from error
