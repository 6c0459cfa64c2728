"""A program's verdict: run in the sandbox, once or once a case, and compared.

A program without cases passes by running to its end. With cases it has to print what each
expects, line by line, white space at the ends of lines aside; numbers count as equal where
they are the same decimal numbers (`1.0` and `1.00`), as LiveCodeBench has it. Cases run one
after another and the first that fails ends it. Programs that cannot be run here are `skipped`,
which is no failure.
"""

import dataclasses
import decimal

from opencoder_jax.evaluation.benchmark import Program
from opencoder_jax.evaluation.scores import PASSED, SKIPPED
from opencoder_jax.sandbox import Result, Sandbox

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


def judge(sandbox: Sandbox, program: Program) -> Judgement:
    """Runs a program and says whether it passed.

    Raises:
      SandboxUnavailable: this machine cannot isolate programs.
    """
    if program.language != "python":
        return Judgement(SKIPPED, f"skipped: no {program.language}", 0.0)
    if not program.cases:
        result = sandbox.run(program.source, files=program.files)
        return Judgement(result.verdict, _reason(result), result.seconds)
    seconds = 0.0
    for number, case in enumerate(program.cases, start=1):
        files = {**program.files, "stdin.txt": case.stdin}
        result = sandbox.run(program.source, files=files)
        seconds += result.seconds
        if result.verdict != PASSED:
            return Judgement(result.verdict, f"case {number}: {_reason(result)}", seconds)
        if not same_output(result.stdout, case.expected):
            reason = (
                f"case {number}: printed {_short(result.stdout)}, expected {_short(case.expected)}"
            )
            return Judgement("failed", reason, seconds)
    return Judgement(PASSED, "", seconds)


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


def _reason(result: Result) -> str:
    return result.reason


def _short(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
