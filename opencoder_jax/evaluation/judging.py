"""A program's verdict: run in the sandbox, once or once a case, and compared.

A program without cases passes by running to its end. With cases it has to print what each
expects, line by line, white space at the ends of lines aside; numbers count as equal where
they are the same decimal numbers (`1.0` and `1.00`), as LiveCodeBench has it. Cases run one
after another and the first that fails ends it. Programs that cannot be run here are `skipped`,
which is no failure. A language that the sandbox has no toolchain for is one of them.
"""

import dataclasses
import decimal
import re

from opencoder_jax.evaluation.benchmark import Case, Program
from opencoder_jax.evaluation.scores import PASSED, SKIPPED
from opencoder_jax.sandbox import LANGUAGES, Result, Sandbox, missing_toolchain

# Of what a program printed and was expected to print, in a reason.
_SHOWN = 120


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """What became of an answer.

    Attributes:
      verdict: the sandbox's, or `skipped`.
      reason: for people; empty if it passed.
      seconds: wall time of all its runs.
    """

    verdict: str
    reason: str
    seconds: float


def unrunnable(language: str) -> str:
    """Why programs of a language cannot run here; empty: they can."""
    if language not in LANGUAGES:
        return f"nothing here runs {language}"
    return missing_toolchain(language)


def judge(sandbox: Sandbox, program: Program) -> Judgement:
    """Runs a program and says whether it passed.

    Raises:
      SandboxUnavailable: this machine cannot isolate programs.
    """
    if program.unrunnable:
        return Judgement(SKIPPED, f"skipped: {program.unrunnable}", 0.0)
    lacking = unrunnable(program.language)
    if lacking:
        return Judgement(SKIPPED, f"skipped: {lacking}", 0.0)
    seconds = 0.0
    for number, case in enumerate(program.cases or (Case(""),), start=1):
        result = sandbox.run(
            program.source,
            language=program.language,
            files=program.files,
            stdin=case.stdin,
            exit_passes=program.exit_passes,
        )
        seconds += result.seconds
        verdict, reason = _verdict(result, program, case)
        if verdict == SKIPPED:
            reason = f"skipped: {reason}"
        if verdict != PASSED:
            return Judgement(
                verdict, f"case {number}: {reason}" if program.cases else reason, seconds
            )
    return Judgement(PASSED, "", seconds)


def _verdict(result: Result, program: Program, case: Case) -> tuple[str, str]:
    if result.verdict != PASSED:
        return result.verdict, result.reason
    if case.expected is not None and not same_output(result.stdout, case.expected):
        return "failed", f"printed {_short(result.stdout)}, expected {_short(case.expected)}"
    if program.forbidden:
        found = re.search(program.forbidden, result.stdout + result.stderr, re.MULTILINE)
        if found:
            return "failed", f"printed {_short(found[0])}"
    return PASSED, ""


def same_output(printed: str, expected: str) -> bool:
    """Whether two outputs say the same: line by line, decimal numbers by value."""
    lines, wanted = (
        [line.strip() for line in text.strip().split("\n")] for text in (printed, expected)
    )
    return len(lines) == len(wanted) and all(map(_same_line, lines, wanted))


def _same_line(line: str, wanted: str) -> bool:
    if line == wanted:
        return True
    try:
        return [decimal.Decimal(word) for word in line.split()] == [
            decimal.Decimal(word) for word in wanted.split()
        ]
    except decimal.InvalidOperation:
        return False


def _short(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
