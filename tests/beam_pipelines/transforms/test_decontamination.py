"""A copied benchmark problem is found however it is laid out; common code is not."""

import collections
import json
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines import runner
from beam_pipelines.accounting import Drop, encode_drop
from beam_pipelines.transforms.benchmark_scan import BenchmarkScan
from beam_pipelines.transforms.decontamination import (
    Decontaminate,
    drop_kind,
    kept_out,
    split_kinds,
)
from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.benchmark_texts import load_texts
from opencoder_jax.evaluation.contamination import (
    BenchmarkIndex,
    ProblemTexts,
    own_ngrams,
    telling_names,
)
from opencoder_jax.evaluation.data_files import DataFolder
from opencoder_jax.evaluation.humaneval_problems import load_problems
from opencoder_jax.evaluation.task_names import task_names
from tests.beam_pipelines.object_store import Store
from tests.opencoder_jax.evaluation.benchmarks import published

HUMANEVAL = load_texts(["humaneval"], DataFolder(hub=False))
INDEX = BenchmarkIndex(HUMANEVAL)
SCAN = BenchmarkScan(HUMANEVAL)
EITHER = pytest.mark.parametrize("index", [INDEX, SCAN], ids=["reference", "compiled"])
# Ten words that tell something.
TEN = [f"apple{i}" for i in range(10)]


@EITHER
def test_every_problem_is_found_by_its_prompt(index) -> None:
    for problem in load_problems():
        hit = index.find(f"# copied\n{problem.prompt}")
        assert hit is not None
        assert hit.problem.benchmark == "humaneval"


@EITHER
def test_layout_case_and_punctuation_hide_nothing(index) -> None:
    prompt = load_problems()[0].prompt
    hidden = "\n\t# ".join(prompt.upper().replace(",", " ;").split())
    hit = index.find(f"x = 1\n{hidden}")
    assert hit is not None
    assert (hit.reason, hit.problem) == ("benchmark_ngram", ("humaneval", "HumanEval/0"))
    assert len(hit.matched.split()) == 10


@pytest.mark.parametrize("made_by", [BenchmarkIndex, BenchmarkScan])
def test_nine_shared_words_are_no_hit_and_ten_are(made_by) -> None:
    index = made_by([ProblemTexts("b", (("b/1", " ".join(TEN)),), ())])
    assert index.find(" ".join(TEN[:9])) is None
    hit = index.find(f"so: {' '.join(TEN)} and")
    assert hit == ("benchmark_ngram", ("b", "b/1"), " ".join(TEN))
    assert hit.detail == f"b b/1: {' '.join(TEN)}"


def test_counting_data_loops_and_imports_are_nobodys_own() -> None:
    texts = (
        "assert f([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])",
        "x = 'a b a b a b a b a b a b'",
        "for i in range(n): for j in range(n): for k in range(n): x = 1",
        "import os\nfrom cryptography.hazmat.backends import default_backend\n\n"
        "from cryptography.hazmat.primitives import hashes, padding\n",
        "#include <vector>\n#include <string>\n#include <algorithm>\n#include <map>\n"
        "#include <cassert>\n#include <cmath>\nusing std::vector;\nusing std::string;",
        '<!DOCTYPE html><html lang="en"><head><meta charset="UTF-8"><meta name="viewport" '
        'content="width=device-width, initial-scale=1.0">',
    )
    problems = ProblemTexts("b", tuple((f"b/{n}", text) for n, text in enumerate(texts)))
    assert own_ngrams([problems]) == {}
    assert not any(BenchmarkScan([problems]).find(text) for text in texts)


def test_what_many_problems_share_is_their_form_and_what_is_said_in_many_languages_is_not() -> None:
    form = "you should write self contained code starting with import pandas as pd"
    three = tuple((f"b/{n}", f"{form} problem{n}") for n in range(3))
    four = (*three, ("b/3", f"{form} problem3"))
    assert SCAN.find(form) is None
    assert BenchmarkScan([ProblemTexts("b", three)]).find(form) is not None
    assert BenchmarkScan([ProblemTexts("b", four)]).find(form) is None
    languages = tuple((f"{name}/1", f"{form} in {name}") for name in ("c", "go", "js", "sh", "rs"))
    hit = BenchmarkScan([ProblemTexts("b", languages)]).find(form)
    assert hit is not None
    assert hit.problem == ("b", "c/1")
    # Gaps of one problem are one text.
    gaps = tuple((f"b/{n}", form) for n in range(9))
    assert BenchmarkScan([ProblemTexts("b", gaps)]).find(form) is not None


