"""Keeps drafts whose solution passes its tests, and whose tests fail on a stub of it.

Three runs: the solution with its tests; again with other string hashes (Python), which
shuffles sets; and the tests with a stub, whose functions give nothing back. Tests that pass
on that prove nothing: they do not call the solution, catch whatever it raises, or define it
anew. Verdicts do not depend on the machine: limits are far above what a kept program needs.
"""

import ast
import dataclasses
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.accounting import Split
from beam_pipelines.synthesis.drafts import Draft
from beam_pipelines.synthesis.executable import EXECUTABLE
from beam_pipelines.synthesis.in_sandbox import BATCH, InSandbox
from beam_pipelines.synthesis.stubs import NoStubError, stubs, with_parentheses
from opencoder_jax.errors import require_at_least
from opencoder_jax.evaluation.benchmark import Program as Joined
from opencoder_jax.evaluation.benchmarks.multilingual_programs import program
from opencoder_jax.evaluation.function_text import body_of, without_inert
from opencoder_jax.sandbox import Program, Result, Sandbox

_DROPPED = "dropped"
_DEFINITION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_ADDRESS = re.compile(r"0x[0-9a-f]{4,}")
_NAME = re.compile(r"(?<![\w$#])[A-Za-z_$][\w$]*+(?=\s*[(=<:])")
_LEAVES = re.compile(
    r"(?<![\w$])(?:_?exit|_Exit|quick_exit|abort|die|os\.Exit|System\.exit|Runtime\.halt|process\.exit"
    r"|process::exit|Environment\.Exit)\s*\(|^[ \t]*exit\b(?=[ \t]*\d*[ \t]*(?:;|$))",
    re.MULTILINE,
)
# No compiler tells a stub that is none, or a demonstration that needs results, from tests.
_SCRIPTS = frozenset(("bash", "javascript", "typescript", "php"))
# What stands before a parenthesis or a `<` and is no function: of any of the languages.
_NO_NAMES = frozenset(
    (
        *("main", "Main", "if", "for", "foreach", "while", "switch", "catch", "return", "func"),
        *("fn", "function", "static", "public", "private", "protected", "impl", "template", "std"),
    )
)


class ProveByTests(beam.PTransform):
    """PCollection[Draft] with parts `code` and `tests` to a `Split`.

    Drafts kept are `executed` and name what tests call in the part `entry_point`. Reasons:
    `not_parsable`, `tests_do_not_use_solution`, `tests_repeat_one_case`, `solution_ends_program`,
    `tests_` and a verdict of the sandbox, `depends_on_hash_seed`, `passes_without_solution`.
    """

    def __init__(
        self, sandbox_workers: int, allow_unisolated: bool, packages: str | None = None
    ) -> None:
        """Args:
        sandbox_workers: programs at a time in each Beam worker.
        allow_unisolated: see `Sandbox`.
        packages: a site-packages folder that Python programs may import from.
        """
        super().__init__()
        require_at_least(1, sandbox_workers=sandbox_workers)
        self._judge = _Prove(sandbox_workers, allow_unisolated, packages)

    def expand(self, drafts: beam.PCollection) -> Split:
        judged = (
            drafts
            | "Batch" >> beam.BatchElements(min_batch_size=BATCH, max_batch_size=BATCH)
            | "RunTests" >> beam.ParDo(self._judge).with_outputs(_DROPPED, main="kept")
        )
        return Split(judged.kept, judged[_DROPPED])


class ProveByRunning(beam.PTransform):
    """PCollection[Draft] with the Python program `code` to a `Split`: what runs to its end stays.

    Reasons: `run_` and a verdict of the sandbox.
    """

    def __init__(
        self, sandbox_workers: int, allow_unisolated: bool, packages: str | None = None
    ) -> None:
        """Args: as of `ProveByTests`."""
        super().__init__()
        require_at_least(1, sandbox_workers=sandbox_workers)
        self._judge = _Run(sandbox_workers, allow_unisolated, packages)

    def expand(self, drafts: beam.PCollection) -> Split:
        judged = (
            drafts
            | "Batch" >> beam.BatchElements(min_batch_size=BATCH, max_batch_size=BATCH)
            | "RunPrograms" >> beam.ParDo(self._judge).with_outputs(_DROPPED, main="kept")
        )
        return Split(judged.kept, judged[_DROPPED])


class _Run(InSandbox):
    def process(self, batch: list[Draft]) -> Iterator[Any]:
        programs = [Program(draft.parts["code"]) for draft in batch]
        results = self._sandboxes[0].run_many(programs, workers=self._sandbox_workers)
        for draft, result in zip(batch, results, strict=True):
            if result.verdict == "passed":
                yield dataclasses.replace(draft, executed=True)
            else:
                drop = draft.drop(f"run_{result.verdict}", _told(result))
                yield TaggedOutput(_DROPPED, drop)


