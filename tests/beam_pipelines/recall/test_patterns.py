"""URL patterns and tables of labelled pages, and what is said of broken ones."""

import re

import hypothesis
import pytest
from hypothesis import strategies as st

from beam_pipelines.recall.labels import Labels, SeedSettings, read_annotated
from beam_pipelines.recall.patterns import Pattern, PatternIndex, read_patterns
from opencoder_jax.errors import InputError
from tests.beam_pipelines.recall import crawl

_LABELS = ("code", "math", "none")


def find(url: str, *rows: tuple[str, str]) -> str | None:
    index = PatternIndex(Pattern(text, label, "here") for text, label in rows)
    found = index.find(url)
    return found and found.label


def test_the_papers_example_matches():
    url = "https://my.oschina.net/u/5000000/blog/123"
    assert find(url, ("%my.oschina.net%blog%", "code")) == "code"
    assert find("https://my.oschina.net/u/5000000/news", ("%my.oschina.net%blog%", "code")) is None


def test_the_longer_pattern_takes_away_from_the_shorter():
    rows = [("%example.org%", "code"), ("%example.org/jobs%", "none")]
    assert find("https://example.org/jobs/1", *rows) == "none"
    assert find("https://example.org/jobs/1", *reversed(rows)) == "none"
    assert find("https://example.org/docs/1", *rows) == "code"


def test_case_does_not_matter():
    assert find("https://EXAMPLE.org/Docs/", ("%example.ORG/docs%", "code")) == "code"


_PIECES = st.sampled_from(["a", "b", "ab", ".", "/", "-", "www", "org", "a.b", "é", "%41"])
_TEXTS = st.lists(_PIECES, max_size=8).map("".join)
_PATTERNS = st.lists(_PIECES | st.just("%"), min_size=1, max_size=6).map("".join)


@hypothesis.settings(max_examples=500, deadline=None)
@hypothesis.given(_TEXTS, st.lists(_PATTERNS, min_size=1, max_size=5, unique=True))
def test_the_index_finds_what_regular_expressions_find(url, texts):
    def matches(text: str) -> bool:
        return bool(re.fullmatch(".*".join(map(re.escape, text.split("%"))), url, re.DOTALL))

    found = PatternIndex(Pattern(text, "code", "here") for text in texts).find(url)
    matching = [text for text in texts if matches(text)]
    best = min(matching, key=lambda t: (t.count("%") - len(t), t), default=None)
    assert (found and found.text) == best


def test_the_shipped_tables_are_the_papers():
    rows = read_patterns("shipped:chinese.tsv", _LABELS)
    assert sum(row.label == "code" for row in rows) == 18
    assert sum(row.label == "math" for row in rows) == 11
    (english,) = read_patterns("shipped:english.tsv", _LABELS)
    assert PatternIndex([english]).find("https://stackoverflow.com/questions/1/how")


def test_a_row_without_a_label_is_not_annotated_yet(tmp_path):
    table = tmp_path / "table.tsv"
    table.write_text("pattern\tlabel\tnote\n%a.example%\n%b.example%\tcode\n# a comment\n\n")
    assert [row.text for row in read_patterns(str(table), _LABELS)] == ["%b.example%"]


def test_windows_line_ends_and_a_mark_of_byte_order_are_read(tmp_path):
    table = tmp_path / "table.tsv"
    table.write_bytes(b"\xef\xbb\xbfpattern\tlabel\r\n%a.example%\tcode\r\n")
    assert [row.label for row in read_patterns(str(table), _LABELS)] == ["code"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_tables_that_a_spreadsheet_saved_are_read(tmp_path, encoding):
    table = tmp_path / "table.tsv"
    rows = [
        '"# mine, all of them"\t\t',
        "pattern\tlabel\tnote",
        '"%a.example/x,y%"\tcode\t"so ""called"", 编程"',
        "%b.example%\tnone\t",
        '"%c.example/,%"\t\t"not yet"',
    ]
    table.write_bytes("\r\n".join(rows).encode(encoding))
    read = read_patterns(str(table), _LABELS)
    assert [row.text for row in read] == ["%a.example/x,y%", "%b.example%"]
    assert read[0].place.endswith("line 3")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty, expected a header with the columns pattern, label"),
        (b"url\tlabel\n", "line 1: expected a header with the column pattern"),
        (b"pattern,label\n%a%,code\n", "line 1: expected a header with the column pattern"),
        (b"pattern\tlabel\n%a%\tcod\n", "line 2: label 'cod' is unknown, expected code, math"),
        (b"pattern\tlabel\n\n%%\tcode\n", "line 3: the pattern '%%' would match every url"),
        (b"pattern\tlabel\n%a b%\tcode\n", "line 2: the pattern '%a b%' has white space"),
        (b"pattern\tlabel\n%a%\tcode\tx\ty\n", "line 2: 4 fields, expected 2"),
        (b"pattern\tlabel\n%a%\tcode\n%\xff%\tcode\n", "line 3: is no UTF-8"),
        (b"\xff\xfep\0\xd8", "begins like UTF-16, and is none"),
        (b"pattern\tlabel\tlabel\n", "line 1: a column is named twice"),
    ],
)
def test_a_broken_pattern_table_is_one_error_with_the_line(tmp_path, content, message):
    table = tmp_path / "table.tsv"
    table.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_patterns(str(table), _LABELS)
    assert message in str(error.value)
    assert str(table) in str(error.value)


