"""Signals of texts, with values worked out by hand from their definitions."""

import math

import pytest

from beam_pipelines.signals.compute import compute_signals


def signals(text: str, path: str = "README.md") -> dict[str, float | None]:
    result = compute_signals(
        text,
        language="markdown",
        doc_type="text",
        path=path,
        size_bytes=len(text.encode()),
        document_id="0",
    )
    assert result.errors == {}
    return result.values


def test_every_text_signal_of_the_released_filter_is_there():
    assert len(signals("Some text.")) == 32


def test_sizes_count_newlines_and_empty_lines():
    values = signals("One two.\n\nThree four five!\nsix")
    assert values["qsc_doc_num_chars"] == 30
    assert values["qsc_doc_num_lines"] == 4
    assert values["qsc_doc_num_words"] == 6
    assert values["qsc_doc_num_sentences"] == 3
    # one two three four five six: 22 letters.
    assert values["qsc_doc_mean_word_length"] == pytest.approx(22 / 6, abs=1e-8)


def test_punctuation_and_case_do_not_make_words_differ():
    values = signals("Foo foo_foo (FOO), foo-bar")
    # foo foo foo foo foo bar
    assert values["qsc_doc_num_words"] == 6
    assert values["qsc_doc_frac_words_unique"] == pytest.approx(2 / 6, abs=1e-8)
    expected = -(5 / 6 * math.log(5 / 6) + 1 / 6 * math.log(1 / 6))
    assert values["qsc_doc_entropy_unigram"] == pytest.approx(expected, abs=1e-8)


def test_words_of_other_scripts_stay_whole():
    # Vowel signs are marks, which `\w` alone would cut at.
    assert signals("മലയാളം ഭാഷ")["qsc_doc_num_words"] == 2


def test_shares_of_characters():
    values = signals("ab 12\n{}é\ufffd")
    assert values["qsc_doc_frac_chars_whitespace"] == pytest.approx(2 / 10, abs=1e-8)
    assert values["qsc_doc_frac_chars_digital"] == pytest.approx(2 / 8, abs=1e-8)
    assert values["qsc_doc_frac_chars_curly_bracket"] == pytest.approx(2 / 10, abs=1e-8)
    assert values["qsc_doc_frac_chars_replacement_symbols"] == pytest.approx(1 / 10, abs=1e-8)


def test_the_top_bigram_is_the_most_frequent_one():
    # "a bc" three times, 3 letters each; 9 of the 12 letters in all.
    values = signals("a bc a bc a bc ddd")
    assert values["qsc_doc_frac_chars_top_2grams"] == pytest.approx(9 / 12, abs=1e-8)
    # The one that comes first, "x y", only twice: 9 of 13.
    values_of_two = signals("x y a bc a bc a bc x y")
    assert values_of_two["qsc_doc_frac_chars_top_2grams"] == pytest.approx(9 / 13, abs=1e-8)
    # "a bc a" and "bc a bc" occur twice each; the earlier one counts: (1+2+1)·2 of 12.
    assert values["qsc_doc_frac_chars_top_3grams"] == pytest.approx(8 / 12, abs=1e-8)


def test_a_word_in_several_repeated_ngrams_counts_once():
    phrase = "one two three four five six"
    values = signals(f"{phrase} x {phrase} y")
    letters = len(phrase.replace(" ", ""))
    share = pytest.approx(2 * letters / (2 * letters + 2), abs=1e-8)
    assert values["qsc_doc_frac_chars_dupe_5grams"] == share
    assert values["qsc_doc_frac_chars_dupe_6grams"] == share
    assert values["qsc_doc_frac_chars_dupe_7grams"] == 0


def test_repeated_lines_are_compared_without_surrounding_space():
    values = signals("same\n  same\n\nother line\n")
    assert values["qsc_doc_frac_lines_dupe_lines"] == pytest.approx(2 / 3, abs=1e-8)
    assert values["qsc_doc_frac_chars_dupe_lines"] == pytest.approx(8 / 18, abs=1e-8)


def test_lines_that_list_or_lead_elsewhere():
    values = signals("• one\n• two\nmore...]\n- three\n")
    assert values["qsc_doc_frac_lines_start_with_bullet"] == 0.5
    assert values["qsc_doc_frac_lines_end_with_readmore"] == 0.25


def test_links_tags_and_hex_literals():
    values = signals("[a](http://b.c) <br> 0xFF 0xg")
    assert values["qsc_doc_frac_chars_hyperlink_html_tag"] == pytest.approx(16 / 29, abs=1e-8)
    assert values["qsc_doc_frac_chars_hex_words"] == pytest.approx(4 / 29, abs=1e-8)


def test_capitals_and_lenticular_brackets_are_shares_of_raw_words():
    values = signals("THE API is 【 new 】 X2")
    assert values["qsc_doc_frac_words_all_caps"] == pytest.approx(3 / 7, abs=1e-8)
    assert values["qsc_doc_frac_words_full_bracket"] == pytest.approx(2 / 7, abs=1e-8)


@pytest.mark.parametrize(
    ("path", "value"),
    [("a/README.md", 1), ("dev-requirements.txt", 1), ("TODO", 1), ("readme_old.md", 0)],
)
def test_file_names_that_go_with_code(path, value):
    assert signals("text", path)["qsc_doc_cate_code_related_file_name"] == value


def test_an_empty_text_has_every_signal():
    values = signals("")
    assert values["qsc_doc_num_chars"] == 0
    assert values["qsc_doc_frac_chars_whitespace"] == 1
    assert values["qsc_doc_frac_chars_top_2grams"] == 0


ENGLISH = "The quick brown fox jumps over the lazy dog, and then it sleeps in the warm sun."
CHINESE = "我们在这里讨论如何训练一个语言模型，并且给出所有的细节和代码。"


def test_letters_are_a_signal_of_english_only():
    assert signals(ENGLISH)["qsc_doc_frac_chars_alphabet"] == pytest.approx(62 / 64, abs=1e-8)
    assert signals(CHINESE)["qsc_doc_frac_chars_alphabet"] is None


def test_stop_words_are_counted_in_their_language():
    # over the and then it in the, of 17 words and 2 marks; "The" is none as written.
    assert signals(ENGLISH)["qsc_doc_frac_words_redpajama_stop"] == pytest.approx(7 / 19, abs=1e-8)
    assert signals(CHINESE)["qsc_doc_frac_words_redpajama_stop"] is None


def test_chinese_is_cut_into_words_and_traditional_characters_are_simplified():
    simplified, traditional = signals("我们讨论语言模型"), signals("我們討論語言模型")
    assert simplified["qsc_doc_num_words"] == 4  # 我们 讨论 语言 模型
    assert simplified["qsc_doc_num_words"] == traditional["qsc_doc_num_words"]


def test_japanese_is_cut_where_the_script_changes():
    # 言語 モデル を 学習 する
    assert signals("言語モデルを学習する。")["qsc_doc_num_words"] == 5


@pytest.mark.timeout(60)
@pytest.mark.parametrize("unit", ["<a", "(http://", "a.", "…)", "• ", "a\u0300 ", "0x"])
def test_a_single_line_of_megabytes_is_read_in_linear_time(unit):
    assert signals(unit * (600_000 // len(unit)))["qsc_doc_num_lines"] == 1