@EITHER
@pytest.mark.parametrize(
    ("text", "contaminated"),
    [
        ("def has_close_elements(a): pass", True),
        ("print(has_close_elements ([1]))", True),
        ("function has_close_elements\n\t(a, b) {}", True),
        ("has_close_elements = 1", False),
        ("found.has_close_elements(1)", False),
        ("    def has_close_elements(self, x): pass", False),
        ("Has_Close_Elements(1); has_close_elements_(2)", False),
        ("has_close_elementsé(1)", False),
        ("é; has_close_elements(1)", True),
        ("İ; has_close_elements(1)", True),
        ("Has_close_elements(1); has_close_elements(2)", True),
        # One word says nothing: these are HumanEval's too.
        ("add(1, 2); strlen(x); f(x); def solution(lst): pass", False),
    ],
)
def test_entry_points_of_two_words_count_as_functions_and_not_as_methods(
    index, text: str, contaminated: bool
) -> None:
    hit = index.find(text)
    assert (hit is not None) == contaminated
    assert hit is None or hit.reason == "benchmark_entry_point"


def test_a_name_that_many_problems_ask_for_tells_nothing() -> None:
    names = tuple((f"BigCodeBench/{n}", "task_func") for n in range(4))
    other = ("BigCodeBench/9", "sortMatrix")
    found = telling_names([ProblemTexts("b", (), (*names, other))])
    assert found == {"sortMatrix": ("b", "BigCodeBench/9")}
    assert telling_names([ProblemTexts("b", (), names[:3])]) != {}


PIECES = st.sampled_from(
    [
        *TEN,
        *("has_close_elements(", "Has_Close_Elements (", ".truncate_number(", "truncate_number\n("),
        *("def", "self", "cls)", "İ", "ß", "ſ", "K", "日本", "\u2028", "\ud800", "_", "0", "é"),
        *load_problems()[4].prompt.split(" "),
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=60),
    st.sampled_from([" ", "\n", "  # ", "."]),
    st.integers(0, 163),
    st.integers(0, 400),
)
def test_the_compiled_scan_finds_what_the_reference_finds(pieces, space, number, cut) -> None:
    text = space.join(pieces) + load_problems()[number].prompt[cut : cut + 90]
    assert SCAN.find(text) == INDEX.find(text)


def test_of_a_wrong_hash_nothing_follows() -> None:
    """10-grams that are taken for a problem's are looked at, and the search goes on after them."""
    scan = BenchmarkScan([ProblemTexts("b", (("b/1", " ".join(TEN)), ("b/2", "x " * 9)))])
    scan._problems.reverse()
    assert scan.find(f"{' '.join(TEN)} then") is None


def test_hits_are_dropped_with_what_matched() -> None:
    def drop(text: str, reason: str, detail: str) -> Drop:
        return Drop(text, "", "", "", reason, detail=detail)

    with runner.pipeline() as pipeline:
        checked = (
            pipeline
            | beam.Create(["def truncate_number(x): pass", "def mine(lst): pass"])
            | Decontaminate(kept_out(["humaneval"]), str, drop)
        )
        assert_that(checked.kept, equal_to(["def mine(lst): pass"]), "kept")
        details = checked.dropped | beam.Map(lambda d: (d.reason, d.detail))
        hit = ("benchmark_entry_point", "humaneval HumanEval/2: truncate_number")
        assert_that(details, equal_to([hit]), "dropped")


def test_drops_are_counted_by_reason_and_by_benchmark() -> None:
    def kind(reason: str, detail: str) -> str:
        return drop_kind(encode_drop(Drop("1", "", "", "", reason, detail=detail)))

    kinds = collections.Counter(
        [
            kind("benchmark_ngram", "mbpp MBPP/11: a b"),
            kind("benchmark_entry_point", "mbpp MBPP/12: sort_it"),
            kind("benchmark_ngram", "humaneval HumanEval/1: a b"),
            kind("too_long", "mbpp MBPP/13"),
        ]
    )
    reasons, benchmarks = split_kinds(kinds)
    assert reasons == {"benchmark_entry_point": 1, "benchmark_ngram": 2, "too_long": 1}
    assert benchmarks == {"humaneval": 1, "mbpp": 2}


