"""Runs one benchmark on one model: asks, keeps, judges, scores; goes on after a kill.

Answers are kept (`answers.jsonl`) the moment that they are there, and judged beside the rest
of the generation; each judged answer is kept (`samples.jsonl`) with its prompt, program and
verdict. A run that was killed asks no question again that was answered, and runs no program
again that was judged. A problem that this machine cannot run is found before, and costs no answer.
At the end `samples.jsonl` lies in the order of the problems.
Next: `benchmark` is what is run, `answerers` whom, `scores` what comes of it.
"""

import collections
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
from opencoder_jax.evaluation.answerers.answerer import (
    CONTEXT_FULL,
    PROMPT_TOO_LONG,
    Answerer,
    AnswerSettings,
    Completion,
)
from opencoder_jax.evaluation.benchmark import Benchmark, Problem, Question
from opencoder_jax.evaluation.benchmark_texts import load_texts, texts_of
from opencoder_jax.evaluation.contamination import ProblemTexts, kept_out_inputs
from opencoder_jax.evaluation.judging import Judgement, judge, unrunnable
from opencoder_jax.evaluation.kept_rows import KeptRows, row_text
from opencoder_jax.evaluation.run_settings import RunSettings
from opencoder_jax.evaluation.scores import SKIPPED, scores
from opencoder_jax.formats.manifest import fingerprint
from opencoder_jax.progress import track
from opencoder_jax.sandbox import Sandbox

SAMPLES_NAME = "samples.jsonl"
ANSWERS_NAME = "answers.jsonl"
# Of a problem that cannot run here, in place of the reason that an answer ended for.
NOT_ASKED = "not_asked"


