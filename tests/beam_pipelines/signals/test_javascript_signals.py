"""Signals of JavaScript: modern syntax parses, and what is counted is in the tree."""

import pytest

from beam_pipelines.signals.python_tree import MAX_CHARACTERS
from tests.beam_pipelines.signals.test_language_signals import signals


@pytest.mark.parametrize(
    "source",
    [
        "const a = b?.c ?? d;",
        "class A { #x = 1; static y = 2; get x() { return this.#x; } }",
        "const a = <div className='b'>{c}</div>;",
        "for await (const x of y()) {}",
        "a ||= 1_000n;",
        "import a from 'b' with { type: 'json' };",
        "export * as b from 'c';",
        "#!/usr/bin/env node\nlet a = await b;",
        "",
    ],
)
def test_the_language_as_it_is_parses(source):
    assert signals("javascript", source)["cate_ast"] == 1


@pytest.mark.parametrize("source", ["let = = 1;", "function (", "type A = string | number;", "{{%"])
def test_what_does_not_parse_has_no_tree_signals(source):
    values = signals("javascript", source)
    assert values["cate_ast"] == 0
    for name in ("cate_var_zero", "frac_lines_func_ratio", "num_statement_line"):
        assert values[name] is None
    assert values["frac_lines_print"] == 0


@pytest.mark.parametrize(
    ("source", "none"),
    [
        ("export * from 'a';", 1),
        ("console.log(1);", 1),
        ("var a;", 0),
        ("const { a } = require('b');", 0),
        ("for (const a of b) {}", 0),
        ("f(a => 1);", 0),
        ("function f(a) {}", 0),
        ("module.exports = {};", 0),
        ("class A { x = 1; }", 0),
    ],
)
def test_a_variable_is_any_name_that_is_bound(source, none):
    assert signals("javascript", source)["cate_var_zero"] == none


def test_functions_are_declared_or_named_by_their_variable():
    source = """\
        function a() {}
        async function* b() {}
        var c = function () {};
        module.exports.d = () => 1;
        const e = () => 1;
        export default function () {}
        """
    assert signals("javascript", source)["frac_lines_func_ratio"] == pytest.approx(4 / 6, abs=1e-8)
    assert signals("javascript", source)["num_statement_line"] == 1


def test_logic_is_more_than_plain_variables_and_returns():
    source = """\
        import a from 'b';
        let x;
        let y = -1;
        let z = f(1);
        class C {}
        function g() {
          return x;
          return;
          return f(1);
        }
        """
    # An import, two variables, a class, a function, two returns: of ten lines.
    assert signals("javascript", source)["score_lines_no_logic"] == 0.7


def test_names_are_judged_by_their_form():
    values = signals("javascript", "var a_b, $c; function D() {} class e {}")
    assert values["frac_words_legal_var_name"] == 0.5
    assert values["frac_words_legal_func_name"] == 1
    assert values["frac_words_legal_class_name"] == 0
    assert signals("javascript", "1;")["frac_words_legal_var_name"] is None


def test_a_whole_name_prints():
    assert signals("javascript", "console.log(1);\nmyconsole.log(2);\n")["frac_lines_print"] == 0.5


def test_nesting_that_would_overflow_a_threads_stack_does_not_parse():
    for depth, parses in ((3_000, 1), (20_000, 0)):
        assert signals("javascript", "[" * depth + "]" * depth)["cate_ast"] == parses
    assert signals("javascript", "{a:" * 200_000)["cate_ast"] == 0  # It ended the process.
    assert signals("javascript", "if(a){" * 20_000)["cate_ast"] == 0
    assert signals("javascript", f"x = '{'(' * 20_000}';")["cate_ast"] == 1


def test_arrow_functions_nest_as_deeply_as_they_like():
    assert signals("javascript", "a=>" * 150_000 + "a")["cate_var_zero"] == 0


def test_what_is_too_long_to_keep_does_not_parse():
    text = "//" + "a" * (MAX_CHARACTERS - 2)
    assert signals("javascript", text)["cate_ast"] == 1
    assert signals("javascript", text + "a")["cate_ast"] == 0


def test_a_tree_of_too_many_nodes_counts_as_not_parsing():
    assert signals("javascript", ";" * 1_000)["cate_ast"] == 1
    assert signals("javascript", ";" * 1_600_000)["cate_ast"] == 0


def test_comments_between_statements_are_none():
    source = "#!/usr/bin/env node\n// a\nf(); /* b */ g();\nfunction h() { /* c */ i(); }\n"
    assert signals("javascript", source)["num_statement_line"] == 1


def test_returns_and_patterns_with_comments_in_them():
    source = "function f() {\n  return /* a */ x;\n  return /* b */;\n  return (/* c */ y);\n}\n"
    # A function and the returns of `x` and `y`.
    assert signals("javascript", source)["score_lines_no_logic"] == 0.6
