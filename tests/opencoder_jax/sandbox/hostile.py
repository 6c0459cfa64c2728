"""What a hostile program is; `hostile_escapes`, `hostile_memory`, `hostile_exhaustion` have some.

Each prints `ESCAPED` where its trick works, or leaves a trace that `test_hostile` looks for
outside. `$SECRET` is a file of the host, `$TCP`, `$UDP` and `$UNIX` are servers that listen there,
`$PID` is the test's own process.
"""

import dataclasses
import textwrap


@dataclasses.dataclass(frozen=True)
class Hostile:
    """One program.

    Attributes:
      name: what it tries.
      source: its text.
      verdict: what it must get.
      reason: a piece of what the verdict must say.
      language: of the source.
      by_clock: only the wall clock ends it.
    """

    name: str
    source: str
    verdict: str
    reason: str = ""
    language: str = "python"
    by_clock: bool = False


def refused(name: str, source: str, language: str = "python") -> Hostile:
    """A trick that fails inside, after which the program ends as if nothing had been."""
    return Hostile(name, textwrap.dedent(source), "passed", language=language)


def ended(name: str, source: str, verdict: str, reason: str, language: str = "python") -> Hostile:
    return Hostile(name, textwrap.dedent(source), verdict, reason, language)


def timeout(name: str, source: str, language: str = "python") -> Hostile:
    return Hostile(name, textwrap.dedent(source), "timeout", "it ran longer", language, True)


_ATTEMPT = """
def attempt(what, f):
    try:
        f()
    except (OSError, ValueError, AttributeError):
        return
    print("ESCAPED:", what)

def call(number, *arguments):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
"""


def attempts(name: str, source: str) -> Hostile:
    return Hostile(name, _ATTEMPT + textwrap.dedent(source), "passed")
