"""What the page of made sets tells is counted from the records, and a wrong manifest shows."""

import pickle
from pathlib import Path

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document
from opencoder_jax.formats.shards import shard_name, write_shard
from opencoder_jax.report.diversity import effective_number, measure_diversity
from opencoder_jax.report.made_sets import MadeSet, bin_start, length_bin, read_made_set
from opencoder_jax.report.writing_systems import NO_SCRIPT, writing_system
from tests.opencoder_jax.report.made_set_folder import conversation, drop, write_made_set


def read(folder: Path, sample: int = 1000) -> MadeSet:
    return read_made_set(folder, folder.name, sample=sample, rejected=2)


def test_numbers_are_counted_from_the_records(tmp_path: Path) -> None:
    records = [
        conversation(0, "Sort  a list."),
        conversation(1, "sort a LIST."),
        conversation(2, "请用中文解释排序。", details={"human_language": "zh"}),
        conversation(3, "请解释递归。"),
        conversation(
            4,
            messages=(
                ("system", "Be brief."),
                ("user", "And?"),
                ("assistant", "Yes."),
                ("user", "Why?"),
                ("assistant", "So."),
            ),
        ),
    ]
    drops = [drop(n, "no_tests") for n in range(5)] + [drop(9, "near")]
    made = read(write_made_set(tmp_path / "set", records, drops))
    assert (made.candidates, made.records) == (11, 5)
    assert [(r.reason, r.count, len(r.samples)) for r in made.rejected] == [
        ("no_tests", 5, 2),
        ("near", 1, 1),
    ]
    assert made.same_question == 1
    assert made.same_record == 0
    assert made.turns == ((2, 4), (4, 1))
    assert made.system == 1
    assert dict(made.languages) == {"c++": 2, "python": 3}
    assert dict(made.human_languages) == {"Latin script": 3, "zh": 1, "Chinese (Han)": 1}
    assert (made.executed, made.not_executed, made.execution_unknown) == (3, 2, 0)
    # A code of many words is no kind of record, difficulty is.
    assert {name: dict(values) for name, values in made.facets.items()} == {
        "difficulty": {"easy": 2, "medium": 2, "hard": 1}
    }
    assert dict(made.templates) == {"educational/task": 5}
    assert [check.what for check in made.checks if not check.agrees] == []


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"accounting": {"input": 9, "output": 5, "dropped": {"near": 3}}}, {"candidates"}),
        (
            {"accounting": {"input": 8, "output": 6, "dropped": {"near": 2}}},
            {"records", "dropped: near"},
        ),
        ({"kept": {"educational/task-0": 4, "educational/task-1": 1}}, {"kept: educational/task"}),
        ({"funnel": [["candidates", 7], ["proved", 5]]}, {"funnel, first"}),
        ({"funnel": [["candidates", 8], ["proved", 6]]}, {"funnel, last"}),
    ],
)
def test_a_manifest_that_says_something_else_is_shown(
    tmp_path: Path, changed: dict, what: set[str]
) -> None:
    records = [conversation(n) for n in range(5)]
    drops = [drop(n, "near") for n in range(3)]
    made = read(write_made_set(tmp_path / "set", records, drops, **changed))
    wrong = {check.what.rsplit("-", 1)[0] for check in made.checks if not check.agrees}
    assert wrong >= what


def test_two_records_of_one_id_are_a_disagreement(tmp_path: Path) -> None:
    made = read(write_made_set(tmp_path / "set", [conversation(1), conversation(1)]))
    (wrong,) = (check for check in made.checks if not check.agrees)
    assert (wrong.what, wrong.manifest, wrong.counted) == ("different ids", 2, 1)


def test_signals_of_corpus_files_are_no_details(tmp_path: Path) -> None:
    signals = '{"qsc_doc_num_lines": 3, "qsc_code_cate_autogen": 0}'
    document = Document(id="0" * 32, text="x", repo="r", path="x.py", signals=signals)
    assert read(write_made_set(tmp_path / "set", [document])).facets == {}


def test_the_sample_does_not_depend_on_the_order_of_the_records(tmp_path: Path) -> None:
    records = [conversation(n) for n in range(40)]
    one = read(write_made_set(tmp_path / "one", records), sample=10)
    two = read(write_made_set(tmp_path / "two", records[::-1]), sample=10)
    assert one.sample == two.sample
    assert len(one.sample) == 10


@pytest.mark.parametrize("length", [0, 1, 9, 10, 99, 100, 12345])
def test_a_length_lies_in_its_bin(length: int) -> None:
    place = length_bin(length)
    assert bin_start(place) <= length + 1e-6
    assert length < bin_start(place + 1) or length == 0


