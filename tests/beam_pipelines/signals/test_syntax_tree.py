"""The bounded parse: a text that is none ends early, counted in the parser's own operations."""

import contextlib
import random
import string

import pytest
import tree_sitter
import tree_sitter_javascript

from beam_pipelines.signals import syntax_tree

LANGUAGE = tree_sitter.Language(tree_sitter_javascript.language())
SIZE = 300_000
SOURCE = """\
// A function; with what a parser may take for something else.
export const f = async ({ a, b: [c] }, ...d) => {
  for (const [e, g] of d) { if (e < g && /[/]/.test(`x${a}`)) return { e, g }; }
  return (c, a) ? <b key={c}>text {d}</b> : await h(a)`t`;
};
label: while (x) { y = z\n++x; break label }
"""
RANDOM = random.Random(0)


def calls(text: str) -> int:
    """How often the parser called for a text, whether it was given up or not."""
    content = text.encode()
    parser = tree_sitter.Parser(LANGUAGE)
    watch = syntax_tree.Watch(parser, end=len(content))
    with contextlib.suppress(ValueError):
        parser.parse(lambda position, _: content[position:], progress_callback=watch.give_up)
    return watch.calls


@pytest.mark.parametrize(
    "text",
    [
        "case a:" * (SIZE // 7),
        "x y(" * (SIZE // 4),
        "<a " * (SIZE // 3),
        "'a\\n" * (SIZE // 3),
        "`a${`" * (SIZE // 5),
        "The quick brown fox jumps over the lazy dog.\n" * (SIZE // 45),
        "".join(RANDOM.choices(string.printable, k=SIZE)),
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_javascript_is_given_up_at_its_beginning(text):
    assert calls(text) <= 1_000
    assert syntax_tree.parse(LANGUAGE, text.encode()) is None


def test_what_becomes_another_kind_of_text_is_given_up_there():
    good = SOURCE * (SIZE // len(SOURCE))
    assert calls(good + "x y(" * (SIZE // 4)) <= calls(good) + 1_000


@pytest.mark.parametrize("text", ["", "\n", SOURCE, SOURCE * 1_000])
def test_javascript_is_never_given_up(text):
    tree = syntax_tree.parse(LANGUAGE, text.encode())
    assert tree is not None
    plain = tree_sitter.Parser(LANGUAGE).parse(text.encode())
    assert str(tree.root_node) == str(plain.root_node)
    assert tree.root_node.end_byte == plain.root_node.end_byte


def test_any_text_parses_or_not_as_without_a_watch():
    pieces = [*SOURCE.split(" "), *SOURCE.split("\n")]
    parser = tree_sitter.Parser(LANGUAGE)
    for _ in range(300):
        text = " ".join(RANDOM.choices(pieces, k=RANDOM.randrange(1, 12)))
        content = (text + "\n" + SOURCE * 20).encode()
        fails = parser.parse(content).root_node.has_error
        assert (syntax_tree.parse(LANGUAGE, content) is None) == fails


@pytest.mark.parametrize(
    ("log", "fails"),
    [
        (["process version:0, a", "detect_error b", "resume version:0"], True),
        (["process version:0, a", "shift b"], False),
        # Another reading goes on, even if the one that failed was the better.
        (
            [
                *("process version:0, a", "detect_error b"),
                *("process version:1, a", "shift b", "resume version:0"),
            ],
            False,
        ),
        # The log begins within a round, whose first reading may have gone on.
        (["detect_error b", "resume version:0"], False),
        (["process version:1, a", "detect_error b", "resume version:0"], False),
        (
            [
                *("process version:1, a", "shift b"),
                *("process version:0, a", "detect_error b"),
                *("process version:1, a", "detect_error b", "resume version:0"),
            ],
            True,
        ),
    ],
)
def test_a_log_shows_failure_only_if_all_readings_failed(log, fails):
    assert syntax_tree.certainly_fails(log) is fails


def test_brackets_nest_by_how_many_are_open():
    limit = syntax_tree.MAX_NESTING
    assert not syntax_tree.nests_too_deeply(b"([{}])" * limit)
    assert not syntax_tree.nests_too_deeply(b"(" * limit + b")" * limit)
    assert syntax_tree.nests_too_deeply(b"(" * (limit + 1) + b")" * limit)
