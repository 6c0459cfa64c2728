"""Writes folders of many runs, as training and evaluation leave them, with text that attacks."""

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opencoder_jax.evaluation.kept_rows import row_text
from opencoder_jax.evaluation.scores import scores
from opencoder_jax.formats.manifest import write_json, write_manifest
from opencoder_jax.sweep import plan_file
from opencoder_jax.sweep.definition import Metric
from opencoder_jax.sweep.plan_file import Plan, PlannedRun, PlannedStage

HOSTILE = "</script><script>document.title='ran'</script><img src=x onerror=document.title='img'>"
ARMS = ("file", "repository", "chunk", "file+chunk")
PEAKS = (1e-3, 3e-3)


def key(arm: str, seed: int) -> str:
    """Name of a run's folder."""
    return f"pretrain-{ARMS.index(arm):06x}{seed:06x}"


def write_runs(folder: Path, *, runs: int, lines: int, step_period: int = 1) -> Path:
    """A sweep: `SWEEP/plan.json` and `stages/`, arms × seeds, every run evaluated in a stage.

    Args:
      folder: gets `sweep` and `stages`.
      runs: how many, four arms in turn.
      lines: of metrics of each.
      step_period: steps between them.
    """
    made = [(ARMS[n % len(ARMS)], n // len(ARMS)) for n in range(runs)]
    for arm, seed in made:
        target = folder / "stages" / key(arm, seed)
        write_run(target, arm=arm, seed=seed, lines=lines, step_period=step_period)
        evaluation = folder / "stages" / key(arm, seed).replace("pretrain", "evaluate")
        write_evaluation(evaluation, params=f"params of {arm} {seed}", level=ARMS.index(arm))
    write_plan(folder / "sweep", made)
    return folder


def write_plan(folder: Path, made: list[tuple[str, int]]) -> None:
    stages, runs = {}, []
    for arm, seed in made:
        train = key(arm, seed)
        evaluate = train.replace("pretrain", "evaluate")
        stages[train] = PlannedStage(train, "pretrain", "opencoder_jax.train")
        stages[evaluate] = PlannedStage(
            evaluate, "evaluate", "opencoder_jax.evaluate", inputs=[train]
        )
        changes = {"corpus": [f"refinecode/dedup/{arm}.gin"]}
        runs.append(PlannedRun(arm, seed, {"pretrain": train, "evaluate": evaluate}, changes))
    plan_file.write_plan(
        Plan(
            folder=str(folder),
            name="dedup_level",
            title="Which level of deduplication?",
            baseline=made[0][0],
            seeds=sorted({seed for _, seed in made}),
            metrics=[Metric("evaluate", "bits_per_byte", "refinecode")],
            runs=runs,
            stages=stages,
        )
    )


def write_run(
    folder: Path, *, arm: str, seed: int, lines: int, step_period: int = 1, finished: bool = True
) -> Path:
    """One model directory."""
    (folder / "train").mkdir(parents=True)
    (folder / "heldout").mkdir()
    peak = PEAKS[seed % 2]
    identity: dict[str, Any] = {
        "config": {
            "model.num_layers": 4,
            "model.emb_dim": 128,
            "optimizer.type": "AdamW",
            "optimizer.weight_decay": 0.1,
            "random_seed": seed,
            "schedule.peak": peak,
            "schedule.type": "WarmupStable",
            "train_steps": lines * step_period,
            "first_step": 0,
        },
        "inputs": {
            "data.mixture.refinecode": 1.0,
            "data.sets.refinecode": f"{ARMS.index(arm):016x}",
            "initial_checkpoint": "none",
        },
    }
    write_json(folder / "run.json", identity)
    (folder / "config.gin").write_text(
        f"# {HOSTILE}\nTRAIN_STEPS = {lines * step_period}\nRANDOM_SEED = {seed}\n"
        f"schedules.WarmupStable.peak = {peak}\n" + "".join(f"x.y{n} = {n}\n" for n in range(150))
    )
    rows = list(_lines(arm, seed, lines, step_period, peak))
    (folder / "train" / "metrics.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in rows))
    heldout = [
        {
            "step": row["step"],
            "loss_per_nonpadding_target_token": row["loss"] / 8192 + 0.1,
            "bits_per_byte": 1.2,
            "bits_per_byte/python": 1.1,
        }
        for row in rows[max(lines // 10, 1) - 1 :: max(lines // 10, 1)]
    ]
    (folder / "heldout" / "metrics.jsonl").write_text(
        "".join(f"{json.dumps(r)}\n" for r in heldout)
    )
    write_json(
        folder / "timing.json",
        {"wall_seconds": 31.5 + seed, "cpu_seconds": 55.0, "peak_memory_bytes": 7.1e8},
    )
    if finished:
        files = {f"checkpoint_{lines * step_period}/params": f"params of {arm} {seed}"}
        write_manifest(folder, job="train", counts={"skipped_steps": 1}, files=files, **identity)
    return folder


def _lines(
    arm: str, seed: int, lines: int, step_period: int, peak: float
) -> Iterator[dict[str, float]]:
    noise = random.Random(f"{arm} {seed}")
    for number in range(1, lines + 1):
        done = number / lines
        loss = 2.4 + ARMS.index(arm) / 20 + 6 * math.exp(-9 * done) + noise.gauss(0, 0.06)
        step = number * step_period
        yield {
            "step": step,
            "accuracy": 0.5 - loss / 20,
            "learning/grad_norm": 0.4 + abs(noise.gauss(0, 0.1)),
            "learning/param_norm": 70 + 20 * done,
            "learning_rate": peak * min(1, done * 20),
            "loss": loss * 8192,
            "loss_per_nonpadding_target_token": loss + (3 if number == lines // 2 else 0),
            "loss_per_nonpadding_target_token/refinecode": loss,
            "nonpadding_target_tokens": 8192.0,
            "z_loss_per_nonpadding_target_token": 1e-4 * loss,
            "tokens_seen": 8192 * step,
            "tokens_seen/refinecode": 8192 * step,
            "epochs/refinecode": 0.01 * done,
            "timing/seqs_per_second": 100.0,
            "timing/target_tokens_per_second": 41000.0 + noise.gauss(0, 900),
            "timing/data_wait_share": 0.01 * noise.random(),
            "timing/mfu": 0.4,
            "timing/goodput": 0.9,
            "timing/lost_seconds/startup": 2.9,
            "timing/lost_seconds/compile": 3.3,
        }


def write_evaluation(folder: Path, *, params: str, level: int, problems: int = 40) -> Path:
    """Bits per byte, samples and one benchmark, as `opencoder_jax.evaluate` leaves them."""
    rows = [
        {
            "task_id": f"HumanEval/{number}",
            "sample": 0,
            "language": "python",
            "subset": "",
            "prompt": f"def f{number}():\n",
            "completion": f"    return {number + level}  # {HOSTILE}\n",
            "verdict": "passed" if number % (5 - level) == 4 - level else "failed",
            "reason": "",
        }
        for number in range(problems)
    ]
    score = {"bits_per_byte": 1.3 + level / 20, "bytes": 90000}
    results: dict[str, dict[str, Any]] = {
        "bits_per_byte": {
            "sets": {"refinecode": {"total": score, "languages": {"c": score, "vim script": score}}}
        },
        "humaneval": scores(rows, [1]),
        "samples": {
            "samples": [
                {
                    "title": "A function",
                    "prompt": "def add(a, b):\n",
                    "completion": f"    return {level}\n{HOSTILE}",
                }
            ]
        },
    }
    for task, values in results.items():
        target = folder / task
        target.mkdir(parents=True)
        write_json(target / "results.json", values)
        if task == "humaneval":
            (target / "samples.jsonl").write_text("".join(map(row_text, rows)), encoding="utf-8")
        config = {"task": task, "step": 100}
        write_manifest(target, job="evaluate", config=config, inputs={"params": params}, counts={})
    return folder