class CodeTask:
    """One benchmark, asked in one way, under one set of settings.

    Attributes:
      name: the benchmark's.
      benchmark: what is asked.
      chat: asked as a chat; otherwise the model continues text.
      problems: what is asked of it, in order.
      samples: answers to each.
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
        problems = benchmark.problems(run.data)
        if not problems:
            raise InputError(f"{benchmark.name}: its data have none of its problems")
        self._all_problems = problems
        self.problems = problems[: run.limit]
        self.samples = run.samples
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
        return texts_of(self.benchmark, self._all_problems)

    def kept_out(self) -> dict[str, str]:
        """What manifests of data say that were made without these problems."""
        other = self.benchmark.kept_out_as()
        texts = [self.texts(), *(load_texts([other], self._run.data) if other else ())]
        return kept_out_inputs(texts)

    def run(self, answerer: Answerer, folder: Path) -> dict[str, Any]:
        """Pass rates and verdicts; `samples.jsonl` in `folder` has every answer.

        Args:
          answerer: who answers.
          folder: holds what a killed run of the same work left.

        Raises:
          SandboxUnavailable: this machine cannot isolate programs.
        """
        # Opened first: that the machine cannot isolate should show before the generation.
        with (
            self._sandbox() as sandbox,
            KeptRows(folder / ANSWERS_NAME) as answers,
            KeptRows(folder / SAMPLES_NAME) as samples,
        ):
            sandbox.run("pass")
            questions = {p.task_id: self._question(p) for p in self.problems}
            expected = self.samples * len(questions)
            with (
                track(f"{self.name}: answers judged", expected) as advance,
                _Judges(self._run.workers) as judges,
            ):
                work = _Work(self, sandbox, questions, samples, judges, advance)
                answered = work.go_on(answers, folder)
                left = [p for p in self.problems if p.task_id not in answered]
                lacking = [self.unrunnable(p) for p in left]
                work.skip([pair for pair in zip(left, lacking, strict=True) if pair[1]])
                left = [p for p, reason in zip(left, lacking, strict=True) if not reason]
                asked = [questions[p.task_id] for p in left]
                for number, completions in answerer.complete(asked, self._answer_settings()):
                    task_id = left[number].task_id
                    kept = [dataclasses.asdict(completion) for completion in completions]
                    answers.append({"task_id": task_id, "completions": kept})
                    work.judge(left[number], completions)
                    judges.check()
            rows = work.rows()
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
        for title, key in (
            ("answers cut by the context", "cut_by_context"),
            ("prompts longer than the context", "prompts_too_long"),
        ):
            if results.get(key):
                rows.append((title, str(results[key])))
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

    def unrunnable(self, problem: Problem) -> str:
        """Why no answer of a problem can be run here; empty: it can."""
        lacking = [name for name in self.benchmark.needs(problem) if name in self._absent]
        if lacking:
            return f"no {', '.join(lacking)}"
        return unrunnable(problem.language) or self.benchmark.lacking(problem)

    def _results(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        ends = collections.Counter(row["finish_reason"] for row in rows)
        return {
            **scores(rows, self._run.ks),
            "samples_per_problem": self._run.samples,
            "chat": self.chat,
            "cut_at_limit": ends["length"],
            "cut_by_context": ends[CONTEXT_FULL],
            "prompts_too_long": ends[PROMPT_TOO_LONG],
        }


class _Work:
    """Answers on their way to `samples.jsonl`: judged, or known to be skipped."""

    def __init__(
        self,
        task: CodeTask,
        sandbox: Sandbox,
        questions: Mapping[str, Question],
        samples: KeptRows,
        judges: "_Judges",
        advance: Callable[[], object],
    ) -> None:
        self._task = task
        self._sandbox = sandbox
        self._questions = questions
        self._samples = samples
        self._judges = judges
        self._advance = advance
        self._skipped: list[dict[str, Any]] = []
        # Skipped answers are judged anew: what they lacked may be here now.
        self._judged = {_place(row) for row in samples.rows if row["verdict"] != SKIPPED}

    def go_on(self, answers: KeptRows, folder: Path) -> set[str]:
        """Judges what a killed run left unjudged; returns the problems that it had answers to."""
        answered = {row["task_id"]: row["completions"] for row in answers.rows}
        # A run that was killed after its last answer has them here alone.
        counts = collections.Counter(task_id for task_id, _ in self._judged)
        whole = {task_id for task_id, count in counts.items() if count == self._task.samples}
        whole -= set(answered)
        if answered or whole:
            print(
                f"{folder}: goes on with {len(answered) + len(whole)} of {len(self._questions)} "
                f"problems answered, {len(self._judged)} answers judged",
                file=sys.stderr,
            )
        problems = {problem.task_id: problem for problem in self._task.problems}
        for task_id, completions in answered.items():
            self.judge(problems[task_id], [Completion(**one) for one in completions])
        for _ in range(len(whole) * self._task.samples):
            self._advance()
        return whole | set(answered)

    def judge(self, problem: Problem, completions: Sequence[Completion]) -> None:
        """Has a problem's answers judged, those that are not yet."""
        for sample, completion in enumerate(completions):
            if (problem.task_id, sample) in self._judged:
                self._advance()
            else:
                self._judges.submit(self._judge, problem, sample, completion)

    def skip(self, problems: Sequence[tuple[Problem, str]]) -> None:
        """Says of problems that cannot run here why, in place of answers."""
        reasons = collections.Counter(reason for _, reason in problems)
        if reasons:
            told = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
            name = self._task.name
            print(f"{name}: {len(problems)} problems are skipped: {told}", file=sys.stderr)
        for problem, reason in problems:
            judgement = Judgement(SKIPPED, f"skipped: {reason}", 0.0)
            for sample in range(self._task.samples):
                nothing = Completion("", NOT_ASKED, 0)
                self._skipped.append(self._row(problem, sample, nothing, "", judgement))
                self._advance()

    def rows(self) -> list[dict[str, Any]]:
        """Of all problems, in their order; of an answer judged twice the second verdict."""
        last = {_place(row): row for row in (*self._samples.rows, *self._skipped)}
        numbers = {task_id: number for number, task_id in enumerate(self._questions)}
        return sorted(last.values(), key=lambda r: (numbers[r["task_id"]], r["sample"]))

    def _judge(self, problem: Problem, sample: int, completion: Completion) -> None:
        task = self._task
        program = task.benchmark.program(problem, completion.text, task.chat)
        lacking = task.unrunnable(problem)
        if lacking:
            program = dataclasses.replace(program, unrunnable=lacking)
        judgement = judge(self._sandbox, program)
        shown = program.shown or program.source
        self._samples.append(self._row(problem, sample, completion, shown, judgement))
        self._advance()

    def _row(
        self,
        problem: Problem,
        sample: int,
        completion: Completion,
        program: str,
        judgement: Judgement,
    ) -> dict[str, Any]:
        """A line of `samples.jsonl`."""
        question = self._questions[problem.task_id]
        return {
            "task_id": problem.task_id,
            "sample": sample,
            "language": problem.language,
            "subset": problem.subset,
            "prompt": question.shown,
            "suffix": question.suffix,
            "completion": completion.text,
            "finish_reason": completion.finish_reason,
            "tokens": completion.tokens,
            "program": program,
            "verdict": judgement.verdict,
            "reason": judgement.reason,
            "seconds": round(judgement.seconds, 4),
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


def _place(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["task_id"], row["sample"]


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """In their order, under a temporary name first."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text("".join(map(row_text, rows)), encoding="utf-8")
    temporary.replace(path)
