"""A definition comes out of its file with everything that it needs, or with a reason."""

import textwrap

import pytest

from beam_pipelines.synthesis.source_module import (
    ExtractionError,
    Snippet,
    SourceModule,
    has_doctest,
)

ALLOWED = ("math", "re", "collections", "datetime")


def extract(text: str, name: str, path: str = "pkg/module.py", max_lines: int = 100) -> Snippet:
    module = SourceModule(textwrap.dedent(text), path)
    (target,) = (node for node in module.definitions() if node.name == name)
    return module.extract(target, ALLOWED, max_lines)


def reason(text: str, name: str = "f", **settings: int) -> str:
    with pytest.raises(ExtractionError) as caught:
        extract(text, name, **settings)
    return caught.value.reason


def test_a_definition_brings_its_helpers_constants_and_imports_in_file_order() -> None:
    text = '''
        import os, math
        from collections import Counter as Count, deque

        UNUSED = 1
        # How many.
        LIMIT: int = 3

        @decorated
        def unused(): pass

        def helper(x):
            # A comment that stays.
            return math.floor(x) + LIMIT

        def f(x):
            """Docs.

            >>> f([1.5])
            Counter({4: 1})
            """
            return Count(helper(i) for i in x)
    '''
    assert extract(text, "f").source == textwrap.dedent('''\
        import math
        from collections import Counter as Count


        LIMIT: int = 3


        def helper(x):
            # A comment that stays.
            return math.floor(x) + LIMIT


        def f(x):
            """Docs.

            >>> f([1.5])
            Counter({4: 1})
            """
            return Count(helper(i) for i in x)
    ''')


def test_every_snippet_compiles_and_defines_its_name() -> None:
    text = '''
        import re
        PATTERN = re.compile(r"\\d")
        class Base:
            """Base."""
        class C(Base):
            """>>> C().m('a1')
            True
            """
            @staticmethod
            def m(text, default=PATTERN):
                return bool(default.search(text))
    '''
    namespace: dict[str, object] = {}
    exec(extract(text, "C").source, namespace)
    assert namespace["C"].m("a1")  # type: ignore[attr-defined]


def test_what_only_an_annotation_needs_is_not_needed() -> None:
    text = '''
        import numpy as np
        def f(x: np.ndarray) -> "np.ndarray":
            """>>> f(1)
            1
            """
            return x
    '''
    source = extract(text, "f").source
    assert source.startswith("from __future__ import annotations\n")
    assert "import numpy" not in source


def test_doctests_lose_imports_of_their_own_package_only() -> None:
    text = '''
        import math
        def f(x):
            """Twice.

            >>> from pkg.module import (
            ...     f)
            >>> import math
            >>> f(math.floor(1.5))
            2
            """
            return 2 * x
    '''
    source = extract(text, "f").source
    assert "pkg" not in source
    assert ">>> import math" in source


def test_names_that_only_doctests_use_come_along() -> None:
    text = '''
        def double(x):
            return 2 * x
        def f(g):
            """>>> f(double)
            4
            """
            return g(2)
    '''
    assert "def double" in extract(text, "f").source


@pytest.mark.parametrize(
    ("expected", "body", "doctest"),
    [
        ("import_not_allowed", "return os.getcwd()", ">>> f()"),
        ("import_not_allowed", "return sibling()", ">>> f()"),
        ("import_not_allowed", "return 1", ">>> import numpy"),
        ("unresolved_name", "return nowhere", ">>> f()"),
        ("reads_the_clock", "return datetime.datetime.now()", ">>> f()"),
        ("malformed_doctest", "return 1", ">>> f(\n    1)"),
        ("malformed_doctest", "return 1", ">>>f()\n    >>> x = = 1"),
    ],
)
def test_what_cannot_stand_alone_has_a_reason(expected: str, body: str, doctest: str) -> None:
    text = f"""
import os, datetime
from .other import sibling
def f():
    '''
    {doctest}
    '''
    {body}
"""
    assert reason(text) == expected


def test_long_snippets_and_files_of_other_languages_are_refused() -> None:
    assert reason("def f():\n    '''>>> f()'''\n" + "    x = 1\n" * 50, max_lines=20) == "too_long"
    for text in ("print 'python 2'", "def f(:", "\0"):
        with pytest.raises(ExtractionError, match="syntax_error"):
            SourceModule(text, "x.py")


def test_of_two_definitions_the_last_counts() -> None:
    module = SourceModule("def f():\n    '''>>> 1'''\ndef f():\n    pass\n", "x.py")
    assert [has_doctest(node) for node in module.definitions()] == [False]
