"""Writes the folders of a finished run, small, with text that tries to break the page."""

import json
import math
from pathlib import Path

from opencoder_jax.formats.conversation import Conversation, encode_conversation
from opencoder_jax.formats.document import Document, encode_document
from opencoder_jax.formats.manifest import write_json, write_manifest
from opencoder_jax.formats.shards import shard_name, write_shard
from opencoder_jax.model.config import TransformerConfig

HOSTILE = '</pre></script><script>alert("out")</script><img src=x onerror=alert(1)> {{ 7*7 }}'
MODEL = TransformerConfig(4096, 4, 128, 4, 2, 32, 384, 10_000.0, 512)
STAGES = ("listed", "read", "exact_dedup", "near_dedup", "repaired", "kept")
LANGUAGES = ("python", "cpp", "javascript", "html", "markdown", "json", "c", "shell")


def write_run(folder: Path) -> Path:
    write_corpus(folder / "corpus")
    write_tokenizer(folder / "tokenizer")
    write_packed(folder / "packed-512" / "refinecode", sequences=16204)
    write_packed(folder / "packed-512" / "code_snippets", sequences=121)
    write_synthetic(folder)
    first = 0
    for index, (name, steps) in enumerate(
        (("pretrain", 600), ("anneal", 200), ("sft_stage1", 80), ("sft_stage2", 80))
    ):
        write_phase(folder / name, first_step=first if index < 2 else 0, steps=steps, level=index)
        write_evaluation(folder / name / "evaluation", level=index)
        first += steps
    return folder


