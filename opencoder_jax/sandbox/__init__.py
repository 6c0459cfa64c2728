"""Runs untrusted programs: model-written code, doctests of strangers, benchmark answers.

    with Sandbox(Limits(wall_seconds=5)) as sandbox:
        sandbox.run("assert sorted([2, 1]) == [1, 2]").verdict   # 'passed'
        sandbox.run("int main() { return 1; }", language="c").verdict   # 'failed'

A program sees no network, no file of the host but Python's installation and its language's
toolchain, no process but its own, and writes only to a scratch folder that dies with it.
`pool` is the side of the caller, `languages` what it knows of compilers, `zygote` the isolated
process that forks once a program, `namespaces` and `privileges` what it is isolated by. Only
the standard library is imported, because the isolated interpreter has nothing else.
`docs/sandbox.md` tells what holds and what does not.
"""

from opencoder_jax.sandbox.languages import LANGUAGES, missing_toolchain
from opencoder_jax.sandbox.limits import Limits, Program, Result, SandboxUnavailable
from opencoder_jax.sandbox.pool import Sandbox

__all__ = [
    "LANGUAGES",
    "Limits",
    "Program",
    "Result",
    "Sandbox",
    "SandboxUnavailable",
    "missing_toolchain",
]
