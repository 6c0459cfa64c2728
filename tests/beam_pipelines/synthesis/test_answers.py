"""A teacher's answer is taken apart however the model writes it, or the drop says why not."""

import pytest

from beam_pipelines.synthesis.answers import (
    AnswerError,
    code_of,
    json_object,
    rating,
    sections,
    yes_or_no,
)

NAMES = ("Task", "Solution", "Tests")
CODE = "```python\n# Tests\ndef add(a, b):\n    return a + b\n```"
BODY = ("Add two numbers.", CODE, "```\nassert\n```")


@pytest.mark.parametrize(
    "heading", ["### {}", "## {}:", "**{}**", "**{}:**", "{}:", "[{}]", "1. **{}**", "# {} "]
)
def test_headings_are_found_in_every_common_form(heading: str) -> None:
    pairs = zip(NAMES, BODY, strict=True)
    text = "\n\n".join(f"{heading.format(name)}\n{body}" for name, body in pairs)
    assert sections(text, NAMES) == dict(zip(NAMES, BODY, strict=True))


def test_text_behind_a_heading_belongs_to_it_and_case_does_not_matter() -> None:
    assert sections("TASK: say hello\nsolution: print", ("Task", "Solution")) == {
        "Task": "say hello",
        "Solution": "print",
    }


def test_inside_a_fence_nothing_is_a_heading() -> None:
    text = "### Task\nx\n### Solution\n~~~~\n### Tests\n~~~\n~~~~\n### Tests\ny"
    assert sections(text, NAMES)["Solution"] == "~~~~\n### Tests\n~~~\n~~~~"


def test_a_sentence_that_begins_with_a_name_is_no_heading() -> None:
    text = "### Task\nTests are important here.\n### Solution\na\n### Tests\nb"
    assert sections(text, NAMES)["Task"] == "Tests are important here."


def test_thoughts_are_no_part_of_the_answer() -> None:
    text = "<think>### Task\nno\n</think>### Task\nyes"
    assert sections(text, ("Task",)) == {"Task": "yes"}
    assert yes_or_no("<think>no, no</think>\nYes.")


@pytest.mark.parametrize(
    ("text", "missing"),
    [("", "Task, Solution, Tests"), ("### Task\na\n### Solution\n\n### Tests\nb", "Solution")],
)
def test_what_is_missing_is_named(text: str, missing: str) -> None:
    with pytest.raises(AnswerError) as raised:
        sections(text, NAMES)
    assert (raised.value.reason, raised.value.detail) == (
        "answer_incomplete",
        f"no section {missing}",
    )


def test_code_is_the_block_of_its_language_or_all_of_the_text() -> None:
    both = "```text\nout\n```\nthen\n```python\nx = 1\n```"
    assert code_of(both, "python") == "x = 1"
    assert code_of("x = 1", "python") == "x = 1"
    with pytest.raises(AnswerError, match="answer_without_code"):
        code_of("```python\n\n```", "python")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Score: 7", 7.0),
        ("**Score:** 8/10", 8.0),
        ("The code has 3 functions and 2 loops. Score: 4.5", 4.5),
        ("9", 9.0),
        ("评分：6", 6.0),
        ("I would say 10 out of 10", 10.0),
    ],
)
def test_ratings(text: str, value: float) -> None:
    assert rating(text, 10) == value


@pytest.mark.parametrize("text", ["", "good", "11", "between 3 and 7", "Score: 1\nScore: 9"])
def test_what_is_no_one_rating_is_none(text: str) -> None:
    with pytest.raises(AnswerError, match="rating_unparsable"):
        rating(text, 10)


@pytest.mark.parametrize(
    ("text", "said"),
    [("Yes", True), ("no.", False), ("**Yes**, it asks for code.", True),
     ("So my answer is no", False), ("是", True), ("不是", False)],
)  # fmt: skip
def test_verdicts(text: str, said: bool) -> None:
    assert yes_or_no(text) is said


@pytest.mark.parametrize("text", ["", "maybe", "Yes and no", "是不是"])
def test_what_is_no_verdict_is_none(text: str) -> None:
    with pytest.raises(AnswerError, match="verdict_unparsable"):
        yes_or_no(text)


def test_json_in_prose_and_half_json() -> None:
    assert json_object('Here:\n```json\n{"a": {"b": 1}}\n```') == {"a": {"b": 1}}
    for text in ('{"a": ', "no", "[1]", "{" * 100_000):
        with pytest.raises(AnswerError, match="answer_no_json"):
            json_object(text)


def test_only_line_breaks_of_code_end_its_lines() -> None:
    text = "## Task\r\nDo.\n## Solution\nx = 'a\u2028b\x0c\x85'\n## Tests\ny"
    given = sections(text, ("Task", "Solution", "Tests"))
    assert given == {"Task": "Do.", "Solution": "x = 'a\u2028b\x0c\x85'", "Tests": "y"}
