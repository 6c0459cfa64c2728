"""HumanEval: the model answers, the sandbox judges, everything is kept.

Base models continue the prompt; chat models get it inside an instruction and answer in
ChatML (as the released evaluator, OpenCodeEval, has it). Greedy with one answer a problem is
the paper's pass@1; more samples at a temperature give pass@k. `samples.jsonl` holds each
prompt, completion, program and verdict, so a score can be looked into. What differs from
the released evaluator is in docs/evaluation.md. Problems: `humaneval_problems`.
"""

import ast
import collections
import dataclasses
import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from opencoder_jax.decoding.generation import Generation, generate
from opencoder_jax.decoding.sampling import SamplingSettings
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.evaluation.humaneval_problems import (
    Problem,
    load_problems,
    pass_at_k,
    program,
)
from opencoder_jax.evaluation.prompts import chat_ids
from opencoder_jax.formats.manifest import fingerprint
from opencoder_jax.model.loading import LoadedModel
from opencoder_jax.progress import track
from opencoder_jax.sandbox import Limits, Result, Sandbox

SAMPLES_NAME = "samples.jsonl"
_FENCED = re.compile(r"```[^\n`]*\n(.*?)(?:^```|\Z)", re.DOTALL | re.MULTILINE)
# Two-sided 95 % of a normal distribution.
_Z = 1.959964


@dataclasses.dataclass(frozen=True)
class HumanEval:
    """The task.

    Attributes:
      chat: ask in ChatML with `instruction`; otherwise let the model continue the prompt.
      instruction: the user's message; `{prompt}` in it becomes the problem's prompt.
      stop: texts that end an answer.
      max_new_tokens: of an answer.
      samples_per_problem: answers to each problem.
      temperature: 0 is greedy.
      ks: the k of pass@k, none above `samples_per_problem`.
      num_problems: only the first so many; None: all 164.
      limits: for each program.
      workers: programs that run side by side; changes the speed, not the result.
      batch_size: prompts that are decoded side by side.
      seed: of the sampling.
      allow_unisolated: run where this machine cannot isolate programs; see docs/sandbox.md.
    """

    chat: bool
    instruction: str
    stop: Sequence[str]
    max_new_tokens: int
    samples_per_problem: int = 1
    temperature: float = 0.0
    ks: Sequence[int] = (1,)
    num_problems: int | None = None
    limits: Limits = Limits()  # noqa: RUF009  (frozen)
    workers: int = 2
    batch_size: int = 16
    seed: int = 0
    allow_unisolated: bool = False

    name: ClassVar[str] = "humaneval"

    def __post_init__(self) -> None:
        counts = ("max_new_tokens", "samples_per_problem", "workers", "batch_size")
        require_at_least(1, **{name: getattr(self, name) for name in counts})
        require_at_least(0, temperature=self.temperature)
        if self.num_problems is not None:
            require_at_least(1, num_problems=self.num_problems)
        if not self.ks or min(self.ks) < 1 or max(self.ks) > self.samples_per_problem:
            raise InputError(
                f"ks={list(self.ks)}: expected numbers from 1 to samples_per_problem="
                f"{self.samples_per_problem}"
            )
        if self.samples_per_problem > 1 and self.temperature == 0:
            raise InputError("samples_per_problem above 1 at temperature 0 gives equal answers")
        if self.chat and "{prompt}" not in self.instruction:
            raise InputError("the instruction lacks {prompt}, where the problem goes")

    def settings(self) -> dict[str, Any]:
        left_out = ("workers", "batch_size", "allow_unisolated")
        fields = (f.name for f in dataclasses.fields(self) if f.name not in left_out)
        values = {name: getattr(self, name) for name in fields}
        return {**values, "stop": list(self.stop), "ks": list(self.ks)}

    def inputs(self) -> dict[str, str]:
        return {"problems": fingerprint([dataclasses.asdict(p) for p in self._problems()])}

    def run(self, model: LoadedModel, folder: Path) -> dict[str, Any]:
        """Pass rates and verdicts; writes `samples.jsonl`.

        Raises:
          SandboxUnavailable: this machine cannot isolate programs.
        """
        problems = [p for p in self._problems() for _ in range(self.samples_per_problem)]
        # Opened first: that the machine cannot isolate should show before the generation.
        with Sandbox(self.limits, allow_unisolated=self.allow_unisolated) as sandbox:
            sandbox.run("pass")
            generations = self._generate(model, problems)
            programs = [
                self.program(problem, generation.text)
                for problem, generation in zip(problems, generations, strict=True)
            ]
            with track("HumanEval: running programs", len(programs), "programs") as advance:
                results = sandbox.run_many(programs, workers=self.workers, progress=advance)
        _write_samples(folder / SAMPLES_NAME, problems, generations, programs, results)
        return self._summary(problems, results)

    def rows(self, results: Mapping[str, Any]) -> list[tuple[str, str]]:
        rows = []
        for k in self.ks:
            low, high = results[f"pass_at_{k}_interval"]
            rate = results[f"pass_at_{k}"]
            rows.append((f"HumanEval pass@{k}", f"{rate:.1%} ({low:.1%} to {high:.1%})"))
        return rows

    def program(self, problem: Problem, text: str) -> str:
        """The program that tests one answer of the model."""
        if self.chat:
            # The prompt's imports and helpers stay; its function is defined anew.
            answer = parsable_start("", fenced_code(text))
            return program(problem, f"    pass\n\n\n{answer}")
        return program(problem, parsable_start(problem.prompt, text))

    def _problems(self) -> list[Problem]:
        return load_problems()[: self.num_problems]

    def _generate(self, model: LoadedModel, problems: Sequence[Problem]) -> list[Generation]:
        if self.chat:
            instructions = [self.instruction.replace("{prompt}", p.prompt) for p in problems]
            prompts = [chat_ids(model, instruction) for instruction in instructions]
        else:
            prompts = [model.prompt_ids(problem.prompt) for problem in problems]
        settings = SamplingSettings(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            stop=tuple(self.stop),
            seed=self.seed,
            batch_size=self.batch_size,
        )
        with track("HumanEval: generating", len(prompts), "answers") as advance:
            return generate(model, prompts, settings, on_finished=advance)

    def _summary(self, problems: Sequence[Problem], results: Sequence[Result]) -> dict[str, Any]:
        passed = collections.Counter({problem.task_id: 0 for problem in problems})
        for problem, result in zip(problems, results, strict=True):
            passed[problem.task_id] += result.verdict == "passed"
        summary: dict[str, Any] = {
            "problems": len(passed),
            "samples_per_problem": self.samples_per_problem,
            "passed_samples": sum(passed.values()),
            "verdicts": dict(sorted(collections.Counter(r.verdict for r in results).items())),
        }
        for k in self.ks:
            rates = [pass_at_k(self.samples_per_problem, count, k) for count in passed.values()]
            rate = math.fsum(rates) / len(rates)
            summary[f"pass_at_{k}"] = rate
            summary[f"pass_at_{k}_interval"] = list(wilson_interval(rate, len(rates)))
        return summary


