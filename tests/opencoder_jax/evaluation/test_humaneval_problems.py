"""The 164 problems accept their authors' answers and no empty ones."""

from opencoder_jax.evaluation.humaneval_problems import load_problems, program
from opencoder_jax.sandbox import Limits, Sandbox
from tests.isolation import require_isolation


def test_every_canonical_solution_passes_and_every_empty_body_fails() -> None:
    problems = load_problems()
    assert [p.task_id for p in problems] == [f"HumanEval/{i}" for i in range(164)]
    programs = [program(p, p.canonical_solution) for p in problems]
    programs += [program(p, "    pass\n") for p in problems]
    require_isolation()
    with Sandbox(Limits(wall_seconds=60, cpu_seconds=30)) as sandbox:
        verdicts = [result.verdict for result in sandbox.run_many(programs)]
    assert verdicts == ["passed"] * 164 + ["failed"] * 164
