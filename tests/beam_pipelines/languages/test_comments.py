"""Comments leave the code, and nothing else does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.languages.comments import comment_spans
from beam_pipelines.languages.file_types import languages


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


@pytest.mark.parametrize(
    ("language", "unit"),
    [("c", "\\'"), ("c", "'\\'"), ("c", "/*/"), ("python", '"""a'), ("python", "'''\\"),
     ("ruby", "=begin\n"), ("batchfile", " REM"), ("handlebars", "{{!"), ("perl", "=a\n")],
)  # fmt: skip
@pytest.mark.timeout(60)
def test_nothing_makes_the_scanner_read_a_text_twice(language, unit):
    # In quadratic time one of these takes an hour.
    assert all(start < end for start, end in comment_spans(unit * 300_000, language))
