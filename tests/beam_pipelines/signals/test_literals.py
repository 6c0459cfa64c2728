"""Every word that a text has is told, wherever it stands, and no other."""

import hypothesis
import pytest
from hypothesis import strategies as st

from beam_pipelines.signals.literals import Literals

_WORDS = ("he", "she", "his", "hers", "uthor", "AUTHOR", "-by:", "aa", "aab")
_LITERALS = Literals(_WORDS)
_TEXTS = st.lists(st.sampled_from([*"hersiauAbt-:oy é\n", *_WORDS]), max_size=50).map("".join)


@hypothesis.settings(max_examples=500, deadline=None)
@hypothesis.given(_TEXTS)
def test_the_words_of_a_text(text):
    assert _LITERALS.present(text.encode()) == {word for word in _WORDS if word in text}


@pytest.mark.parametrize("position", range(60))
def test_a_word_at_any_place(position):
    data = b"." * position + b"uthor" + b"." * (59 - position)
    assert _LITERALS.present(data) == {"uthor"}
