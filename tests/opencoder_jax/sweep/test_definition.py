"""What a sweep's gin file may say, and what it is told."""

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.sweep import definition


def test_bindings_by_name_are_the_same_as_lines():
    stage = definition.Stage(
        name="corpus",
        command="beam_pipelines.refinecode",
        bindings={"SOURCE_FILES": "/with space/*.jsonl", "NUM_SHARDS": 4},
    )
    assert list(stage.bindings) == ["SOURCE_FILES='/with space/*.jsonl'", "NUM_SHARDS=4"]


def test_a_name_that_is_no_folder_is_refused():
    with pytest.raises(InputError, match="a/b"):
        definition.Stage(name="a/b", command="x")
