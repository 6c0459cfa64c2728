"""The compiled passes over a text give what plain Python gives, for any text."""

import collections

import hypothesis
import jieba
import numpy as np
import pytest
import zhconv
from hypothesis import strategies as st

from beam_pipelines.signals import characters, encoded, lines, ngrams, quoting, scan, words
from tests.beam_pipelines.signals import reference_scans as reference

# Pieces that mean something to a pass, and what Unicode has that plain letters do not.
_PIECES = (
    *("a", "b", "ab", "Foo", "_", "1", "}", "},", ",", ".", "+", "=", '"', "'", '"""', "'''"),
    *("\\", "\n", " ", "\t", "\r", "\x0b", "\x1c", "\x00", "\\n", "\\u00e9", "0x", "\\x", "12,"),
    *("fF ", "x", "é", "世界", "ß", "Σ", "ς", "İ", "ﬁ", "™", "\u0301", "\u200d", "\u0915\u093f"),
    *("１", "²", "٣", "👍", "\u2028", "\x85", "\xa0", "\u3000", "\ufffd", "\ufeff", "…", "【"),
    *("ab cd ef 01 23 45 67 89 ", "QUJD" * 17, "\\u0041" * 9, "word " * 22, "w" * 21),
)
_CHINESE = (
    *("我们", "来到", "北京", "清华大学", "的", "这是一个测试文件", "機器學習", "繁體", "中", "文"),
    *(
        "，",
        "。",
        " ",
        "\n",
        "\r\n",
        "API",
        "v2.1",
        "C++",
        "T恤",
        "卡拉OK",
        "-",
        "_",
        "é",
        "の",
        "1",
    ),
)
texts = st.lists(st.sampled_from(_PIECES), max_size=60).map("".join) | st.text(max_size=80)
_MANY = hypothesis.settings(max_examples=300, deadline=None)


@_MANY
@hypothesis.given(texts)
def test_each_character_is_counted_by_its_kind(text):
    profile = scan.profile(characters.folded(text))
    assert profile.spaces == sum(map(str.isspace, text))
    assert profile.letters == sum(map(str.isalpha, text))
    assert profile.digits == sum(map(str.isdigit, text))
    assert profile.counts[characters.REPLACEMENT] == text.count("\ufffd")
    assert profile.counts[ord("{")] == text.count("{")


@_MANY
@hypothesis.given(texts)
def test_lines_are_counted_with_their_newlines(text):
    profile = scan.profile(characters.folded(text))
    assert (profile.lines, profile.longest_line) == reference.line_sizes(text)


@_MANY
@hypothesis.given(texts)
def test_normalised_words_are_numbered_in_order_with_their_lengths(text):
    expected = reference.normalised_words(text)
    found = words.normalised_words(text, "en")
    numbers = {word: number for number, word in enumerate(dict.fromkeys(expected))}
    assert found.ids.tolist() == [numbers[word] for word in expected]
    assert found.lengths.tolist() == list(map(len, expected))
    assert found.num_distinct == len(numbers)
    assert found.num_chars == sum(map(len, expected))


@_MANY
@hypothesis.given(texts)
def test_raw_words_are_counted(text):
    expected = collections.Counter(reference.raw_words(text))
    assert words.raw_word_counts(text, characters.folded(text), "en") == expected


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(
    st.lists(st.sampled_from(_CHINESE), max_size=30).map("".join),
)
def test_chinese_words_are_those_that_jieba_cuts_of_whole_lines(text):
    lines_of_text = [zhconv.convert(line, "zh-cn") for line in text.splitlines()]
    cut = [word for line in lines_of_text for word in jieba.lcut(line) if not word.isspace()]
    found = words.raw_word_counts(text, characters.folded(text), "zh")
    assert found == collections.Counter(cut)


def test_many_different_words_and_lines_are_told_apart():
    # More than the first tables have slots for, some of them alike but for one character.
    text = "".join(f"word{i % 3000} b{i}\n" for i in range(6000))
    found = words.normalised_words(text, "en")
    assert (len(found), found.num_distinct) == (12_000, 9_000)
    codes = characters.folded(text)
    assert len(words.raw_word_counts(text, codes, "en")) == 9_000
    assert lines.stripped_lines(text, codes).repeated == 0
    assert lines.compact_lines(text * 2, characters.folded(text * 2)).repeated == 12_000


@_MANY
@hypothesis.given(texts)
def test_repeated_lines_are_those_of_lists_of_lines(text):
    codes = characters.folded(text)
    stripped = list(map(str.strip, text.split("\n")))
    assert lines.stripped_lines(text, codes) == reference.repeated_lines(stripped, False)
    compact = ["".join(line.split()) for line in text.split("\n")]
    assert lines.compact_lines(text, codes) == reference.repeated_lines(compact, True)


@_MANY
@hypothesis.given(texts)
def test_quoted_strings_their_long_lines_and_words(text):
    codes = characters.folded(text)
    strings = quoting.quoted_strings(codes)
    expected = reference.quoted_strings(text)
    assert _cut(text, strings) == expected
    assert strings.num_chars == sum(map(len, expected))
    assert quoting.long_lines(codes, strings, 20) == reference.long_lines(expected, 20)
    assert _cut(text, quoting.long_words(codes, strings, 20)) == reference.long_words(expected, 20)


@_MANY
@hypothesis.given(texts)
def test_runs_of_encoded_data(text):
    assert encoded.encoded_runs(text, characters.folded(text)) == reference.encoded_runs(text)


@_MANY
@hypothesis.given(st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=60))
def test_shares_of_ngrams(sequence):
    numbered = words.words_of(sequence)
    found = ngrams.ngram_shares(numbered.ids, numbered.lengths)
    for n, top in found.top.items():
        assert top == pytest.approx(reference.ngram_shares(sequence, n)[0])
    for n, duplicate in found.duplicate.items():
        assert duplicate == pytest.approx(reference.ngram_shares(sequence, n)[1])


def test_every_code_point_is_folded_to_what_python_says_of_it():
    text = "".join(map(chr, range(0x110000)))
    codes = characters.folded(text)
    assert np.flatnonzero(codes < characters.NOT_ASCII).tolist() == list(range(128))
    for table, holds in (
        (characters.IS_SPACE, str.isspace),
        (characters.IS_LETTER, str.isalpha),
        (characters.IS_DIGIT, str.isdigit),
        (characters.IS_WORD, lambda character: character.isalnum() or character == "_"),
    ):
        assert table[codes].tolist() == [holds(character) for character in text]


@pytest.mark.parametrize("found", ["assert", "todo", "fixme", "your code here"])
def test_no_other_letters_become_what_is_looked_for_in_lower_case(found):
    # The passes lower ASCII alone; `str.lower` makes an ASCII letter of few others.
    becoming = {c for code in range(128, 0x110000) if (c := chr(code)).lower().isascii()}
    assert becoming == {"\u212a"}  # KELVIN SIGN
    assert "k" not in found


@_MANY
@hypothesis.given(texts, st.data())
def test_a_text_without_some_of_its_pieces(text, data):
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=8, unique=True).map(sorted))
    bounds = np.array(places[: len(places) // 2 * 2], np.int32).reshape(-1, 2)
    kept = [code for i, code in enumerate(characters.folded(text).tolist())
            if not any(start <= i < end for start, end in bounds)]  # fmt: skip
    assert scan.without(characters.folded(text), bounds).tolist() == kept


def _cut(text: str, pieces: quoting.Strings | quoting.Pieces) -> list[str]:
    pairs = zip(pieces.starts.tolist(), pieces.ends.tolist(), strict=True)
    return [text[start:end] for start, end in pairs]
