"""Main text keeps code byte for byte, leaves the page's furniture out, and ends in time."""

import pytest

from beam_pipelines.web.main_text import DEEPEST, HostileError, main_text

PROSE = "Some prose that says something about programs and how they are written."
CODE = "def f(x):\n    if x:\n\treturn  x < 1 and '<b>'\n\n    # end"
ESCAPED = CODE.replace("&", "&amp;").replace("<", "&lt;")


def page(content: str) -> str:
    return f"<html><head><title>T</title></head><body><main><p>{PROSE}</p>{content}</main></body>"


def fenced(code: str = CODE, language: str = "", fence: str = "```") -> str:
    return f"{PROSE}\n\n{fence}{language}\n{code}\n{fence}"


@pytest.mark.parametrize(
    ("block", "language"),
    [
        ("<pre>{}</pre>", ""),
        ("<pre>\n{}\n\n</pre>", ""),
        ("<pre><code>{}</code></pre>", ""),
        ('<pre><code class="language-Python">{}</code></pre>', "python"),
        (
            '<pre class="lang-py s-code-block"><code class="hljs language-python">{}</code></pre>',
            "py",
        ),
        ('<pre class="brush: python; toolbar: false">{}</pre>', "python"),
        ('<pre><code class="hljs python">{}</code></pre>', "python"),
        ('<pre data-lang="python">{}</pre>', "python"),
        ('<pre class="sourceCode python">{}</pre>', "python"),
        (
            '<div class="highlight-python3 notranslate"><div><pre>{}</pre></div></div>',
            "python3",
        ),
        ('<div class="highlight highlight-source-c++"><pre>{}</pre></div>', "c++"),
        ('<div class="highlight-default"><pre>{}</pre></div>', ""),
        ('<pre class="language-text">{}</pre>', ""),
        ("<listing>{}</listing>", ""),
    ],
)
def test_blocks_are_fenced_with_the_language_that_the_page_names(block: str, language: str) -> None:
    assert main_text(page(block.format(ESCAPED))) == fenced(language=language)


def lines(before: str, after: str, between: str = "") -> str:
    return between.join(f"{before}{line}{after}" for line in ESCAPED.split("\n"))


def numbered(cell: str) -> str:
    return "".join(cell.format(number, line) for number, line in enumerate(ESCAPED.split("\n"), 1))


HIGHLIGHTERS = {
    "line breaks": f"<pre>{lines('', '', '<br>')}</pre>",
    "a list": f"<pre class='prettyprint linenums'><ol>\n{lines('<li>', '</li>')}\n</ol></pre>",
    "a div a line": f"<pre><code>{lines('<div class=token-line>', '</div>')}</code></pre>",
    "divs that break": f"<pre>{lines('<div>', '<br></div>')}</pre>",
    "spans": f"<pre>{lines('<span class=line><span>', '</span></span>', chr(10))}</pre>",
    "a column of numbers": (
        "<table class=highlighttable><tr><td class=linenos><pre>1\n2\n3\n4\n5</pre></td>"
        f"<td class=code><pre>{ESCAPED}</pre></td></tr></table>"
    ),
    "gtk-doc's column": (
        "<table><tr><td class=listing_lines align=right><pre>1\n2\n3\n4\n5</pre></td>"
        f"<td class=listing_code><pre class=programlisting>{ESCAPED}</pre></td></tr></table>"
    ),
    "numbers on the lines": "<pre>"
    + numbered("<span class=linenos>{} </span><span>{}</span>\n")
    + "</pre>",
    "hljs numbers": "<pre><code><table class=hljs-ln>"
    + numbered(
        "<tr><td class='hljs-ln-line hljs-ln-numbers'>{}</td><td class=hljs-ln-code>{}</td></tr>"
    )
    + "</table></code></pre>",
    "a column of numbers in spans": (
        "<table><tr><td class=lntd><pre class=chroma><code><span class=lnt>1\n</span>"
        "<span class=lnt>2\n</span></code></pre></td>"
        f"<td class=lntd><pre class=chroma><code>{ESCAPED}</code></pre></td></tr></table>"
    ),
    "a flag for numbers": f"<pre><code class=line-numbers>{ESCAPED}</code></pre>",
    "a flag and line breaks": f"<pre><code class=linenums>{lines('', '', '<br>')}</code></pre>",
    "a copy button": f"<div><pre><button class=copybtn>Copy</button>{ESCAPED}</pre></div>",
    "SyntaxHighlighter": "<div class='syntaxhighlighter'><table><tr>"
    "<td class=gutter><div class=line>1</div><div class=line>2</div></td><td class=code>"
    f"<div class=container>{lines('<div class=line>', '</div>')}</div></td></tr></table></div>",
    "code without pre": f"<p><code>{lines('', '', '<br>')}</code></p>",
}


