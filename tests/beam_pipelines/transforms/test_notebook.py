"""A notebook becomes its cells in order; a broken one says what is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.sources.local import list_file, read_file
from beam_pipelines.transforms.notebook import BadNotebookError, structured_notebook
from beam_pipelines.transforms.read import NotTextError, read_document


def notebook(*cells: dict[str, Any], nbformat: int = 4) -> bytes:
    body: dict[str, Any] = {"metadata": {}, "nbformat": nbformat, "nbformat_minor": 0}
    body |= {"cells": list(cells)} if nbformat == 4 else {"worksheets": [{"cells": list(cells)}]}
    return json.dumps(body).encode()


def code(source: Any, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "outputs": list(outputs), "metadata": {}}


def test_text_code_and_output_come_in_turn() -> None:
    content = notebook(
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "Some text."]},
        code("x = 1\nx + 1", {"output_type": "execute_result", "data": {"text/plain": ["2"]}}),
        {"cell_type": "raw", "source": "for nbconvert"},
        code("print(x)", {"output_type": "stream", "name": "stdout", "text": ["1\n"]}),
    )
    assert structured_notebook(content) == (
        "<jupyter_text>\n# Title\n\nSome text.\n"
        "<jupyter_code>\nx = 1\nx + 1\n<jupyter_output>\n2\n"
        "<jupyter_code>\nprint(x)\n<jupyter_output>\n1\n"
    )


def test_the_old_format_gives_the_same_text() -> None:
    old = notebook(
        {"cell_type": "heading", "level": 2, "source": "Title"},
        {
            "cell_type": "code",
            "input": ["1/0"],
            "outputs": [
                {"output_type": "pyout", "text": ["2"]},
                {
                    "output_type": "pyerr",
                    "ename": "ZeroDivisionError",
                    "evalue": "division by zero",
                },
            ],
        },
        nbformat=3,
    )
    assert structured_notebook(old) == (
        "<jupyter_text>\n## Title\n<jupyter_code>\n1/0\n"
        "<jupyter_output>\n2\nZeroDivisionError: division by zero\n"
    )


def test_pictures_and_markup_are_left_out_and_text_beside_them_stays() -> None:
    picture = {"image/png": "iVBORw0KGgo" * 1000}
    content = notebook(
        code("plot()", {"output_type": "display_data", "data": picture}),
        code(
            "df", {"output_type": "execute_result", "data": {"text/html": "<b>", "text/plain": "a"}}
        ),
        code("c", {"output_type": "stream", "text": "\x1b[31mred\x1b[0m"}),
    )
    assert structured_notebook(content) == (
        "<jupyter_code>\nplot()\n<jupyter_code>\ndf\n<jupyter_output>\na\n"
        "<jupyter_code>\nc\n<jupyter_output>\nred\n"
    )


def test_a_long_output_is_cut_and_says_by_how_much() -> None:
    lines = "".join(f"{i}\n" for i in range(1000))
    text = structured_notebook(notebook(code("x", {"output_type": "stream", "text": lines})))
    assert text.endswith("\n19\n... (980 more lines)\n")
    text = structured_notebook(notebook(code("x", {"output_type": "stream", "text": "a" * 9000})))
    assert text.endswith("a ... (7000 more characters)\n")


def test_runs_of_the_same_notebook_are_the_same_text() -> None:
    cell = code("x = 1")
    assert structured_notebook(notebook(cell | {"execution_count": 3, "id": "a"})) == (
        structured_notebook(notebook(cell | {"execution_count": None, "metadata": {"k": 1}}))
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe{", "no UTF-8"),
        (b"{", "no JSON"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"[]", "expected a JSON object, got an array"),
        (b"{}", "nbformat is None"),
        (b'{"nbformat": 9, "cells": []}', "nbformat is 9"),
        (b'{"nbformat": 4, "cells": 3}', "`cells` is no list"),
        (b'{"nbformat": 3, "worksheets": [7]}', "`cells` is no list"),
        (b'{"nbformat": 4, "cells": [7]}', "cell 1 is no object"),
        (notebook(code(7)), "the source of cell 1"),
        (notebook(code("x", {"output_type": "stream", "text": 3})), "an output of cell 1"),
        (notebook(code("  \n")), "no cell has any text"),
    ],
)
def test_what_is_wrong_with_a_notebook_is_said(content: bytes, message: str) -> None:
    with pytest.raises(BadNotebookError, match=message):
        structured_notebook(content)


def test_half_a_character_pair_becomes_valid_text() -> None:
    content = b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": "x = \'\\ud800\'"}]}'
    assert structured_notebook(content) == "<jupyter_code>\nx = '\ufffd'\n"


def test_a_notebook_file_becomes_a_document_or_a_drop(tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_bytes(notebook(code("x = 1")))
    (tmp_path / "b.ipynb").write_bytes(b"{")

    def entry(name: str) -> Any:
        return list_file("test", "repo", name, str(tmp_path / name), follow_links=False)

    document = read_document(read_file(entry("a.ipynb"), 1000), 1000)
    assert (document.language, document.doc_type) == ("jupyter notebook", "code")
    assert document.text == "<jupyter_code>\nx = 1\n"
    with pytest.raises(NotTextError, match="no JSON") as problem:
        read_document(read_file(entry("b.ipynb"), 1000), 1000)
    assert problem.value.reason == "bad_notebook"
