"""Keeps the snippets whose doctests pass, twice, and fail once their bodies are gone.

Three runs in the sandbox: as it is; again with other string hashes, which shuffles sets,
so that an example that passes by luck is found out; and with every body of the
definition emptied, so that examples that do not test it are too. The verdict does not
depend on the machine: limits are far above what a kept snippet needs, the clock cannot
be read (`source_module`), and files, network and time zone are the sandbox's.
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.accounting import SAMPLE_CHARACTERS, Drop, Split
from beam_pipelines.synthesis.in_sandbox import BATCH, InSandbox
from beam_pipelines.synthesis.stubs import without_bodies
from opencoder_jax.errors import require_at_least
from opencoder_jax.sandbox import Program, Result, Sandbox

_DROPPED = "dropped"
_FAILED = "doctests failed:"

_PROGRAM = """
import doctest, sys
import snippet

tests = doctest.DocTestFinder().find(getattr(snippet, NAME), NAME, module=snippet)
runner = doctest.DocTestRunner(verbose=False)
for test in tests:
    runner.run(test)
if runner.failures or not runner.tries:
    sys.exit(f"FAILED {runner.failures} of {runner.tries}")
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """A definition that an example may be made of, and where it came from.

    Attributes:
      id: `document_id(kind, repo, path::name)`, kind being `snippet` or `function`.
      repo, path, licence, stars, commit_time: of the document that it was cut from.
      name: of the function or class.
      source: the whole program: the definition with what it needs; empty until it is cut out.
      definition: the definition alone.
    """

    id: str
    repo: str
    path: str
    licence: str
    stars: int
    commit_time: int
    name: str
    source: str
    definition: str

    @property
    def content_sha256(self) -> str:
        return hashlib.sha256(self.source.encode("utf-8")).hexdigest()

    def drop(self, reason: str, detail: str = "") -> Drop:
        return Drop(
            id=self.id,
            repo=self.repo,
            path=f"{self.path}::{self.name}",
            language="python",
            reason=reason,
            detail=detail[:SAMPLE_CHARACTERS],
            sample=(self.source or self.definition)[:SAMPLE_CHARACTERS],
        )


class PassingDoctests(beam.PTransform):
    """PCollection[Candidate] to a `Split` of those that are proved, and drops.

    Reasons: `doctest_` and a verdict of the sandbox, `depends_on_hash_seed`,
    `passes_without_body`.
    """

    def __init__(self, sandbox_workers: int, allow_unisolated: bool) -> None:
        """Args:
        sandbox_workers: programs at a time in each Beam worker.
        allow_unisolated: see `Sandbox`.
        """
        super().__init__()
        require_at_least(1, sandbox_workers=sandbox_workers)
        self._sandbox_workers = sandbox_workers
        self._allow_unisolated = allow_unisolated

    def expand(self, candidates: beam.PCollection) -> Split:
        judged = (
            candidates
            | "Batch" >> beam.BatchElements(min_batch_size=BATCH, max_batch_size=BATCH)
            | "RunDoctests"
            >> beam.ParDo(_RunDoctests(self._sandbox_workers, self._allow_unisolated)).with_outputs(
                _DROPPED, main="kept"
            )
        )
        return Split(judged.kept, judged[_DROPPED])


class _RunDoctests(InSandbox):
    hash_seeds = (0, 1)
    preload = ("doctest",)

    def process(self, batch: list[Candidate]) -> Iterator[Any]:
        first, second = self._sandboxes
        verdicts = self._run(first, [(c.name, c.source) for c in batch])
        passed = [c for c, result in zip(batch, verdicts, strict=True) if _passed(result)]
        again = self._run(second, [(c.name, c.source) for c in passed])
        emptied = self._run(first, [(c.name, without_bodies(c.source, [c.name])) for c in passed])
        for candidate, result in zip(batch, verdicts, strict=True):
            if not _passed(result):
                drop = candidate.drop(f"doctest_{result.verdict}", result.reason)
                yield TaggedOutput(_DROPPED, drop)
        for candidate, other, empty in zip(passed, again, emptied, strict=True):
            if not _passed(other):
                yield TaggedOutput(_DROPPED, candidate.drop("depends_on_hash_seed", other.reason))
            elif not empty.reason.startswith(_FAILED):
                yield TaggedOutput(_DROPPED, candidate.drop("passes_without_body", empty.reason))
            else:
                yield candidate

    def _run(self, sandbox: Sandbox, snippets: list[tuple[str, str]]) -> list[Result]:
        programs = [
            Program(doctest_program(name), files={"snippet.py": source})
            for name, source in snippets
        ]
        return sandbox.run_many(programs, workers=self._sandbox_workers)


def doctest_program(name: str) -> str:
    """A program that ends if and only if the doctests of `snippet.name` pass."""
    return _PROGRAM.replace("NAME", repr(name)).replace("FAILED", _FAILED)


def _passed(result: Result) -> bool:
    return result.verdict == "passed"
