"""Signals of Python, with values worked out by hand from their definitions."""

import textwrap

import pytest

from beam_pipelines.signals.compute import compute_signals


def signals(source: str) -> dict[str, float | None]:
    text = textwrap.dedent(source)
    result = compute_signals(
        text,
        language="python",
        doc_type="code",
        path="module.py",
        size_bytes=len(text),
        document_id="0",
    )
    assert result.errors == {}
    own = "qsc_codepython_"
    return {k.removeprefix(own): v for k, v in result.values.items() if k.startswith(own)}


def test_python_has_its_eight_signals():
    assert len(signals("x = 1")) == 8


def test_what_does_not_parse_has_no_tree_signals_but_all_others():
    values = signals("print 'x'\nimport os\n")
    assert values["cate_ast"] == 0
    for name in ("frac_lines_func_ratio", "cate_var_zero", "frac_lines_simplefunc"):
        assert values[name] is None
    assert values["frac_lines_import"] == 0.5
    assert values["frac_lines_print"] == 0.5


@pytest.mark.parametrize("source", ["\0", "(" * 100_000, "x = " + "-" * 100_000 + "1"])
def test_what_the_parser_cannot_take_does_not_parse(source):
    assert signals(source)["cate_ast"] == 0


def test_functions_are_counted_async_ones_too():
    values = signals("""\
        def f(a):
            return a
        async def g():
            await f(1)
        """)
    assert values["frac_lines_func_ratio"] == 0.5
    assert values["frac_lines_simplefunc"] == 0.25


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("print('x')", 1),
        ("import os\nos.exit()", 1),
        ("x = 1", 0),
        ("x: int = 1", 0),
        ("with open('f') as x: pass", 0),
        ("for x in y: pass", 0),
        ("def f(*, x): pass", 0),
        ("(x, y) = z", 0),
        ("x.y = 1", 1),
    ],
)
def test_a_program_without_any_variable(source, value):
    assert signals(source)["cate_var_zero"] == value


def test_keywords_are_words_not_parts_of_words():
    values = signals("""\
        password = bypass
        pass
        important = 1
        import os
        fingerprint()
        print(1)
        """)
    for name in ("frac_lines_pass", "frac_lines_import", "frac_lines_print"):
        assert values[name] == pytest.approx(1 / 6, abs=1e-8)


def test_comments_and_docstrings_are_no_lines_of_code():
    values = signals('''\
        """import this
        import that"""
        # import those
        import os
        x = 1
        ''')
    assert values["frac_lines_import"] == 0.5


def test_lines_without_logic():
    values = signals("""\
        import os
        from os import path
        class A:
            b = 1
            c: int = 2
            def f(self):
                return self.b
        x = os.sep
        y = path
        z = A()
        """)
    # 2 imports, 1 class, 2 attributes, 1 function, 1 return, of 10 lines.
    assert values["score_lines_no_logic"] == 0.7


def test_escapes_that_python_warns_of_are_silent(recwarn):
    signals("x = '\\d'")
    assert not recwarn.list
