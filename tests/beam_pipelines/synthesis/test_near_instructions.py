"""Of instructions that ask nearly the same one stays, and the others say how near they were."""

import pytest

from beam_pipelines.accounting import Drop
from beam_pipelines.dedup.settings import NearSettings
from beam_pipelines.dedup.shingles import jaccard, shingle_hashes
from beam_pipelines.synthesis.near_instructions import (
    REASON,
    NearInstructions,
    first_question,
    spaced,
)
from opencoder_jax.formats.conversation import Conversation
from tests.beam_pipelines.dedup.running import run

SETTINGS = NearSettings(ngram=3, permutations=128, bands=32, rows=4, min_jaccard=0.7)
ASKED = (
    "Write a Python function that takes a list of intervals, merges those which overlap, and "
    "returns what is left of them in ascending order of their starts."
)
CHINESE = "请用Python编写一个函数，输入一个整数列表，返回其中所有偶数的平方和，并说明时间复杂度。"


def conversation(number: int, question: str) -> Conversation:
    return Conversation(
        id=f"{number:032x}",
        messages=(("system", "Be brief."), ("user", question), ("assistant", f"pass  # {number}")),
        language="python",
        repo="r",
        provenance="p",
    )


def drop(element: Conversation, reason: str, detail: str) -> Drop:
    return Drop(element.id, element.repo, "", element.language, reason, detail=detail)


def outcome(*questions: str, options: tuple[str, ...] = ()) -> tuple[list[int], list[Drop]]:
    elements = [conversation(number, text) for number, text in enumerate(questions)]
    out = run(elements, NearInstructions(SETTINGS, first_question, drop), options)
    assert all(kept in elements for kept in out["kept"])
    kept = sorted(int(element.id, 16) for element in out["kept"])
    return kept, sorted(out["dropped"], key=lambda d: d.id)


def test_another_word_is_the_same_question_and_another_task_is_not() -> None:
    kept, dropped = outcome(
        ASKED,
        ASKED.replace("ascending", "descending"),
        ASKED.upper() + "!!",
        "Write a Python function that takes a list of words and returns the longest of them.",
    )
    assert kept == [0, 3]
    assert {d.reason for d in dropped} == {REASON}
    assert [d.detail for d in dropped] == [f"of {0:032x}"] * 2
    exact = jaccard(
        shingle_hashes(ASKED, 3), shingle_hashes(ASKED.replace("ascending", "descending"), 3)
    )
    assert dropped[0].value == exact >= 0.7
    assert dropped[1].value == 1.0
    assert dropped[0].threshold == ">= 0.700000"


def test_chinese_questions_are_compared_by_their_characters() -> None:
    kept, dropped = outcome(
        CHINESE,
        CHINESE.replace("偶数", "奇数"),
        "请解释什么是动态规划，并给出一个用它解决背包问题的例子。",
    )
    assert kept == [0, 2]
    assert 0.7 <= (dropped[0].value or 0) < 1
    # Without the spaces a sentence would be one word, and near to nothing.
    assert len(shingle_hashes(CHINESE, 3)) < 5 < len(shingle_hashes(spaced(CHINESE), 3))


def test_questions_without_a_word_and_very_short_ones_stay_unless_they_are_equal() -> None:
    kept, dropped = outcome("?", "!", "Sort it.", "sort IT", "Reverse it.")
    assert kept == [0, 1, 2, 4]
    assert [d.detail for d in dropped] == [f"of {2:032x}"]


@pytest.mark.parametrize("runner", ["DirectRunner"])
def test_another_runner_keeps_the_same(runner: str) -> None:
    questions = [ASKED.replace("Python", name) for name in ("Go", "Rust", "C")] + [CHINESE] * 3
    assert outcome(*questions) == outcome(*questions, options=(f"--runner={runner}",))
