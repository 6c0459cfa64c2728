"""Questions hold what is needed to answer them, answers the code as it was."""

import pytest

from beam_pipelines.synthesis.instructions import TEMPLATES, dissect, word

SOURCE = '''@cache
def area(width: int,
         height: int = 1) -> int:
    """Area of a {rectangle}.

    Sides are whole numbers.

    Examples
    --------
    >>> area(2,
    ...      3)
    6
    >>> area(2)
    2
    """
    # The product.
    return width * height'''


def test_a_definition_is_taken_apart_without_loss() -> None:
    function = dissect(SOURCE)
    assert function is not None
    assert function.kind == "function"
    assert function.signature == SOURCE[: SOURCE.index('    """')].rstrip()
    assert function.description == "Area of a {rectangle}.\n\nSides are whole numbers."
    assert function.examples == ">>> area(2,\n...      3)\n6\n>>> area(2)\n2"
    assert function.code == (f"{function.signature}\n    # The product.\n    return width * height")


@pytest.mark.parametrize("source", ['def f():\n    """Only this."""', 'def f(): "x"; return 1'])
def test_nothing_is_asked_about_a_function_without_a_body(source: str) -> None:
    assert dissect(source) is None


@pytest.mark.parametrize("task", sorted(TEMPLATES))
def test_every_wording_of_a_task_can_come_up_and_is_complete(task: str) -> None:
    function = dissect(SOURCE)
    assert function is not None
    used = set()
    for key in map(str, range(100)):
        template, question, answer = word(task, function, key)
        used.add(template)
        assert "area" in question
        # The text's own braces are no placeholders.
        assert "{rectangle}" in question + answer or task in ("complete", "test")
        for placeholder in ("{name}", "{code}", "{description}", "{signature}", "{examples}"):
            assert placeholder not in question
    assert used == set(TEMPLATES[task])


def test_answers_are_code_description_or_examples() -> None:
    function = dissect(SOURCE)
    assert function is not None
    for task in ("write", "complete", "solve"):
        assert word(task, function, "k")[2] == f"```python\n{function.code}\n```"
    assert word("explain", function, "k")[2] == function.description
    assert word("test", function, "k")[2] == f"```pycon\n{function.examples}\n```"
