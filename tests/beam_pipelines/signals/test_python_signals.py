"""Signals of Python, with values worked out by hand from their definitions."""

import argparse
import ast
import dataclasses
import gc
import inspect
import textwrap
import typing

import pytest

from beam_pipelines.signals.compute import compute_signals
from beam_pipelines.signals.python import num_lines_without_logic
from beam_pipelines.signals.python_tree import MAX_CHARACTERS, definitions_of, nodes_of


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


def test_what_is_too_long_to_keep_does_not_parse():
    text = "#" * MAX_CHARACTERS
    assert signals(text)["cate_ast"] == 1
    assert signals(text + "#")["cate_ast"] == 0


@pytest.mark.parametrize(
    "source",
    [
        "if a:\n    class A:\n        def f(self): pass\nelse:\n    def g(): pass\n",
        "match a:\n    case 1:\n        async def f(): pass\n    case _:\n        class A: pass\n",
        "for a in b: pass\nelse:\n    with c as d:\n        class A: pass\n",
        "while a:\n    def f():\n        def g(): pass\nelse:\n    class A: pass\n",
        "try:\n    def f(): pass\nexcept E as e:\n    def g(): pass\nelse:\n    class A: pass\n",
        "try: pass\nexcept* E:\n    def f(): pass\nfinally:\n    class A: pass\n",
    ],
)
def test_definitions_are_found_wherever_statements_stand(source):
    tree = ast.parse(source)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    assert definitions_of(tree) == [node for node in ast.walk(tree) if isinstance(node, kinds)]
    assert list(nodes_of(tree)) == list(ast.walk(tree))


def test_the_standard_library_is_walked_as_ast_walk_does():
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for module in (ast, argparse, typing, dataclasses):
        tree = ast.parse(inspect.getsource(module))
        assert definitions_of(tree) == [node for node in ast.walk(tree) if isinstance(node, kinds)]


def test_collection_is_as_it_was_after_a_parse():
    assert gc.isenabled()
    signals("x = (")
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("lines", "counted"),
    [
        (["return 1"], 1),
        (["  return", "x = 1; return", "returned = 1", "a.return_value"], 1),
        (["return return"], 1),
        (["return import_module"], 1),
        (["import a; return"], 1),
    ],
)
def test_a_line_of_import_or_return_counts_once(lines, counted):
    assert num_lines_without_logic("\n".join(lines)) == counted


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
