"""The 164 problems accept their authors' answers and no empty ones."""

import itertools

import pytest

from opencoder_jax.evaluation.humaneval_problems import load_problems, pass_at_k, program
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


@pytest.mark.parametrize(("samples", "passed", "k"), [(5, 0, 1), (5, 2, 1), (6, 2, 3), (4, 4, 2)])
def test_pass_at_k_is_the_share_of_draws_with_a_passing_sample(
    samples: int, passed: int, k: int
) -> None:
    draws = list(itertools.combinations([True] * passed + [False] * (samples - passed), k))
    assert pass_at_k(samples, passed, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_refuses_counts_that_cannot_be() -> None:
    for counts in ((3, 4, 1), (3, 1, 4), (3, -1, 1), (3, 1, 0)):
        with pytest.raises(ValueError, match="pass@"):
            pass_at_k(*counts)
