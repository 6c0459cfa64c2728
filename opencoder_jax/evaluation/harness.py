"""Runs one benchmark on one model: asks, keeps, judges, scores; goes on after a kill.

Answers are kept (`answers.jsonl`) the moment that they are there, and judged beside the rest
of the generation; each judged answer is kept (`samples.jsonl`) with its prompt, program and
verdict. A run that was killed asks no question again that was answered, and runs no program
again that was judged. At the end `samples.jsonl` lies in the order of the problems.
Next: `benchmark` is what is run, `answerers` whom, `scores` what comes of it.
"""

import dataclasses
import importlib.machinery
import os
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.answerers.answerer import Answerer, AnswerSettings, Completion
from opencoder_jax.evaluation.benchmark import Benchmark, Problem, Question
from opencoder_jax.evaluation.contamination import ProblemTexts
from opencoder_jax.evaluation.judging import judge
from opencoder_jax.evaluation.kept_rows import KeptRows, row_text
from opencoder_jax.evaluation.run_settings import RunSettings
from opencoder_jax.evaluation.scores import scores
from opencoder_jax.formats.manifest import fingerprint
from opencoder_jax.progress import track
from opencoder_jax.sandbox import Sandbox

SAMPLES_NAME = "samples.jsonl"
ANSWERS_NAME = "answers.jsonl"


