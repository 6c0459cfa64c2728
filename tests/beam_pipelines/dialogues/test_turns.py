"""What can be learned of somebody's turns is kept as it was said; the rest is told apart."""

import pytest

from beam_pipelines.dialogues.turns import TurnsError, dialogue_of, ends_in_code

Q, A = ("user", "Why?"), ("assistant", "Because.")
Q2, A2 = ("user", "And then?"), ("assistant", "Nothing.")


def test_roles_of_other_data_sets_have_our_names() -> None:
    turns = [("system", "Be kind."), ("human", "a"), ("gpt", "b"), ("Human", "c"), ("ChatGPT", "d")]
    found = dialogue_of(turns)
    assert [role for role, _ in found.messages] == ["system", *("user", "assistant") * 2]
    assert [text for _, text in found.messages] == ["Be kind.", "a", "b", "c", "d"]
    assert found.trimmed == ()


def test_contents_stay_as_they_were_written() -> None:
    text = "\n    indented\t\n\n```python\nx = 1\n```\n\u2028 "
    assert dialogue_of([("user", text), ("assistant", text)]).messages[1][1] == text


@pytest.mark.parametrize(
    ("turns", "left", "trimmed"),
    [
        ([A, Q, A2], [Q, A2], "an answer before the first question"),
        ([Q, A, Q2], [Q, A], "a question after the last answer"),
        ([Q, A, Q2, ("assistant", " \n")], [Q, A], "an empty last turn"),
        ([Q, Q, A], [Q, A], "a turn that stood twice"),
        ([("system", ""), Q, A], [Q, A], None),
        (
            [Q, A, Q2, ("gpt", "Like so:\n```python\nx = 1")],
            [Q, A],
            "a last answer that was cut off",
        ),
    ],
)
def test_what_can_be_mended_is_trimmed_and_told(turns, left, trimmed) -> None:
    found = dialogue_of(turns)
    assert list(found.messages) == left
    assert (trimmed in found.trimmed) if trimmed else not found.trimmed


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([], "no turns"),
        ([Q], "no answer"),
        ([A], "no question"),
        ([A, Q], "no answer"),
        ([("system", "x")], "no turns"),
        ([(None, "x"), A], "turn 0: no role"),
        ([("", "x"), A], "turn 0: no role"),
        ([(3, "x"), A], "turn 0: no role"),
        ([("narrator", "x"), A], "turn 0: role 'narrator'"),
        ([Q, ("assistant", ""), Q2, A], "turn 1: assistant's is empty"),
        ([Q, ("assistant", None), Q2, A], "turn 1: assistant's is empty"),
        ([Q, A, ("system", "x"), Q2, A2], "turn 2: system in the middle"),
        ([("system", "x"), ("system", "y"), Q, A], "turn 1: system in the middle"),
        ([Q, ("function", "{}"), A], "turn 1: a tool's"),
        ([Q, Q2, A], "turns 0 and 1: user twice"),
        ([Q, A, A2], "turns 1 and 2: assistant twice"),
        ([Q, ("assistant", {"a": 1})], "turn 1: dict, expected text"),
        ([Q, ("assistant", "\ud800")], "turn 1: not Unicode text"),
        ([Q, ("assistant", "```\nx")], "the answer is cut off"),
        ([("user", [{"type": "image_url"}]), A], "turn 0: a part that is no text (image_url)"),
    ],
)
def test_what_nobody_can_learn_of_says_why(turns, reason) -> None:
    with pytest.raises(TurnsError) as caught:
        dialogue_of(turns)
    assert str(caught.value).startswith(reason)


def test_the_text_of_messages_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert dialogue_of([("user", parts), A]).messages[0] == ("user", "a\nb")


@pytest.mark.parametrize(
    ("text", "is_open"),
    [
        ("```\nx\n```", False),
        ("```python\nx\n", True),
        ("````\n```\nx\n```\n````", False),
        ("~~~\n```\n~~~", False),
        ("say ```x``` so", False),
        ("```x```\n", False),
        ("- a\n  ```c\n  x\n  ```", False),
        ("Like so: ```python\nx = 1\n```\n\n", False),
        ("Like so: ```python\nx = 1\n```\nAnd: ```\ny", True),
    ],
)
def test_an_open_code_block_is_told(text: str, is_open: bool) -> None:
    assert ends_in_code(text) == is_open