class _Prove(InSandbox):
    hash_seeds = (0, 1)

    def process(self, batch: list[Draft]) -> Iterator[Any]:
        judged: list[Draft] = []
        for draft in batch:
            reason, detail, names = used_names(draft)
            if reason:
                yield TaggedOutput(_DROPPED, draft.drop(reason, detail))
            else:
                judged.append(draft.with_parts(entry_point=" ".join(names)))
        first, second = self._sandboxes
        passed = []
        for draft, result in zip(judged, self._run(first, judged), strict=True):
            if result.verdict == "passed":
                passed.append(draft)
            else:
                drop = draft.drop(f"tests_{result.verdict}", _told(result))
                yield TaggedOutput(_DROPPED, drop)
        python = [draft for draft in passed if draft.language == "python"]
        again = {
            draft.id: result
            for draft, result in zip(python, self._run(second, python), strict=True)
        }
        for draft in passed:
            other = again.get(draft.id)
            if other and other.verdict != "passed":
                yield TaggedOutput(_DROPPED, draft.drop("depends_on_hash_seed", _told(other)))
            elif told := self._passes_on_stub(first, draft):
                yield TaggedOutput(_DROPPED, draft.drop("passes_without_solution", told))
            else:
                yield dataclasses.replace(draft, executed=True)

    def _passes_on_stub(self, sandbox: Sandbox, draft: Draft) -> str:
        """Why the tests prove nothing; empty: they fail on a stub, as they should."""
        language = EXECUTABLE[draft.language].sandbox
        try:
            emptied = stubs(language, draft.parts["code"], draft.parts["entry_point"].split())
        except NoStubError as error:
            return f"no stub: {error}"
        for stub in emptied:
            (result,) = self._run(sandbox, [draft.with_parts(code=stub)])
            if result.verdict == "passed":
                return "tests pass on a solution that returns nothing"
            if result.verdict == "compile_error":
                continue
            if language in _SCRIPTS:
                (alone,) = self._run(sandbox, [draft.with_parts(code=stub, tests="")])
                if alone.verdict != "passed":
                    return "a solution that returns nothing fails without tests, too"
            return ""
        return "no stub of the solution compiles"

    def _run(self, sandbox: Sandbox, drafts: Sequence[Draft]) -> list[Result]:
        joined = [_joined(draft) for draft in drafts]
        results = sandbox.run_many(
            [Program(j.source, j.language, files=j.files) for j in joined],
            workers=self._sandbox_workers,
        )
        return [_judged(j, result) for j, result in zip(joined, results, strict=True)]


def _joined(draft: Draft) -> Joined:
    return program(EXECUTABLE[draft.language].sandbox, draft.parts["code"], draft.parts["tests"])


def _judged(joined: Joined, result: Result) -> Result:
    """The verdict, where a language tells a failed test by what it prints or lacks a library."""
    if joined.unrunnable:
        return dataclasses.replace(result, verdict="skipped", reason=joined.unrunnable)
    if joined.forbidden and re.search(joined.forbidden, result.stdout, re.MULTILINE):
        return dataclasses.replace(result, verdict="failed", reason="a test printed False")
    return result


def _told(result: Result) -> str:
    """The reason without what differs between two runs: addresses, and which clock ran out."""
    if result.verdict not in ("failed", "compile_error", "skipped"):
        return ""
    return _ADDRESS.sub("0x...", result.reason)


def used_names(draft: Draft) -> tuple[str, str, tuple[str, ...]]:
    """(drop reason, detail, names that the solution defines and the tests use)."""
    code, tests = draft.parts["code"], draft.parts["tests"]
    if draft.language == "python":
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                defined = [n.name for n in ast.parse(code).body if isinstance(n, _DEFINITION)]
                tree = ast.parse(tests)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return "not_parsable", str(error), ()
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names = tuple(name for name in dict.fromkeys(defined) if name in used)
    else:
        # Python that leaves before its end has not passed; elsewhere nobody would notice.
        if left := _LEAVES.search(without_inert(code)):
            return "solution_ends_program", left[0], ()
        if draft.language == "shell":
            code = with_parentheses(code)
        # A constructor gives nothing back that could be left out.
        classes = set(re.findall(r"\b(?:class|struct|record)\s+(\w+)", code))
        words = set(re.findall(r"[A-Za-z_$][\w$]*", tests))
        names = tuple(
            name
            for name in dict.fromkeys(_NAME.findall(code))
            if name in words and name not in _NO_NAMES | classes and body_of(code, name) is not None
        )
    if not names:
        return "tests_do_not_use_solution", "", ()
    calls = [line for line in map(str.strip, tests.splitlines()) if names[0] in line]
    if len(calls) > 1 and len(set(calls)) == 1:
        return "tests_repeat_one_case", f"{len(calls)} times {calls[0]}", ()
    return "", "", names