def test_two_labels_for_one_pattern_name_both_rows(tmp_path):
    tables = [tmp_path / "1.tsv", tmp_path / "2.tsv"]
    tables[0].write_text("pattern\tlabel\n%a.example%\tcode\n")
    tables[1].write_text("pattern\tlabel\n%b.example%\tcode\n%A.example%\tnone\n")
    with pytest.raises(
        InputError, match=r"2\.tsv, line 3: '%A.*' is none here and code in .*1\.tsv"
    ):
        read_annotated([str(table) for table in tables], _LABELS)


@pytest.mark.parametrize("path", ["missing.tsv", "shipped:latin.tsv"])
def test_a_missing_table_is_named(path):
    with pytest.raises(InputError, match=re.escape(path)):
        read_patterns(path, _LABELS)


def test_a_table_decides_about_a_page_before_a_pattern_does(tmp_path):
    page = crawl.page("https://a.example/x", "text")
    table = crawl.write_table(tmp_path / "pages.tsv", [(page.id, "none")], column="id")
    patterns = tmp_path / "patterns.tsv"
    patterns.write_text("pattern\tlabel\n%a.example%\tcode\n")
    labels = Labels.read(SeedSettings(("code",), tables=(str(table),), patterns=(str(patterns),)))
    assert labels.of(page) == "none"
    assert labels.of(crawl.page("https://a.example/y", "text")) == "code"
    assert labels.of(crawl.page("https://b.example/", "text")) is None


def test_tables_that_disagree_about_a_page_are_refused(tmp_path):
    table = crawl.write_table(tmp_path / "1.tsv", [("https://a.example/", "code")])
    other = crawl.write_table(tmp_path / "2.tsv", [("https://a.example/", "none")])
    with pytest.raises(InputError, match=r"2\.tsv, line 2: https://a\.example/ is none here and"):
        Labels.read(SeedSettings(("code",), tables=(str(table), str(other))))


def test_a_url_names_its_page_however_it_is_written(tmp_path):
    written = "HTTPS://me@WWW.A.example:443/x y?q=1#top"
    table = crawl.write_table(tmp_path / "1.tsv", [(written, "code"), ("READ ME", "none")])
    labels = Labels.read(SeedSettings(("code",), tables=(str(table),)))
    assert labels.of(crawl.page("https://www.a.example/x%20y?q=1", "text")) == "code"
    other = crawl.write_table(tmp_path / "2.tsv", [("https://www.a.example/x%20y?q=1", "none")])
    with pytest.raises(InputError, match=r"2\.tsv, line 2: https://www\.a\.example/x%20y"):
        Labels.read(SeedSettings(("code",), tables=(str(table), str(other))))


def test_a_row_that_names_no_page_is_refused(tmp_path):
    table = tmp_path / "seeds.tsv"
    table.write_text("id\turl\tlabel\n\t\tcode\n")
    with pytest.raises(InputError, match=r"line 2: neither an id nor a url"):
        Labels.read(SeedSettings(("code",), tables=(str(table),)))


@pytest.mark.parametrize("labels", [(), ("none",), ("code", "code"), ("co de",)])
def test_labels_that_cannot_be_told_apart_are_refused(labels):
    with pytest.raises(InputError, match="label"):
        SeedSettings(labels)
