"""From an answer to code: blocks, whole lines, what an entry point reaches."""

import pytest

from opencoder_jax.evaluation.extraction import fenced_code, parsable_start, sanitized


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Sure.\n```python\nx = 1\n```\nThen\n```\ny\n```", "x = 1\n"),
        ("```\nx = 1\n", "x = 1\n"),
        ("x = 1\n", "x = 1\n"),
        ("- a list:\n  ```py\n  x\n  ```\n", "x\n"),
    ],
)
def test_the_first_code_block_is_the_answer(text, code):
    assert fenced_code(text) == code


def test_the_block_with_the_function_is_preferred_then_the_language():
    text = "```bash\npip install x\n```\n```python\nfound = 1\n```\n```python\ndef f(): ...\n```"
    assert fenced_code(text, "f") == "def f(): ...\n"
    assert fenced_code(text) == "found = 1\n"
    assert fenced_code(text, "", "bash") == "pip install x\n"


def test_parsable_start_is_the_longest_that_parses():
    assert parsable_start("def f():\n", "    x = 1\n    return x\nnot python at all\n") == (
        "    x = 1\n    return x\n"
    )
    assert parsable_start("", "what?") == ""


ANSWER = '''Here is the code:
```python
"""Everything about trees."""
import sys
from math import *

sys.setrecursionlimit(10**6)
LIMIT, OTHER = 10, 20
unused = print("loud")

# Remembers results.
memo: dict[int, int] = {}
memo[0] = 1


def helper(n):  # called by the other
    return LIMIT + memo.get(n, 0)


@staticmethod
async def fetch(n):
    """Never without a comment."""
    # a comment within
    return helper(n)


fetch.calls = 0

def other():
    return unused

try:
    import numpy as np
except ImportError:
    np = None

if __name__ == "__main__":
    assert fetch(1) == 2
print(fetch(3))
```
That was it.'''


def test_what_the_entry_point_reaches_stays_as_it_was_written():
    code = sanitized(ANSWER, "fetch")
    for kept in (
        "import sys\n",
        "from math import *\n",
        "sys.setrecursionlimit(10**6)\n",
        "LIMIT, OTHER = 10, 20\n",
        "# Remembers results.\nmemo: dict[int, int] = {}\nmemo[0] = 1\n",
        "def helper(n):  # called by the other\n",
        "@staticmethod\nasync def fetch(n):\n",
        "    # a comment within\n",
        "fetch.calls = 0\n",
    ):
        assert kept in code
    for gone in ("loud", "def other", "__main__", "print(fetch", "Everything", "numpy"):
        assert gone not in code


def test_code_between_prose_without_a_block_is_found():
    text = "You can do it so:\n\ndef f(x):\n    return x\n\nIt returns x. Isn't that nice?\n"
    assert sanitized(text, "f") == "def f(x):\n    return x\n"


def test_without_the_entry_point_all_that_parses_stays():
    assert sanitized("```\ndef g():\n    pass\n```", "f") == "def g():\n    pass\n"
    assert sanitized("I do not know.", "f") == ""


def test_a_method_of_a_class_and_a_conditional_definition_are_reached():
    code = (
        "class Solution:\n    def solve(self):\n        return size\n\n"
        "if True:\n    size = 3\nelse:\n    size = 4\nSolution().solve()\n"
    )
    kept = sanitized(code, "Solution")
    assert "size = 4" in kept
    assert "Solution()" not in kept


FUNCTION = "def f(x):\n    return x\n"


@pytest.mark.parametrize(
    "answer",
    [
        "1. So:\n   ```python\n   def f(x):\n       return x\n   ```\n",
        "1. ```python\n   def f(x):\n       return x\n   ```\n",
        "```python\n    def f(x):\n        return x\n```\n",
        "~~~python\ndef f(x):\n    return x\n~~~\n",
        "````markdown\ndef f(x):\n    return x\n````\n",
        "```{.python}\ndef f(x):\n    return x\n```\n",
        "Not ```f(1)``` but\n```python\ndef f(x):\n    return x\n    ```\n",
    ],
)
def test_a_block_is_found_however_it_is_fenced(answer):
    assert sanitized(answer, "f") == FUNCTION


def test_a_fence_within_a_docstring_does_not_end_the_block():
    code = 'def f(x):\n    """Such as\n\n    ```\n    f(1)\n    ```\n    """\n    return x\n'
    assert sanitized(f"```python\n{code}```\nIt returns x.\n", "f") == code


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_lines_are_counted_as_python_counts_them(separator):
    kept = f"MARK = 'a{separator}b'\n"
    answer = f"```python\n{kept}print(1)\ndef f(x):\n    return MARK\nprint(2)\n```"
    assert sanitized(answer, "f") == f"{kept}def f(x):\n    return MARK\n"


def test_a_loop_that_fills_what_is_reached_stays():
    table = "primes = [True] * 9\nfor i in range(2, 9):\n    if i > 3:\n        primes[i] = False\n"
    function = "def f(x):\n    return primes[x]\n"
    shown = "for i in range(9):\n    print(f(i))\n"
    assert sanitized(f"```\n{table}{function}{shown}```", "f") == table + function


@pytest.mark.parametrize("call", ["print(" + "1 + " * 900 + "1)\n", "a" + ".b" * 2500 + "()\n"])
def test_an_expression_as_deep_as_a_loop_of_the_model_is_no_error(call):
    assert sanitized(f"```python\n{FUNCTION}{call}```", "f") == FUNCTION