def fenced_code(text: str) -> str:
    """The first fenced block of a chat answer, closed or not; the whole text without one."""
    match = _FENCED.search(text)
    return match[1] if match else text


def parsable_start(before: str, text: str) -> str:
    """The longest run of whole lines from the start of `text` that parses after `before`.

    An answer that was cut at its token limit, or ends in prose, would be no program at
    all. Empty where not even the first line parses.
    """
    lines = text.splitlines(keepends=True)
    for count in range(len(lines), 0, -1):
        start = "".join(lines[:count])
        if _parses(before + start):
            return start
    return ""


def wilson_interval(rate: float, trials: int) -> tuple[float, float]:
    """95 % interval of a mean of `trials` values in [0, 1] (Wilson 1927).

    Exact in form where each is 0 or 1; values between vary less, so it is wide enough.
    """
    spread = _Z**2 / trials
    centre = (rate + spread / 2) / (1 + spread)
    half = math.sqrt(rate * (1 - rate) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def _parses(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            # Invalid escapes in what a model wrote are not this program's warnings.
            warnings.simplefilter("ignore")
            ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _write_samples(
    path: Path,
    problems: Sequence[Problem],
    generations: Sequence[Generation],
    programs: Sequence[str],
    results: Sequence[Result],
) -> None:
    rows = zip(problems, generations, programs, results, strict=True)
    with path.open("w", encoding="utf-8") as file:
        for problem, generation, source, result in rows:
            sample = {
                "task_id": problem.task_id,
                "prompt": problem.prompt,
                "completion": generation.text,
                "finish_reason": generation.finish_reason,
                "program": source,
                "verdict": result.verdict,
                "reason": result.reason,
            }
            file.write(json.dumps(sample, ensure_ascii=False) + "\n")
