"""A snippet stays if its doctests pass, pass again, and fail without its body."""

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from beam_pipelines import runner
from beam_pipelines.synthesis.doctests import Candidate, PassingDoctests
from opencoder_jax.sandbox import Sandbox
from tests.isolation import require_isolation

SNIPPETS = {
    "kept": ("kept(2)", "4", "2 * x"),
    "doctest_failed": ("f(2)", "5", "2 * x"),
    "doctest_failed by an exception": ("f(2)", "4", "bytearray(10**11)"),
    "passes_without_body": ("1 + 1", "2", "2 * x"),
}


@pytest.fixture(scope="module")
def lucky_order() -> str:
    """The order of a set under the first hash seed: an example that passes by luck."""
    require_isolation()
    with Sandbox() as sandbox:
        return sandbox.run("print(list({'a', 'b', 'c', 'd', 'e'}))").stdout.strip()


def candidate(key: str, example: str, want: str, value: str) -> Candidate:
    name = "kept" if key == "kept" else "f"
    docstring = f"    '''\n    >>> {example}\n    {want}\n    '''"
    source = f"def {name}(x=1):\n{docstring}\n    return {value}\n"
    return Candidate(key, "repo", "m.py", "MIT", 0, 0, name, source, source)


def test_only_snippets_that_their_doctests_prove_stay(lucky_order: str) -> None:
    lucky = ("f()", lucky_order, "list({'a', 'b', 'c', 'd', 'e'})")
    snippets = {**SNIPPETS, "depends_on_hash_seed": lucky}
    with runner.pipeline() as pipeline:
        judged = (
            pipeline
            | beam.Create([candidate(key, *parts) for key, parts in snippets.items()])
            | PassingDoctests(sandbox_workers=2, allow_unisolated=False)
        )
        assert_that(judged.kept | beam.Map(lambda c: c.id), equal_to(["kept"]), "kept")
        reasons = judged.dropped | beam.Map(lambda drop: (drop.id, drop.reason))
        expected = [(key, key.partition(" ")[0]) for key in snippets if key != "kept"]
        assert_that(reasons, equal_to(expected), "dropped")