def test_an_unknown_benchmark_is_named() -> None:
    with pytest.raises(InputError, match="no benchmark 'mbpq'; known: bigcodebench_complete"):
        kept_out(["mbpq"])


LCB = ("test.jsonl", "test2.jsonl", "test3.jsonl", "test4.jsonl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every benchmark's files; of those of several languages, the same problem in each."""
    folder = published.write(tmp_path_factory.mktemp("data"))
    for name in LCB[2:]:
        rows = [published.STDIN_PROBLEM | {"question_id": name}]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("java", "cs", "ts", "php"):
        (folder / f"humaneval-{name}.jsonl").write_text(json.dumps(published.MULTIPLE["cpp"]))
    for name in ("C", "CPP", "Java", "TypeScript", "Go", "Rust", "PHP", "Shell"):
        (folder / f"mceval/{name}.jsonl").write_text(json.dumps(published.MCEVAL["Python"]))
    for name in ("C", "CPP", "Java", "JavaScript", "Go", "Rust", "PHP", "C#"):
        (folder / f"mdeval/bug/{name}.jsonl").write_text(json.dumps(published.MDEVAL))
    return folder


def test_every_benchmark_of_the_evaluator_can_be_kept_out(folder: Path) -> None:
    names = list(task_names())
    found = kept_out(names, str(folder))
    assert list(found.names) == names
    texts = {t.name: dict(t.texts) for t in load_texts(names, DataFolder(str(folder), hub=False))}
    assert all(all(problems.values()) for problems in texts.values())
    assert "As JSON" in texts["bigcodebench_complete"]["BigCodeBench/900"]
    assert "Write x as JSON" in texts["bigcodebench_instruct_hard"]["BigCodeBench/900"]
    # Not the shots, which are no problems of the test split.
    assert "add 2." not in texts["mbpp_3shot"]["MBPP/11"]
    assert "twice" in texts["multiple"]["sh/HumanEval_900_twice"]


def test_entry_points_are_those_of_each_benchmarks_own_language(folder: Path) -> None:
    texts = load_texts(["mbpp", "multiple", "mceval", "infilling"], DataFolder(str(folder)))
    points = {t.name: dict(t.entry_points) for t in texts}
    assert points["mbpp"]["MBPP/11"] == "add_it"
    assert points["multiple"]["cpp/HumanEval_900_twice"] == "twice"
    assert points["multiple"]["py/HumanEval/0"] == "has_close_elements"
    assert points["mceval"]["C#/900"] == "Twice"


def test_without_names_those_are_kept_out_whose_files_are_there(tmp_path: Path, capsys) -> None:
    assert kept_out(None).names == ("humaneval",)
    published.write(tmp_path)
    (tmp_path / "mbpp.jsonl").unlink()
    found = kept_out(None, str(tmp_path)).names
    assert "bigcodebench_complete" in found
    assert "mbpp" not in found
    told = capsys.readouterr().err
    assert "not kept out" in told
    assert "mbpp, mbpp_3shot" in told


def test_missing_files_are_named_together_with_where_they_are_had(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        kept_out(["mbpp", "humaneval", "mceval"], str(tmp_path))
    told = str(caught.value)
    assert "mbpp: mbpp.jsonl is missing" in told
    assert "mceval: mceval/Python.jsonl" in told
    assert "google-research/tree/master/mbpp and say --gin.BENCHMARK_DATA=FOLDER" in told
    with pytest.raises(InputError, match="no such folder"):
        kept_out(None, str(tmp_path / "nowhere"))


def test_the_files_may_lie_in_a_store(store: Store) -> None:
    for name in ("mbpp.jsonl", "humaneval-sh.jsonl"):
        rows = published.MBPP if name == "mbpp.jsonl" else [published.MULTIPLE["sh"]]
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        store.put(f"{store.root}/benchmarks/{name}", content)
    found = kept_out(None, f"{store.root}/benchmarks", store.flags).names
    assert found == ("humaneval", "mbpp", "mbpp_3shot")
    with pytest.raises(InputError, match=r"BigCodeBench\.jsonl .* is missing"):
        kept_out(["bigcodebench_complete"], f"{store.root}/benchmarks", store.flags)
