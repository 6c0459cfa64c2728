"""Seeds hang together, are chosen by hash whatever the order, and all else is counted."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines import runner
from beam_pipelines.sinks import WriteJson
from beam_pipelines.synthesis.seeds import ChooseSeeds, SeedSettings, excerpt
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document
from tests.beam_pipelines.synthesis.making import seeds

FILE = "import os\n\n\ndef f(x):\n    y = x\n\n    return y\n\n\nCONSTANT = [\n    1,\n]\n"


def document(number: int, text: str = FILE, **facts: Any) -> Document:
    known = {"language": "python", "doc_type": "code"} | facts
    return Document(id=f"{number:032x}", text=text, repo=f"r{number}", path="p.py", **known)


def test_an_excerpt_is_made_of_whole_blocks_with_the_blank_lines_between_them() -> None:
    found = {excerpt(FILE, seeds(max_lines=7), str(key)) for key in range(100)}
    assert found == {
        "import os\n\n\ndef f(x):\n    y = x\n\n    return y",
        "def f(x):\n    y = x\n\n    return y",
        "CONSTANT = [\n    1,\n]",
    }


def test_of_a_long_block_the_beginning_is_taken() -> None:
    body = "".join(f"    line{i}\n" for i in range(50))
    assert excerpt(f"def f():\n{body}", seeds(max_lines=3), "k") == "def f():\n    line0\n    line1"
    assert excerpt("x" * 5000, seeds(), "k") == ""


@given(st.text(alphabet="ab \n\t)}", max_size=300), st.integers(1, 9), st.integers(1, 60))
def test_an_excerpt_is_a_piece_of_the_text_within_its_limits(
    text: str, max_lines: int, max_characters: int
) -> None:
    settings = seeds(max_lines=max_lines, max_characters=max_characters)
    found = excerpt(text, settings, "key")
    assert found in "\n".join(line.rstrip() for line in text.split("\n"))
    assert len(found) <= max_characters
    assert found.count("\n") < max_lines


def chosen(documents: Sequence[Document], settings: SeedSettings) -> tuple[list[str], dict]:
    """(repositories of the seeds, reason to number of the other documents)."""
    with tempfile.TemporaryDirectory() as folder:
        with runner.pipeline() as pipeline:
            made = pipeline | beam.Create(documents) | ChooseSeeds("set", settings)
            names = made.chosen | beam.Map(lambda draft: draft.repo) | beam.combiners.ToList()
            _ = names | beam.Map(lambda found: ("names", sorted(found))) | WriteJson(f"{folder}/n")
            _ = made.passed_over | "Others" >> WriteJson(f"{folder}/o")
        read = [json.loads((Path(folder) / name).read_text()) for name in "no"]
    return read[0]["names"], read[1]


def test_a_number_of_seeds_is_a_hash_sample_and_grows_with_the_number() -> None:
    documents = [document(number) for number in range(40)]
    few, passed_over = chosen(documents, seeds(count=5))
    more, _ = chosen(documents[::-1], seeds(count=12))
    assert len(few) == 5
    assert set(few) < set(more)
    assert passed_over == {"not_sampled": 35}
    other, _ = chosen(documents, seeds(count=5, seed=1))
    assert other != few


def test_languages_can_be_balanced() -> None:
    documents = [document(number) for number in range(20)]
    documents += [document(100 + n, language="go") for n in range(3)]
    names, passed_over = chosen(documents, seeds(languages=["python", "go"], per_language=4))
    assert len(names) == 4 + 3
    assert passed_over == {"not_sampled": 16}


def test_what_gives_no_seed_is_counted_by_reason() -> None:
    documents = [
        document(1),
        document(2, language="go"),
        document(3, doc_type="data"),
        document(4, text="x"),
        document(5, text=FILE.replace("CONSTANT", "other")),
    ]
    names, passed_over = chosen(documents, seeds(min_lines=3, keywords=["constant"]))
    assert names == ["r1"]
    assert passed_over == {"language": 1, "doc_type": 1, "no_keyword": 2}


@pytest.mark.parametrize(
    "wrong", [{"min_lines": 0}, {"max_lines": 0}, {"count": 0}, {"per_language": 0}]
)
def test_settings_that_nothing_fits_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError):
        seeds(**wrong)
