"""Signals of texts (documentation, prose): the `qsc_doc_*` rules.

Most come from RedPajama-v2 and the web-text filters before it: how much a text repeats
itself, how many of its words are function words, whether its lines end in "read more".
"""

import functools
import json
import re
from importlib import resources

import numpy as np

from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.general import frac_chars_alphabet, share
from beam_pipelines.signals.registry import signal

_SENTENCE = re.compile(r"\b[^.!?。！？؟]++[.!?。！？؟]*")
_SENTENCE_BREAKS = ".?!\n"
# Up to the last bracket of what has no white space in it.
_LINK = re.compile(r"\(https?://\S*+")
# A `<` that no `>` follows takes the rest of its line along, which is then read once.
_TAG = re.compile(r"<[^>\n]*+>?")
_HEX_WORD = re.compile(r"0[xX](?<!\w..)[0-9a-fA-F]++\b")
_CLOSING_BRACKETS = ")]>】》"
_READ_MORE = (
    *("...", "…"),
    *("更多", "全文", "详情", "详细"),
    *("المزيد", "تفاصيل"),
    *("もっと", "もっと読む", "詳細"),
)
_BULLETS = tuple("•‣⁃⁌⁍∙■□▢▣▤▥▦▧▨▩▪▫▬▭▮▯◆◇◈◉◊○●◐◑◒◓◔◕◖◘◙◢◣◤◥◦◯☑☒⦾⬛⬜⬞⬟⬤")
_ANY_BULLET = re.compile(f"[{''.join(_BULLETS)}]")
_CODE_RELATED_NAMES = frozenset(("readme", "notes", "todo", "description", "cmakelists"))


@signal("qsc_doc_frac_chars_alphabet", "text")
def alphabet(document: ParsedDocument) -> float | None:
    """Letters of all visible characters; defined for English only."""
    return frac_chars_alphabet(document) if document.human_language == "en" else None


@signal("qsc_doc_entropy_unigram", "text")
def entropy_unigram(document: ParsedDocument) -> float | None:
    """Entropy of the distribution of words, in nats."""
    if not len(document.words):
        return None
    probabilities = np.bincount(document.words.ids) / len(document.words)
    return max(0.0, -float(np.sum(probabilities * np.log(probabilities))))


@signal("qsc_doc_frac_chars_curly_bracket", "text")
def frac_chars_curly_bracket(document: ParsedDocument) -> float | None:
    brackets = sum(int(document.profile.counts[ord(bracket)]) for bracket in "{}")
    return share(brackets, len(document.text), of_nothing=0.0)


@signal("qsc_doc_frac_chars_dupe_lines", "text")
def frac_chars_dupe_lines(document: ParsedDocument) -> float | None:
    lines = document.stripped_lines
    return share(lines.repeated_characters, lines.characters)


@signal("qsc_doc_frac_lines_dupe_lines", "text")
def frac_lines_dupe_lines(document: ParsedDocument) -> float | None:
    return share(document.stripped_lines.repeated, document.stripped_lines.total)


@signal("qsc_doc_frac_lines_end_with_readmore", "text")
def frac_lines_end_with_readmore(document: ParsedDocument) -> float | None:
    if not any(words in document.text for words in _READ_MORE):
        return share(0, document.profile.lines)
    ends = sum(
        line.rstrip().rstrip(_CLOSING_BRACKETS).endswith(_READ_MORE) for line in document.lines
    )
    return share(ends, document.profile.lines)


@signal("qsc_doc_frac_lines_start_with_bullet", "text")
def frac_lines_start_with_bullet(document: ParsedDocument) -> float | None:
    """Lines that begin with a typographic bullet; `-` and `*` are none."""
    if not _ANY_BULLET.search(document.text):
        return share(0, document.profile.lines)
    bullets = sum(line.lstrip().startswith(_BULLETS) for line in document.lines)
    return share(bullets, document.profile.lines)


@signal("qsc_doc_frac_words_all_caps", "text")
def frac_words_all_caps(document: ParsedDocument) -> float | None:
    words = document.raw_word_counts
    capitals = filter(str.isupper, words)
    return share(sum(map(words.__getitem__, capitals)), document.num_raw_words)


@signal("qsc_doc_frac_words_full_bracket", "text")
def frac_words_full_bracket(document: ParsedDocument) -> float | None:
    brackets = sum(document.raw_word_counts.get(bracket, 0) for bracket in "【】")
    return share(brackets, document.num_raw_words)


@signal("qsc_doc_frac_words_redpajama_stop", "text")
def frac_words_redpajama_stop(document: ParsedDocument) -> float | None:
    """Stop words of all words, as written; defined for en, fr, es, it and de."""
    stop_words = _stop_words().get(document.human_language)
    if stop_words is None:
        return None
    words = document.raw_word_counts
    stops = sum(map(words.__getitem__, words.keys() & stop_words))
    return share(stops, document.num_raw_words, of_nothing=0.0)


@signal("qsc_doc_num_sentences", "text")
def num_sentences(document: ParsedDocument) -> float:
    return sum(1 for _ in _SENTENCE.finditer(document.text))


@signal("qsc_doc_num_chars_sentence_length_mean", "text")
def num_chars_sentence_length_mean(document: ParsedDocument) -> float | None:
    breaks = sum(int(document.profile.counts[ord(sign)]) for sign in _SENTENCE_BREAKS)
    return share(len(document.text) - breaks, breaks + 1, of_nothing=0.0)


@signal("qsc_doc_frac_chars_hex_words", "text")
def frac_chars_hex_words(document: ParsedDocument) -> float | None:
    return share(hex_word_chars(document.text), len(document.text))


def hex_word_chars(text: str) -> int:
    """Characters in `0x…` literals."""
    return sum(map(len, _HEX_WORD.findall(text)))


@signal("qsc_doc_frac_chars_hyperlink_html_tag", "text")
def frac_chars_hyperlink_html_tag(document: ParsedDocument) -> float | None:
    """Characters of links in parentheses and of tags."""
    links = sum(link.rfind(")") + 1 for link in _LINK.findall(document.text))
    tags = sum(len(tag) for tag in _TAG.findall(document.text) if tag[-1] == ">")
    return share(links + tags, len(document.text))


@signal("qsc_doc_cate_code_related_file_name", "text")
def cate_code_related_file_name(document: ParsedDocument) -> float:
    return float(is_code_related_name(document.path))


def is_code_related_name(path: str) -> bool:
    """Whether a text file's name says that it is about code: README, requirements, ..."""
    name = path.rsplit("/", 1)[-1].split(".", 1)[0].lower()
    return "requirement" in name or name in _CODE_RELATED_NAMES


@functools.cache
def _stop_words() -> dict[str, frozenset[str]]:
    text = resources.files(__package__).joinpath("stop_words.json").read_text(encoding="utf-8")
    return {language: frozenset(words.split()) for language, words in json.loads(text).items()}