def test_folders_that_are_no_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read(tmp_path / "nothing")
    write_made_set(tmp_path / "set", [conversation(1)])
    for path in (tmp_path / "set").glob("conversations-*"):
        path.unlink()
    with pytest.raises(InputError, match="is no made set"):
        read(tmp_path / "set")
    write_made_set(tmp_path / "told", [conversation(1)])
    (tmp_path / "told" / "teacher.json").write_text("{half")
    with pytest.raises(InputError, match=r"teacher\.json is damaged"):
        read(tmp_path / "told")


def test_a_record_that_is_none_is_named_with_its_shard(tmp_path: Path) -> None:
    write_made_set(tmp_path / "set", [conversation(1), conversation(2)])
    write_shard(tmp_path / "set" / shard_name("conversations", 1, 2), [b"no record"])
    with pytest.raises(InputError, match=r"conversations-00001-of-00002\.arrayrecord: record 0: "):
        read(tmp_path / "set")
    write_made_set(tmp_path / "other", [conversation(1)])
    write_shard(tmp_path / "other" / "dropped" / shard_name("dropped", 0, 2), [b""])
    with pytest.raises(InputError, match=r"dropped-00000-of-00002\.arrayrecord: record 0: "):
        read(tmp_path / "other")


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Write a function.", "Latin script"),
        ("请写一个 Python 函数 `quick_sort`，返回结果。", "Chinese (Han)"),
        (
            "解释这段代码：\n```python\nvery_long_names_of_code = other_names_of_code\n```",
            "Chinese (Han)",
        ),
        ("リストを並べ替える関数を書いてください", "Japanese (kana)"),
        ("목록을 정렬하는 함수를 작성하세요", "Korean (hangul)"),
        ("Напиши функцию", "Cyrillic script"),
        ("a", "Latin script"),
        ("12 + 3 = ?", NO_SCRIPT),
        ("", NO_SCRIPT),
    ],
)
def test_the_script_of_a_question_is_told_without_its_code(text: str, script: str) -> None:
    assert writing_system(text) == script


def varied(count: int) -> list:
    topics = ("sort a list of integers", "draw a chart of prices", "open a socket to a server")
    return [
        conversation(
            n, f"Please {topics[n % 3]} number {n} in the manner of word{n} and word{n + 1}."
        )
        for n in range(count)
    ]


def repeated(count: int) -> list:
    return [
        conversation(
            n, f"Write a function that adds two numbers and returns the sum, again {n % 3}."
        )
        for n in range(count)
    ]


def test_repeated_questions_show_as_little_diversity_and_varied_ones_as_more(
    tmp_path: Path,
) -> None:
    sets = [
        read(write_made_set(tmp_path / "varied", varied(60))),
        read(write_made_set(tmp_path / "repeated", repeated(60))),
    ]
    found = measure_diversity(sets, map_points=100, clusters=4)
    much, little = found.sets
    assert much.words == little.words
    for n in (1, 2, 3):
        assert little.distinct[n] < 0.5 * much.distinct[n]
    assert little.neighbours[0.5] == pytest.approx(1.0, abs=1e-5)
    assert much.neighbours[0.5] < 0.98
    assert (little.near, much.near) == (1.0, 0.0)
    assert little.clusters == pytest.approx(1.0)
    assert much.clusters > 2.5
    # The three topics and the repeated question: four clusters, each with a word of its own.
    assert sorted(sum(cluster.counts) for cluster in found.clusters) == [20, 20, 20, 60]
    names = [" ".join(cluster.words) for cluster in found.clusters]
    for word in ("sort", "chart", "socket", "adds"):
        assert sum(word in name for name in names) == 1, names


def test_the_map_is_the_same_each_time_and_has_as_many_points_as_asked(tmp_path: Path) -> None:
    sets = [
        read(write_made_set(tmp_path / "a", varied(50))),
        read(write_made_set(tmp_path / "b", repeated(5))),
    ]
    first, second = (measure_diversity(sets, map_points=40, clusters=6) for _ in range(2))
    assert pickle.dumps(first) == pickle.dumps(second)
    assert [sum(p.set_number == n for p in first.points) for n in (0, 1)] == [20, 5]
    assert all(0 <= p.x <= 1 and 0 <= p.y <= 1 for p in first.points)


@pytest.mark.parametrize("questions", [[], [""], ["only one"], ["?", "?"], ["a b", "a b", "a b"]])
def test_sets_too_small_to_compare_are_measured_all_the_same(
    tmp_path: Path, questions: list[str]
) -> None:
    records = [conversation(n, text or " ") for n, text in enumerate(questions)]
    found = measure_diversity([read(write_made_set(tmp_path / "set", records))], 10, 3)
    assert len(found.points) == len(questions)
    assert sum(sum(cluster.counts) for cluster in found.clusters) == len(questions)


def test_the_effective_number_counts_equal_parts() -> None:
    assert effective_number([5, 5, 5, 5]) == pytest.approx(4)
    assert effective_number([9]) == 1
    assert effective_number([]) == 0
    assert 1 < effective_number([99, 1]) < 1.1