def write_corpus(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.gin").write_text(f"# {HOSTILE}\nrefinecode.seed = 0\n")
    languages = {
        language: {
            stage: {
                "documents": int(900 / (rank + 1) * (1 - 0.13 * level)),
                "bytes": int(9e6 / (rank + 1) * (1 - 0.13 * level)),
            }
            for level, stage in enumerate(STAGES)
        }
        for rank, language in enumerate(LANGUAGES)
    }
    totals = {
        stage: {
            unit: sum(by_stage[stage][unit] for by_stage in languages.values())
            for unit in ("documents", "bytes")
        }
        for stage in STAGES
    }
    lost = totals["listed"]["documents"] - totals["kept"]["documents"]
    drop = {
        "reason": "rule",
        "repo": "pip==26.0",
        "path": f"pip/_vendor/{HOSTILE}.py",
        "language": "python",
        "sample": f"x = '''{HOSTILE}'''\n" * 3,
        "signal": "qsc_code_num_words",
        "value": 12.0,
        "threshold": "< 30",
        "detail": "",
    }
    undecodable = {**drop, "reason": "not_utf8", "signal": "", "value": None, "detail": HOSTILE}
    members = [
        {"id": "a", "repo": "b", "path": HOSTILE, "kept_id": kept, "jaccard": 0.99}
        for kept in ("a", "c")
    ]
    write_json(
        folder / "statistics.json",
        {
            "stages": STAGES,
            "totals": totals,
            "languages": languages,
            "dropped": {"rule": lost - 30, "exact_duplicate": 20, "not_utf8": 10},
            "samples": {"rule: qsc_code_num_words": [drop, drop], "not_utf8": [undecodable]},
            "rules": {
                "qsc_code_num_words": rule_counts(180, 100, 44),
                "qsc_code_frac_chars_digit": rule_counts(70, 20, 12),
            },
            "clusters": [{"id": "a", "kept": "a", "size": 4, "dropped": 3, "members": members}],
            "replaced": {
                "licence_header": {"documents": 412, "replacements": 412},
                "<email>": {"documents": 20, "replacements": 77},
            },
        },
    )
    finish(folder, "refinecode")


def rule_counts(hits: int, first: int, sole: int) -> dict[str, int]:
    sizes = {"hit_bytes": 900 * hits, "sole_bytes": 800 * sole}
    return {"hits": hits, "first": first, "sole": sole, **sizes}


def write_tokenizer(folder: Path) -> None:
    folder.mkdir(parents=True)
    languages = {
        language: {
            "documents": 9,
            "bytes": 9000 - i,
            "tokens": 3000,
            "bytes_per_token": 3.4 - i / 9,
        }
        for i, language in enumerate(LANGUAGES)
    }
    counts = {"bytes_per_token": 3.12, "languages": languages}
    finish(folder, "train_tokenizer", counts, config={"vocab_size": 4096})


def write_packed(folder: Path, sequences: int) -> None:
    folder.mkdir(parents=True)
    side = {
        "sequences": sequences,
        "predicted_tokens": sequences * 500,
        "padding_share": 0.0123,
        "split_documents": 19,
    }
    counts = {
        "accounting": {"input": 900, "output": 898, "dropped": {"too_long": 2}},
        "train": side,
        "heldout": {**side, "sequences": sequences // 20},
    }
    finish(folder, "pack", counts, config={"sequence_length": 512})


def write_synthetic(folder: Path) -> None:
    document = Document(
        id="0" * 32,
        text=f"def f():\n    return {HOSTILE!r}\n",
        repo="python-3.12",
        path="statistics.py",
        provenance="doctested-function",
    )
    conversation = Conversation(
        id="0" * 32,
        messages=(("user", f"Write f. {HOSTILE}"), ("assistant", "```python\ndef f(): ...\n```")),
        language="python",
        repo="python-3.12",
        provenance="docstring-function",
    )
    accounting = {"input": 50, "output": 21, "dropped": {"doctest_failed": 20, "timeout": 9}}
    for name in ("annealing_data/code_snippets", "sft_data/stage2"):
        (folder / name).mkdir(parents=True)
        kind = "documents" if name.startswith("annealing") else "conversations"
        record = (
            encode_document(document) if kind == "documents" else encode_conversation(conversation)
        )
        write_shard(folder / name / shard_name(kind, 0, 1), [record])
        finish(folder / name, "synthesis", {"accounting": accounting})


def write_phase(folder: Path, first_step: int, steps: int, level: int) -> None:
    (folder / "train").mkdir(parents=True)
    (folder / "heldout").mkdir(parents=True)
    write_json(
        folder / "run.json",
        {
            "config": {f"model.{name}": value for name, value in MODEL.to_json().items()},
            "inputs": {"data.mixture.refinecode": 84.0, "data.mixture.code_snippets": 16.0},
        },
    )
    lines = []
    for step in range(1, steps + 1):
        loss = 5.5 / (level + 1) ** 0.6 * math.exp(-step / (steps / 2)) + 2.6 - level * 0.3
        line = {
            "step": first_step + step,
            "loss_per_nonpadding_target_token": loss + 0.1 * math.sin(step * 7.1),
            "learning_rate": 3e-3
            * min(1, step / 40)
            * (1 if level == 0 else 1 - step / steps / 1.1),
            "tokens_seen/refinecode": 6800 * (step + 1000 * level),
            "tokens_seen/code_snippets": 1300 * (step + 1000 * level),
            "timing/target_tokens_per_second": 41000.0,
        }
        lines.append(json.dumps(line))
    (folder / "train" / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 9')
    (folder / "heldout" / "metrics.jsonl").write_text(lines[steps // 2] + "\n" + lines[-1])
    finish(folder, "train")


def write_evaluation(folder: Path, level: int) -> None:
    languages = {
        language: {"bits_per_byte": 1.4 + rank / 8 - level / 9, "bytes": 90000 // (rank + 1)}
        for rank, language in enumerate(LANGUAGES)
    }
    total = {"bits_per_byte": 1.6 - level / 9, "bytes": 300000}
    sets = {"sets": {"refinecode": {"total": total, "languages": languages}}}
    samples = [
        {"title": "A function", "prompt": "def add(a, b):\n", "completion": f"    return {HOSTILE}"}
    ]
    problem = {
        "task_id": "HumanEval/0",
        "prompt": "def has_close_elements(numbers):\n",
        "completion": f"    return {HOSTILE}\n",
        "verdict": "failed",
        "reason": "AssertionError",
    }
    humaneval = {
        "pass_at_1": 0.0061,
        "pass_at_1_interval": [0.001, 0.034],
        "problems": 164,
        "verdicts": {"passed": 1, "failed": 160, "timeout": 3},
    }
    results = {"bits_per_byte": sets, "samples": {"samples": samples}, "humaneval": humaneval}
    for task, values in results.items():
        (folder / task).mkdir(parents=True)
        write_json(folder / task / "results.json", values)
        if task == "humaneval":
            passed = {**problem, "task_id": "HumanEval/1", "verdict": "passed"}
            (folder / task / "samples.jsonl").write_text(
                json.dumps(problem) + "\n" + json.dumps(passed) + "\n"
            )
        finish(folder / task, "evaluate")


def finish(folder: Path, job: str, counts: dict | None = None, config: dict | None = None) -> None:
    write_json(
        folder / "timing.json",
        {"wall_seconds": 31.5, "cpu_seconds": 55.0, "peak_memory_bytes": 7.1e8},
    )
    write_manifest(
        folder,
        job=job,
        config=config or {},
        inputs={"corpus": "0123456789abcdef"},
        counts=counts or {},
    )
