"""The training phases of a run: their curves, mixtures and final figures.

Read from what `opencoder_jax.train` writes as it goes (`run.json`, `metrics.jsonl`), so a
phase that is still training shows as far as it has come; `manifest.json` says that it
has finished. docs/training.md lists the files of a model directory.
Next: `charts` draws the curves.
"""

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opencoder_jax.formats.manifest import MANIFEST_NAME, RUN_NAME
from opencoder_jax.model.config import TransformerConfig

PHASE_TITLES = {
    "pretrain": "Pretrain",
    "anneal": "Anneal",
    "sft_stage1": "SFT stage 1",
    "sft_stage2": "SFT stage 2",
}
METRICS_NAME = "metrics.jsonl"
_LOSS = "loss_per_nonpadding_target_token"


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """One line of `metrics.jsonl`."""

    step: int
    loss: float
    learning_rate: float
    tokens_per_second: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class MixturePart:
    """One source of a phase's batches; shares are of tokens.

    `epochs` is how often its set has been gone through, in the phases before too, where known.
    """

    source: str
    asked: float | None
    actual: float
    tokens: int
    epochs: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Phase:
    """One model directory.

    Attributes:
      name: folder's name.
      title: for readers.
      finished: whether the phase wrote its manifest.
      points: the series of training, in order of steps.
      heldout: (step, loss) of the periodic held-out evaluation.
      mixture: its sources; empty where the metrics do not tell.
      tokens: target tokens that it was trained on, where known.
      final_loss: of the last step, as the manifest has it.
      wall_seconds: of the last command that trained it.
      parameters: of the model, where known.
      dimensions: of the model, for readers; may be empty.
    """

    name: str
    title: str
    finished: bool
    points: tuple[Point, ...]
    heldout: tuple[tuple[int, float], ...]
    mixture: tuple[MixturePart, ...]
    tokens: int | None
    wall_seconds: float | None
    parameters: int | None
    dimensions: str

    @property
    def first_step(self) -> int:
        return self.points[0].step

    @property
    def last_step(self) -> int:
        return self.points[-1].step

    @property
    def steps(self) -> int:
        return self.last_step - self.first_step + 1

    @property
    def first_loss(self) -> float:
        return self.points[0].loss

    @property
    def final_loss(self) -> float:
        return self.points[-1].loss

    @property
    def heldout_loss(self) -> float | None:
        return self.heldout[-1][1] if self.heldout else None

    @property
    def tokens_per_second(self) -> float | None:
        """Median of the steps, which leaves compilation out."""
        rates = [p.tokens_per_second for p in self.points if p.tokens_per_second]
        return statistics.median(rates) if rates else None


def read_phases(run_dir: Path) -> tuple[Phase, ...]:
    """The phases that have made at least one step, in the order of the cookbook."""
    phases: list[Phase] = []
    # Token counts go on from phase to phase; what was there before is not this phase's.
    before: Mapping[str, int] = {}
    for name, title in PHASE_TITLES.items():
        # A step that was skipped because its loss was no number has a line without one.
        written = read_metrics_lines(run_dir / name / "train" / METRICS_NAME)
        lines = [line for line in written if _LOSS in line]
        if lines:
            phases.append(_phase(run_dir / name, title, lines, before))
            before = _tokens_by_source(lines[-1])
    return tuple(phases)


def _phase(
    folder: Path, title: str, lines: Sequence[Mapping[str, Any]], before: Mapping[str, int]
) -> Phase:
    here = {
        source: count - before.get(source, 0)
        for source, count in _tokens_by_source(lines[-1]).items()
        if count > before.get(source, 0)
    }
    config, inputs = _identity(folder)
    model = model_of(config)
    return Phase(
        name=folder.name,
        title=title,
        finished=(folder / MANIFEST_NAME).exists(),
        points=tuple(
            Point(
                step=line["step"],
                loss=line[_LOSS],
                learning_rate=line["learning_rate"],
                tokens_per_second=line.get("timing/target_tokens_per_second"),
            )
            for line in lines
        ),
        heldout=tuple(
            (line["step"], line[_LOSS])
            for line in read_metrics_lines(folder / "heldout" / METRICS_NAME)
        ),
        mixture=_mixture(here, _asked_shares(inputs), _with_prefix(lines[-1], "epochs/")),
        tokens=sum(here.values()) or None,
        wall_seconds=_wall_seconds(folder / "timing.json"),
        parameters=model.parameter_count() if model else None,
        dimensions=f"{model.num_layers} layers of {model.emb_dim}" if model else "",
    )


def _mixture(
    tokens: Mapping[str, int], asked: Mapping[str, float], epochs: Mapping[str, float]
) -> tuple[MixturePart, ...]:
    total = sum(tokens.values())
    parts = [
        MixturePart(
            source=source,
            asked=asked.get(source),
            actual=tokens.get(source, 0) / total,
            tokens=tokens.get(source, 0),
            epochs=epochs.get(source),
        )
        for source in {**asked, **tokens}
        if total
    ]
    return tuple(sorted(parts, key=lambda part: (-part.tokens, part.source)))


def _identity(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Flat settings and inputs, from what the run said of itself when it began."""
    path = folder / RUN_NAME
    if not path.exists():
        return {}, {}
    identity = json.loads(path.read_text())
    return identity["config"], identity["inputs"]


def _asked_shares(inputs: Mapping[str, Any]) -> dict[str, float]:
    """The mixture's rates, as shares."""
    rates = _with_prefix(inputs, "data.mixture.")
    return {name: rate / sum(rates.values()) for name, rate in rates.items()}


def model_of(config: Mapping[str, Any]) -> TransformerConfig | None:
    """The model in flat settings; None where they have none."""
    fields = _with_prefix(config, "model.")
    fields.pop("type", None)
    return TransformerConfig(**fields) if fields else None


def _with_prefix(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The entries below `prefix`, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix)
    }


def _tokens_by_source(line: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(count) for name, count in _with_prefix(line, "tokens_seen/").items()}


def read_metrics_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of `metrics.jsonl`; a last line that a kill cut short is left out."""
    lines: list[dict[str, Any]] = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def _wall_seconds(path: Path) -> float | None:
    return json.loads(path.read_text())["wall_seconds"] if path.exists() else None