@pytest.mark.parametrize("name", HIGHLIGHTERS)
def test_highlighters_leave_lines_and_indentation(name: str) -> None:
    assert main_text(page(HIGHLIGHTERS[name])) == fenced()


def test_a_fence_in_code_makes_a_longer_fence() -> None:
    code = "text\n```python\nx\n```"
    assert main_text(page(f"<pre>{code}</pre>")) == fenced(code, fence="````")


def test_code_in_a_list_and_after_it_stands_at_the_margin() -> None:
    text = main_text(page(f"<p>x</p><div><div><div><ul><li>One:<pre>{ESCAPED}</pre>then</li></ul>"))
    assert f"\n```\n{CODE}\n```\n" in text
    assert text.index("- One:") < text.index("```") < text.index("then")


def test_inline_code_stays_inline_and_headings_are_marked() -> None:
    text = main_text(page("<h2>Use <code>f</code></h2><p>Call <code>f(x)</code> twice.</p>"))
    assert text == f"{PROSE}\n\n## Use f\n\nCall f(x) twice."


def test_furniture_is_left_out_with_the_code_in_it() -> None:
    furniture = "<nav><a href=/>Home</a><pre>nav code</pre></nav><footer>Foot</footer>"
    sidebar = "<div class=sidebar>Side <pre>side code</pre></div>"
    html = f"<body>{furniture}{sidebar}<main><p>{PROSE}</p></main><footer>End</footer></body>"
    assert main_text(html) == PROSE


@pytest.mark.parametrize(
    "hidden",
    [
        "<script>var html = '<pre>no code</pre>';</script>",
        "<style>pre {{ content: '<pre>no code</pre>' }}</style>",
        "<!-- <pre>no code</pre> -->",
        "<noscript><pre>no code</pre></noscript>",
        "<template><pre>no code</pre></template>",
        "<iframe><pre>no code</pre></iframe>",
        "<iframe src=x srcdoc='<pre>no code</pre>'></iframe>",
        "<textarea><pre>no code</pre></textarea>",
        "<pre hidden>no code</pre>",
        "<div style='display:none'><pre>no code</pre></div>",
        "<script type=text/template><pre>no code</pre></script>",
        "<object><param name=x value='<pre>no code</pre>'></object>",
    ],
)
def test_what_no_reader_sees_is_no_text(hidden: str) -> None:
    assert main_text(page(hidden)) == PROSE


def test_scripts_that_are_shown_are_code() -> None:
    text = main_text(page("<pre>&lt;script&gt;alert(1)&lt;/script&gt;</pre>"))
    assert text == fenced("<script>alert(1)</script>")


@pytest.mark.parametrize(
    "html",
    [
        "",
        "<html>",
        "<frameset cols=2><frame src=a><frame src=b></frameset>",
        "<html><body></body></html>",
        "<body><pre>  \n\t</pre></body>",
        "<!-- only",
        "<plaintext>",
    ],
)
def test_pages_without_text_give_none(html: str) -> None:
    assert main_text(html).strip() == ""


def test_the_characters_that_stand_for_blocks_cannot_be_forged() -> None:
    token = "\ufdd00\ufdd1"
    assert main_text(page(f"<p>{token}</p><pre>{ESCAPED}</pre>")).count(CODE) == 1


@pytest.mark.parametrize("tag", ["div", "pre", "code", "b", "ul", "blockquote", "span", "section"])
@pytest.mark.parametrize("closed", [False, True])
def test_100_000_nested_tags_are_told_at_once(tag: str, closed: bool) -> None:
    html = page(f"<{tag}>" * 100_000 + "x" + (f"</{tag}>" * 100_000 if closed else ""))
    with pytest.raises(HostileError) as caught:
        main_text(html)
    assert caught.value.reason == "too_deep"


@pytest.mark.parametrize("tag", ["p", "li", "td", "br", "img", "a", "option"])
def test_100_000_tags_that_do_not_nest_are_read(tag: str) -> None:
    assert main_text(page(f"<{tag}>x" * 100_000)).startswith(PROSE)


def test_a_page_as_deep_as_browsers_allow_is_read() -> None:
    depth = DEEPEST - 10
    text = main_text(page("<div>" * depth + PROSE + "</div>" * depth))
    assert text == f"{PROSE}\n\n{PROSE}"


@pytest.mark.parametrize("before", ["", "x y " * 2500, "<p>" + "x y " * 2500 + "</p>"])
def test_a_tag_with_100_000_attributes_is_told_at_once(before: str) -> None:
    tag = "<div " + " ".join(f"a{number}=1" for number in range(100_000)) + ">"
    with pytest.raises(HostileError) as caught:
        main_text(page(before + tag))
    assert caught.value.reason == "too_many_attributes"


def test_long_attributes_and_long_texts_are_no_such_tags() -> None:
    html = page(f"<img src='data:{'x' * 200_000}'><p title='{'y ' * 1000}'>{'word ' * 20_000}</p>")
    assert main_text(html).endswith("word word")
