import json

import pytest

from opencoder_jax.formats.conversation import (
    Conversation,
    ConversationError,
    decode_conversation,
    encode_conversation,
)
from opencoder_jax.formats.example import RecordError, decode_example, encode_example

TURNS = (("system", "Be kind."), ("user", "Größe?\u2028"), ("assistant", "1 << 20\n"))


def test_a_conversation_comes_back_as_it_was_with_its_details():
    details = json.dumps({"template": "educational/task-1", "temperature": 1.0, "tests": ["a"]})
    made = Conversation("a" * 32, TURNS, "c++", "o/n", "educational", details)

    read = decode_conversation(encode_conversation(made))

    assert read == made
    assert read.known()["template"] == "educational/task-1"


def test_a_conversation_without_details_has_the_bytes_of_sets_made_before_there_were_any():
    made = Conversation("a" * 32, TURNS, "python", "o/n", "p")
    before = encode_example(
        {
            "id": made.id,
            "messages": json.dumps(TURNS, ensure_ascii=False),
            "language": "python",
            "repo": "o/n",
            "provenance": "p",
        }
    )

    assert encode_conversation(made) == before
    assert decode_conversation(before) == made
    assert made.known() == {}


def test_details_that_are_no_object_are_refused():
    for details in ("template-1", "[1]"):
        with pytest.raises(ConversationError, match="details are no JSON object"):
            Conversation("a" * 32, TURNS, "python", "", "", details)
    with pytest.raises(ConversationError, match="details"):
        Conversation("a" * 32, TURNS, "python", "", "", "{").known()


def test_turns_that_cannot_be_trained_on_are_refused():
    with pytest.raises(ConversationError, match="tool"):
        Conversation("a" * 32, (("tool", "x"), ("assistant", "y")), "", "", "")
    with pytest.raises(ConversationError, match="no assistant turn"):
        Conversation("a" * 32, (("user", "x"),), "", "", "")


def test_a_record_that_lacks_a_feature_is_named():
    features = decode_example(encode_conversation(Conversation("a" * 32, TURNS, "python", "", "")))
    del features["messages"]
    with pytest.raises(RecordError, match="not a conversation record"):
        decode_conversation(encode_example(features))