class CodeTask:
    """One benchmark, asked in one way, under one set of settings.

    Attributes:
      name: the benchmark's.
      benchmark: what is asked.
      chat: asked as a chat; otherwise the model continues text.
      problems: what is asked of it, in order.
    """

    def __init__(self, benchmark: Benchmark, run: RunSettings, chat: bool) -> None:
        """Raises: InputError: no data, or the benchmark cannot be asked in this way."""
        style = "chat" if chat else "base"
        if style not in benchmark.styles:
            raise InputError(
                f"{benchmark.name} is for {' and '.join(benchmark.styles)} models, and this one is "
                f"asked as a {style} model (--prompting)"
            )
        self.name = benchmark.name
        self.benchmark = benchmark
        self.chat = chat
        self.problems = benchmark.problems(run.data)[: run.limit]
        self._run = run
        self._absent: set[str] = set()

    def settings(self) -> dict[str, Any]:
        """What the result depends on, besides the model and the problems."""
        run = self._run
        return {
            **self.benchmark.settings(),
            "chat": self.chat,
            "samples": run.samples,
            "temperature": run.temperature,
            "top_p": run.top_p,
            "ks": list(run.ks),
            "seed": run.seed,
            "max_new_tokens": self._max_new_tokens,
        }

    def inputs(self) -> dict[str, str]:
        """Fingerprint of the problems."""
        return {"problems": fingerprint([[p.task_id, p.record] for p in self.problems])}

    def texts(self) -> ProblemTexts:
        """What training data must not have."""
        searched = self.benchmark.searched_text
        return ProblemTexts(self.name, tuple((p.task_id, searched(p)) for p in self.problems))

    def run(self, answerer: Answerer, folder: Path) -> dict[str, Any]:
        """Pass rates and verdicts; `samples.jsonl` in `folder` has every answer.

        Args:
          answerer: who answers.
          folder: holds what a killed run of the same work left.

        Raises:
          SandboxUnavailable: this machine cannot isolate programs.
        """
        run = self._run
        questions = [self._question(problem) for problem in self.problems]
        # Opened first: that the machine cannot isolate should show before the generation.
        with (
            self._sandbox() as sandbox,
            KeptRows(folder / ANSWERS_NAME) as answers,
            KeptRows(folder / SAMPLES_NAME) as samples,
        ):
            sandbox.run("pass")
            judged = {(row["task_id"], row["sample"]) for row in samples.rows}
            numbers = {problem.task_id: n for n, problem in enumerate(self.problems)}
            with (
                track(f"{self.name}: answers judged", run.samples * len(questions)) as advance,
                _Judges(run.workers) as judges,
            ):

                def submit(number: int, completions: Sequence[Completion]) -> None:
                    problem = self.problems[number]
                    for sample, completion in enumerate(completions):
                        if (problem.task_id, sample) in judged:
                            advance()
                            continue
                        judges.submit(
                            self._judge,
                            *(sandbox, samples, problem, questions[number], sample, completion),
                            advance,
                        )

                answered = {}
                for row in answers.rows:
                    answered[numbers[row["task_id"]]] = [
                        Completion(**c) for c in row["completions"]
                    ]
                if answered:
                    print(
                        f"{folder}: goes on with {len(answered)} of {len(questions)} problems "
                        f"answered, {len(judged)} answers judged",
                        file=sys.stderr,
                    )
                for number, completions in answered.items():
                    submit(number, completions)
                left = [n for n in range(len(questions)) if n not in answered]
                asked = [questions[n] for n in left]
                for index, completions in answerer.complete(asked, self._answer_settings()):
                    number = left[index]
                    answers.append(
                        {
                            "task_id": self.problems[number].task_id,
                            "completions": [dataclasses.asdict(c) for c in completions],
                        }
                    )
                    submit(number, completions)
                    judges.check()
            rows = sorted(samples.rows, key=lambda r: (numbers[r["task_id"]], r["sample"]))
        _write_rows(folder / SAMPLES_NAME, rows)
        (folder / ANSWERS_NAME).unlink()
        return self._results(rows)

    def rows(self, results: Mapping[str, Any]) -> list[tuple[str, str]]:
        """(measure, value) for the table at the end."""
        rows = []
        for k in self._run.ks:
            if f"pass_at_{k}" not in results:
                continue
            low, high = results[f"pass_at_{k}_interval"]
            rate = results[f"pass_at_{k}"]
            rows.append((f"pass@{k}", f"{rate:.1%} ({low:.1%} to {high:.1%})"))
        for name, part in results.get("languages", {}).items():
            if "pass_at_1" in part:
                rows.append((f"pass@1, {name}", f"{part['pass_at_1']:.1%}"))
        if results.get("mean_of_languages", {}).get("pass_at_1") is not None:
            rows.append(("pass@1, mean", f"{results['mean_of_languages']['pass_at_1']:.1%}"))
        skipped = results["verdicts"].get("skipped", 0)
        if skipped:
            rows.append(("skipped, not scored", str(skipped)))
        return rows

    def _sandbox(self) -> Sandbox:
        needed = {name for problem in self.problems for name in self.benchmark.needs(problem)}
        packages, preload = None, []
        if needed:
            packages = self._run.packages_dir or sysconfig.get_path("purelib")
            find = importlib.machinery.PathFinder.find_spec
            self._absent = {name for name in needed if find(name, [packages]) is None}
            there = needed - self._absent
            preload = [n for n in self.benchmark.preload if n.split(".")[0] in there]
        return Sandbox(
            self.benchmark.limits,
            allow_unisolated=self._run.allow_unisolated,
            packages=packages,
            preload=preload,
        )

    @property
    def _max_new_tokens(self) -> int:
        return self._run.max_new_tokens or self.benchmark.max_new_tokens

    def _answer_settings(self) -> AnswerSettings:
        run = self._run
        return AnswerSettings(self._max_new_tokens, run.samples, run.temperature, run.top_p)

    def _question(self, problem: Problem) -> Question:
        # Of the problem, not of its place: it is the same in a part of the benchmark.
        seed = int(fingerprint([self._run.seed, problem.task_id])[:7], 16)
        return dataclasses.replace(self.benchmark.question(problem, self.chat), seed=seed)

    def _judge(
        self,
        sandbox: Sandbox,
        samples: KeptRows,
        problem: Problem,
        question: Question,
        sample: int,
        completion: Completion,
        advance: Callable[[], object],
    ) -> None:
        program = self.benchmark.program(problem, completion.text, self.chat)
        lacking = [name for name in self.benchmark.needs(problem) if name in self._absent]
        if lacking:
            program = dataclasses.replace(program, unrunnable=f"no {', '.join(lacking)}")
        judgement = judge(sandbox, program)
        samples.append(
            {
                "task_id": problem.task_id,
                "sample": sample,
                "language": problem.language,
                "subset": problem.subset,
                "prompt": question.shown,
                "suffix": question.suffix,
                "completion": completion.text,
                "finish_reason": completion.finish_reason,
                "tokens": completion.tokens,
                "program": program.shown or program.source,
                "verdict": judgement.verdict,
                "reason": judgement.reason,
                "seconds": round(judgement.seconds, 4),
            }
        )
        advance()

    def _results(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        cut = sum(row["finish_reason"] == "length" for row in rows)
        return {
            **scores(rows, self._run.ks),
            "samples_per_problem": self._run.samples,
            "chat": self.chat,
            "cut_at_limit": cut,
        }


class _Judges:
    """Threads that judge while answers still come."""

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="judge")
        self._pending: list[Future[None]] = []

    def __enter__(self) -> "_Judges":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                for future in self._pending:
                    future.result()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def submit(self, function: Callable[..., None], *arguments: object) -> None:
        self._pending.append(self._pool.submit(function, *arguments))

    def check(self) -> None:
        """Raises what a judge raised, rather than at the end."""
        ended = [future for future in self._pending if future.done()]
        for future in ended:
            future.result()
        self._pending = [future for future in self._pending if not future.done()]


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """In their order, under a temporary name first."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text("".join(map(row_text, rows)), encoding="utf-8")
    temporary.replace(path)
