"""Writes the folder of a sweep that has run, small, with figures that a test chooses."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opencoder_jax.evaluation.kept_rows import row_text
from opencoder_jax.evaluation.scores import scores
from opencoder_jax.formats.manifest import write_json, write_manifest
from opencoder_jax.sweep.definition import Metric
from opencoder_jax.sweep.plan_file import Plan, PlannedRun, PlannedStage, write_plan

HOSTILE = (
    '</script><script>problems.push("ran")</script><img src=x onerror=problems.push(1)> {{ 7*7 }}'
)
BITS = Metric("evaluate", "bits_per_byte", "refinecode")
PASS = Metric("evaluate", "pass@1", "humaneval")
HELDOUT = Metric("pretrain", "heldout_loss")
STEPS = 60


class SweepFolder:
    """A sweep `corpus -> pretrain -> evaluate`, written run by run.

    Attributes:
      root: holds `sweep/`, `stages/` and `work/`.
    """

    def __init__(
        self,
        root: Path,
        arms: Sequence[str],
        seeds: Sequence[int] = (0, 1, 2),
        metrics: Sequence[Metric] = (BITS, PASS, HELDOUT),
        same_as: Mapping[str, str] | None = None,
        chips: int = 4,
        flops: Mapping[str, float] | None = None,
    ) -> None:
        self.root = root
        self.arms = arms
        self._same_as = same_as or {}
        runs, stages = [], {}
        for arm in arms:
            of = self._same_as.get(arm, arm)
            for seed in seeds:
                keys = {
                    "corpus": f"corpus-{of}",
                    "pretrain": f"pretrain-{of}-{seed}",
                    "evaluate": f"evaluate-{of}-{seed}",
                }
                changes = {} if arm == arms[0] else {"corpus": [f"DEDUP_LEVEL='{of}'"]}
                runs.append(PlannedRun(arm, seed, keys, changes, self._same_as.get(arm)))
                stages[keys["corpus"]] = PlannedStage(
                    keys["corpus"],
                    "corpus",
                    "beam_pipelines.refinecode",
                    pool="data",
                    bindings={"refinecode.level": repr(of), "refinecode.ngram": "5"},
                )
                stages[keys["pretrain"]] = PlannedStage(
                    keys["pretrain"],
                    "pretrain",
                    "opencoder_jax.train",
                    inputs=(keys["corpus"],),
                    bindings={"train.random_seed": str(seed)},
                    facts={
                        "devices": chips,
                        "parameters": 1_200_000,
                        "flops": (flops or {}).get(arm, 1e15),
                    },
                )
                stages[keys["evaluate"]] = PlannedStage(
                    keys["evaluate"],
                    "evaluate",
                    "opencoder_jax.evaluate",
                    inputs=(keys["pretrain"],),
                )
        self.plan = Plan(
            folder=str(root / "sweep"),
            name="dedup_level",
            title=f"Which level? {HOSTILE}",
            baseline=arms[0],
            seeds=tuple(seeds),
            metrics=tuple(metrics),
            runs=tuple(runs),
            stages=stages,
            expected=f"The paper found file best. {HOSTILE}",
            warnings=("something odd",),
        )
        write_plan(self.plan)

    def corpus(self, arm: str, kept: int) -> None:
        folder = self.folder(f"corpus-{arm}")
        documents = {"input": 1000, "output": kept, "dropped": {"rule": 1000 - kept}}
        counts = {"documents": documents, "bytes": {"listed": 10_000, "kept": 10 * kept}}
        self._finish(folder, "refinecode", counts)
        self.done(f"corpus-{arm}", wall=20.0)

    def pretrain(
        self,
        arm: str,
        seed: int,
        losses: Sequence[float],
        heldout: float,
        *,
        order: str = "one",
        mfu: float | None = 0.4,
        finished: bool = True,
        languages: Mapping[str, float] | None = None,
    ) -> None:
        key = f"pretrain-{arm}-{seed}"
        folder = self.folder(key)
        lines: list[dict[str, Any]] = [
            {
                "step": step,
                "loss_per_nonpadding_target_token": loss,
                "learning_rate": 0.001,
                "tokens_seen": 512 * step,
                "timing/target_tokens_per_second": 1000.0 + step,
                **({} if mfu is None else {"timing/mfu": mfu}),
            }
            for step, loss in enumerate(losses, start=1)
        ]
        held: list[dict[str, Any]] = [
            {
                "step": step,
                "loss_per_nonpadding_target_token": heldout + apart,
                "bits_per_byte": 2.0,
            }
            for step, apart in ((len(losses) // 2, 0.3), (len(losses), 0.0))
        ]
        held[-1] |= {f"bits_per_byte/{name}": value for name, value in (languages or {}).items()}
        for name, rows in (("train", lines), ("heldout", held)):
            (folder / name).mkdir()
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / name / "metrics.jsonl").write_text(text)
        identity: dict[str, Any] = {
            "config": {"first_step": 0},
            "inputs": {"data.seed": seed, "data.sets.refinecode": order},
        }
        write_json(folder / "run.json", identity)
        started = {"started": 1.0, "resume_step": 0, "host": "a", "pid": 1}
        record = {"step": len(losses), "training": 90.0, "lost": {"startup": 10.0}}
        (folder / "goodput.jsonl").write_text(
            json.dumps(started) + "\n" + json.dumps(record) + "\n"
        )
        if finished:
            self._finish(folder, "train", {"final_loss": losses[-1]})
            self.done(key, wall=50.0)

    def evaluate(
        self, arm: str, seed: int, bits: Mapping[str, float], passed: Sequence[bool] = ()
    ) -> None:
        """`bits` of each language, of equally many bytes; `passed`: of each problem."""
        key = f"evaluate-{arm}-{seed}"
        folder = self.folder(key)
        task = folder / "bits_per_byte"
        task.mkdir()
        mean = sum(bits.values()) / len(bits)
        total = {"bits_per_byte": mean, "bytes": 1000}
        languages = {name: {"bits_per_byte": value, "bytes": 500} for name, value in bits.items()}
        sets = {"refinecode": {"total": total, "languages": languages}}
        write_json(task / "results.json", {"sets": sets})
        self._finish(task, "evaluate", {})
        if passed:
            task = folder / "humaneval"
            task.mkdir()
            rows = [
                {
                    "task_id": f"HumanEval/{number}",
                    "sample": 0,
                    "language": "python",
                    "subset": "",
                    "verdict": "passed" if right else "failed",
                }
                for number, right in enumerate(passed)
            ]
            (task / "samples.jsonl").write_text("".join(map(row_text, rows)))
            write_json(task / "results.json", scores(rows, [1]))
            self._finish(task, "evaluate", {})
        self.done(key, wall=30.0)

    def done(self, key: str, wall: float, version: str = "0.1.0") -> None:
        record = {"worker": "w", "attempt": 1, "wall_seconds": wall, "code_version": version}
        write_json(self.records(key) / "done.json", record)

    def failed(self, key: str, log: str = HOSTILE) -> None:
        record = {"attempt": 3, "exit_status": 2, "log": log}
        write_json(self.records(key) / "failed.json", record)

    def folder(self, key: str) -> Path:
        folder = Path(self.plan.stage_folder(key))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def records(self, key: str) -> Path:
        folder = Path(self.plan.records_folder(key))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def sweep_dir(self) -> str:
        return self.plan.folder

    def _finish(self, folder: Path, job: str, counts: Mapping[str, Any]) -> None:
        timing = {"wall_seconds": 15.0, "cpu_seconds": 25.0, "peak_memory_bytes": 7.1e8}
        write_json(folder / "timing.json", timing)
        write_manifest(folder, job=job, config={}, inputs={}, counts=counts)


def usual(root: Path, *, seeds: Sequence[int] = (0, 1, 2)) -> SweepFolder:
    """A baseline, a worse arm, one like it, one without effect, a duplicate, one that failed."""
    arms = ["file", "chunk", "repo", "noisy", "copy", "broken"]
    sweep = SweepFolder(root, arms, seeds, same_as={"copy": "chunk"})
    apart = {"file": 0.0, "chunk": 0.1, "repo": -0.08, "noisy": 0.01}
    draw = random.Random(0)
    for number, (arm, shift) in enumerate(apart.items()):
        sweep.corpus(arm, 900 - 50 * number)
        for seed in seeds:
            common = 0.05 * seed
            noise = draw.gauss(0, 0.05 if arm == "noisy" else 0.002)
            level = 1.5 + shift + common + noise
            losses = [level + 4 / step for step in range(1, STEPS + 1)]
            order = "one" if arm in ("file", "repo") else arm
            sweep.pretrain(arm, seed, losses, level + 0.2, order=order)
            passed = [draw.random() < 0.1 + (0.5 if arm == "repo" else 0) for _ in range(80)]
            sweep.evaluate(arm, seed, {"python": level - 0.2, "c": level + 0.2}, passed)
    sweep.corpus("broken", 10)
    for seed in seeds:
        sweep.failed(f"pretrain-broken-{seed}")
    return sweep
