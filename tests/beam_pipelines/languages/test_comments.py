"""Comments leave the code, and nothing else does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.languages.comments import comment_bounds, comment_spans, comment_syntax
from beam_pipelines.languages.file_types import languages
from beam_pipelines.signals.characters import folded
from tests.beam_pipelines.languages import reference_comments

# One language for each syntax of the table.
_LANGUAGES = sorted({comment_syntax(language): language for language in languages()}.values())
# Whatever opens, closes or escapes something somewhere, and what stands around it.
_PIECES = (
    *("/*", "*/", "//", "#", "'", '"', '"""', "'''", "\\", "`", "\n", "-", "--", "--[[", "]]"),
    *("{-", "-}", "(*", "*)", "{", "}", "(", ")", "( ", "<!--", "-->", "=begin", "=end", "=pod"),
    *("=cut", "=", "⍝", "é", "\u3000", "\u0301", " ", "\t", ";", ":", "a", "C", "*", "!", "%"),
    *("%{", "%}", "REM ", "dnl ", "dnl\n", "      ", "123456", "'a'", "'\\n'", "'\\u1234'", "r"),
    *("{{!--", "--}}", "[", "#|", "|#", "<#", "#>", "\x0b", "\r"),
)  # fmt: skip


def split_comments(text: str, language: str) -> tuple[str, str]:
    """(code, comments): the text without its comments, and the comments joined by newlines.

    A line that holds only a comment stays in the code as an empty line.
    """
    code: list[str] = []
    comments: list[str] = []
    last = 0
    for start, end in comment_spans(text, language):
        code.append(text[last:start])
        comments.append(text[start:end])
        last = end
    code.append(text[last:])
    return "".join(code), "\n".join(comments)


@pytest.mark.parametrize(
    ("language", "text", "comments"),
    [
        ("c", 'a; // b\n/* c\n d */ "// e" "/* f"', ["// b", "/* c\n d */"]),
        ("c", "x = 'a'; // it's\n", ["// it's"]),
        ("c", '#include <a.h>\n"\\"//"; // b', ["// b"]),
        ("javascript", "`// ${a}\n/*` // b", ["// b"]),
        ("python", "x = '# a'  # b\n#c\n", ["# b", "#c"]),
        ("python", 'def f():\n    """Doc."""\n    y = """no # doc"""\n', ['"""Doc."""']),
        ("python", 'r"""Doc."""\n', ['"""Doc."""']),
        ("shell", "echo $# a#b ${x#y} # c\n", ["# c"]),
        ("perl", "$#a;\n=pod\n\ntext\n\n=cut\n# b\n", ["=pod\n\ntext\n\n=cut", "# b"]),
        ("ruby", '=begin\na\n=end\n"#{b}" # c', ["=begin\na\n=end", "# c"]),
        ("sql", "SELECT '--a', 'it''s' -- b\n/* c */", ["-- b", "/* c */"]),
        ("lua", "--[[ a\nb ]] c -- d", ["--[[ a\nb ]]", "-- d"]),
        ("haskell", "f' = g -- a\n{- b -} c", ["-- a", "{- b -}"]),
        ("rust", "fn f<'a>(x: &'a str) { '\"' } // b", ["// b"]),
        ("ocaml", "let a' = 'x' (* b *)", ["(* b *)"]),
        ("html", "<p><!-- a\nb --></p>", ["<!-- a\nb -->"]),
        ("css", "a { b: url(http://c) } /* d */", ["/* d */"]),
        ("scss", "a { b: url(http://c) } // d", ["// d"]),
        ("fortran", "C a\n      CALL b ! c\n", ["C a", "! c"]),
        ("forth", ": a ( b ) c(d) \\ e\n", ["( b )", "\\ e"]),
        ("cobol", "000100* a\n000200 MOVE b.\n", ["* a"]),
        ("batchfile", "@echo off\nREM a\n:: b\necho REM c\n", ["REM a", ":: b"]),
        ("vim script", '" a\nlet x = "b"\n', ['" a']),
        ("unix assembly", "mov $1, %eax # a\n", ["# a"]),
        ("classic asp", "<%-- a --%> b", ["<%-- a --%>"]),
        ("json", '{"a": "// b"} // c', []),
    ],
)
def test_comments_of_each_kind_are_found(language, text, comments):
    assert [text[start:end] for start, end in comment_spans(text, language)] == comments


def test_a_language_without_syntax_loses_only_its_comment_lines():
    # The released filter took everything after the first marker for a comment.
    text = "// a\nx = 1 // b\n# c\ny = 2\n#include z\n"
    code, comments = split_comments(text, "lolcode")
    assert code == "\nx = 1 // b\n\ny = 2\n#include z\n"
    assert comments == "// a\n# c"


def test_what_is_not_closed_is_code():
    assert split_comments("a /* b\nc // d\n", "c") == ("a /* b\nc \n", "// d")
    assert split_comments('x = """a\nb # c\n', "python") == ('x = """a\nb \n', "# c")


@given(
    text=st.text(alphabet="/*#'\"\\`\n-[]{}(<!>)ab =%;C"), name=st.sampled_from(sorted(languages()))
)
def test_code_and_comments_are_the_text_whatever_it_holds(text, name):
    code, rest, last = "", "", 0
    for start, end in comment_spans(text, name):
        assert last <= start < end <= len(text)
        code, rest, last = code + text[last:start], rest + text[start:end], end
    assert split_comments(text, name)[0] == code + text[last:]
    assert len(code) + len(rest) + len(text) - last == len(text)


@settings(max_examples=1500, deadline=None)
@given(
    text=st.lists(st.sampled_from(_PIECES), max_size=40).map("".join),
    language=st.sampled_from(_LANGUAGES),
)
def test_the_comments_are_those_of_plain_patterns(text, language):
    assert list(comment_spans(text, language)) == list(
        reference_comments.comment_spans(text, language)
    )


def test_more_comments_than_are_found_at_a_time():
    text = "x # y\n" * 70_000
    bounds = comment_bounds(text, folded(text), "python")
    assert bounds.tolist() == [[6 * line + 2, 6 * line + 5] for line in range(70_000)]


@pytest.mark.parametrize(
    ("language", "unit"),
    [("c", "\\'"), ("c", "'\\'"), ("c", "/*/"), ("python", '"""a'), ("python", "'''\\"),
     ("ruby", "=begin\n"), ("batchfile", " REM"), ("handlebars", "{{!"), ("perl", "=a\n")],
)  # fmt: skip
@pytest.mark.timeout(60)
def test_nothing_makes_the_scanner_read_a_text_twice(language, unit):
    # In quadratic time one of these takes an hour.
    assert all(start < end for start, end in comment_spans(unit * 300_000, language))
