import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencoder_jax.decoding.text import TextStream
from tests.opencoder_jax.model.small_models import make_model_directory


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return make_model_directory(tmp_path_factory.mktemp("models") / "model").tokenizer


def streamed(tokenizer, ids, stop=()):
    """The parts given out, and the stream at its end."""
    stream = TextStream(tokenizer, stop)
    parts = []
    for token in ids:
        stream.add(token)
        parts.append(stream.take())
        if stream.stopped:
            break
    stream.finish()
    parts.append(stream.take())
    return parts, stream


@given(st.data())
def test_the_parts_are_the_decoding_of_the_whole(tokenizer, data):
    # Any ids: pieces of characters that never become one, too.
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=40))
    parts, _ = streamed(tokenizer, ids)
    assert "".join(parts) == tokenizer.decode(ids)


@given(st.text(max_size=30))
def test_a_character_comes_whole_or_not_at_all(tokenizer, text):
    parts, _ = streamed(tokenizer, tokenizer.encode(text))
    assert "".join(parts) == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in part for part in parts)


@given(st.text("ab\n", max_size=30), st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
def test_the_first_stop_text_ends_it_and_nothing_of_it_is_given_out(tokenizer, text, stop):
    parts, stream = streamed(tokenizer, tokenizer.encode(text), stop)
    ends = [text.index(one) for one in stop if one in text]
    # Up to the shortest run of tokens with a stop text; the earliest in that.
    seen = tokenizer.decode(stream.ids)
    first = min((seen.index(one) for one in stop if one in seen), default=None)
    assert stream.stopped == bool(ends)
    assert "".join(parts) == (text if first is None else seen[:first])


def test_what_may_become_a_stop_text_is_held_back(tokenizer):
    stream = TextStream(tokenizer, ["\nclass"])
    for token in tokenizer.encode("x\ncl"):
        stream.add(token)
    assert stream.take() == "x"
    for token in tokenizer.encode("ock"):
        stream.add(token)
    assert stream.take() == "\nclock"
