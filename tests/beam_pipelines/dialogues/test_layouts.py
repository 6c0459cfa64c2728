"""Whatever a row holds, it is a record that can be written or a drop that can be."""

import json
import random
from typing import Any

import pytest

from beam_pipelines.accounting import encode_drop
from beam_pipelines.dialogues.layouts import (
    BadRowError,
    content_key,
    conversation_of,
    document_of,
    row_drop,
)
from beam_pipelines.dialogues.rows import Row
from opencoder_jax.formats.conversation import decode_conversation, encode_conversation
from opencoder_jax.formats.document import encode_document
from tests.beam_pipelines.dialogues.published_rows import ALPACA, EDUCATIONAL, WILDCHAT

FIELDS = (
    *("messages", "conversation", "conversations", "instruction", "input", "output", "prompt"),
    *("completion", "system", "code", "testcase", "language", "lang", "toxic", "id", "label"),
    *("source", "langdetect", "text", "content", "role", "from", "value", "tool_calls", "model"),
)
PLAIN = (
    *(None, True, 0, -1, 3.5, float("nan"), 10**400, "", "x", "\ud800", "a\u2028b", "\0"),
    *("```python\nx", "human", "gpt", "user", "assistant", "system"),
)


def anything(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.randrange(4 if depth < 4 else 2)
    if kind < 2:
        return chance.choice(PLAIN)
    if kind == 2:
        return [anything(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice(FIELDS): anything(chance, depth + 1) for _ in range(chance.randrange(5))}


def test_no_row_can_stop_a_job() -> None:
    chance = random.Random(7)
    kept = 0
    for number in range(5000):
        values = {chance.choice(FIELDS): anything(chance) for _ in range(chance.randrange(7))}
        if number % 3 == 0:
            good = chance.choice([WILDCHAT, ALPACA, EDUCATIONAL])
            values = {**good, **dict(list(values.items())[:2])}
        row = Row("file", str(number), values)
        try:
            made = conversation_of(row, "mine", "", True).conversation
        except BadRowError as error:
            encode_drop(row_drop(row, "mine", error))
        else:
            assert decode_conversation(encode_conversation(made)) == made
            assert content_key(made)
            json.loads(made.details, parse_constant=pytest.fail)
            kept += 1
        try:
            encode_document(document_of(row, "mine", ""))
        except BadRowError as error:
            encode_drop(row_drop(row, "mine", error))
    assert kept > 500


def conversation(values: dict, **more) -> Any:
    return conversation_of(Row("f", "1", {**values, **more}), "mine", "", False)


def test_tests_come_with_their_solution_or_not_at_all() -> None:
    found = conversation(EDUCATIONAL)
    assert (found.code, found.tests.split("\n")) == (EDUCATIONAL["code"], EDUCATIONAL["testcase"])
    assert conversation(EDUCATIONAL, testcase="assert 1").tests == "assert 1"
    for odd in ([], None, ["\ud800"], {"a": 1}):
        found = conversation(EDUCATIONAL, testcase=odd)
        assert (found.code, found.tests) == ("", "")


@pytest.mark.parametrize(
    ("values", "language"),
    [
        ({"output": "```C++\nint x;\n```"}, "cpp"),
        ({"output": "```text\nx\n```\n\n~~~sh\nls\n~~~"}, "text"),
        ({"output": "no code"}, "text"),
        ({"output": "no code", "lang": "Rust"}, "rust"),
        ({"output": "no code", "language": "Python"}, "python"),
        ({"output": "no code", "language": "English"}, "text"),
    ],
)
def test_the_language_is_that_of_the_code(values: dict, language: str) -> None:
    assert conversation(ALPACA, **values).conversation.language == language


def test_the_same_words_are_the_same_but_for_case_and_blanks() -> None:
    def key(**more: str) -> str:
        return content_key(conversation(ALPACA, **more).conversation)

    assert key(instruction="Do  it\n", input="") == key(instruction="do it", input="")
    assert key(output="a") != key(output="b")
    assert key(input="") != key()


@pytest.mark.parametrize("marked", [True, 1, "true", "True"])
def test_a_mark_of_toxicity_counts_in_every_type(marked: Any) -> None:
    with pytest.raises(BadRowError) as caught:
        conversation(WILDCHAT, toxic=marked)
    assert caught.value.reason == "toxic"


@pytest.mark.parametrize("about", [[3, 1, 2], {"a": 1}, 7])
def test_an_input_that_is_no_text_is_not_left_out(about: Any) -> None:
    with pytest.raises(BadRowError) as caught:
        conversation(ALPACA, input=about)
    assert caught.value.detail == f"input is {type(about).__name__}, expected text"


@pytest.mark.parametrize("about", [None, "", " ", [], float("nan")])
def test_an_input_may_be_missing_in_many_ways(about: Any) -> None:
    found = conversation(ALPACA, input=about)
    assert found.conversation.messages[0] == ("user", ALPACA["instruction"])


def test_a_toxic_turn_is_enough() -> None:
    turns = [{**turn, "toxic": number == 1} for number, turn in enumerate(WILDCHAT["conversation"])]
    with pytest.raises(BadRowError) as caught:
        conversation(WILDCHAT, conversation=turns)
    assert caught.value.reason == "toxic"
