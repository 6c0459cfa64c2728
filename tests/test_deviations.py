"""Claims about `benchmarks.deviations`: one released definition at a time, all else ours.

The files here are made so that exactly one deviation decides their fate.
"""

import json

import pytest

from benchmarks.cleaning import rule_tables
from benchmarks.deviations import deviations
from benchmarks.released_fates import ALL, AS_RUN, FILE_TYPES, Judge
from opencoder_jax.errors import InputError

BODY = "".join(
    f"def {name}(value, other):\n    {name}_of = value * {number} + other\n"
    f"    if {name}_of > other:\n        value = {name}_of // {number}\n"
    f"    return max({name}_of, value)\n\n\n"
    for number, name in enumerate(("width", "height", "depth", "length", "area", "volume"), 2)
)
MAKES = '"""Measures of boxes; `lines` generates them."""\n\n\n' + BODY
PASSWORDS = BODY + "".join(f"password_{name} = {name}(1, 2)\n" for name in ("width", "area"))


@pytest.fixture(scope="module")
def judge():
    return Judge(rule_tables())


def row(path, content):
    return {"repo_name": "boxes", "version": "1", "path": path, "content": content}


def effects(judge, path, content, released=None):
    fate = judge.fate(row(path, content), released)
    return {effect.deviation: effect for effect in fate.effects}


def test_a_file_without_any_deviation_has_no_effect(judge):
    assert set(effects(judge, "boxes.py", BODY)) == set()
    assert judge.fate(row("boxes.py", BODY), None).kept


def test_a_fate_is_changed_by_the_deviation_that_is_its_cause(judge):
    found = effects(judge, "boxes.py", MAKES)
    assert set(found) == {"autogen", ALL}
    assert found["autogen"].signals == ("qsc_code_cate_autogen",)
    assert (found["autogen"].kept_there, found["autogen"].kept_here) == (False, True)
    assert found[ALL].kept_there is False


def test_words_and_syntax_of_python_are_told_apart(judge):
    found = effects(judge, "boxes.py", PASSWORDS)
    assert set(found) == {"python: words", ALL}
    assert found["python: words"].signals == ("qsc_codepython_frac_lines_pass",)
    asynchronous = BODY.replace("def ", "async def ")
    assert "python: words" not in effects(judge, "boxes.py", asynchronous)
    assert "python: async and annotations" in effects(judge, "boxes.py", asynchronous)


def test_a_test_file_of_go_has_another_name_there(judge):
    content = 'package boxes\n\nimport "testing"\n\nfunc TestBox(t *testing.T) {\n\tt.Log(1)\n}\n'
    assert effects(judge, "box_test.go", content)["file name"].signals == (
        "qsc_codego_cate_testfile",
    )
    assert "file name" not in effects(judge, "box.go", content)


def test_what_the_released_filter_said_is_compared(judge):
    signals = {"qsc_code_cate_autogen": 1.0, "qsc_code_num_chars": float(len(MAKES))}
    said = {"language": "python", "doc_type": "code", "kept": False, "signals": signals}
    fate = judge.fate(row("boxes.py", MAKES), said)
    assert (fate.compared, fate.equal) == (2, 2)
    assert {effect.deviation for effect in fate.effects} == {"autogen", ALL, AS_RUN}
    other = {**said, "language": "unknown", "doc_type": "unknown", "signals": {}}
    found = effects(judge, "boxes.py", MAKES, other)
    assert (found[FILE_TYPES].kept_there, found[FILE_TYPES].kept_here) == (False, True)


def test_a_definition_that_fails_has_no_effect_and_is_counted(judge, monkeypatch):
    def fail(document):
        raise ValueError

    monkeypatch.setitem(judge._all, "qsc_code_cate_autogen", fail)
    found = effects(judge, "boxes.py", MAKES)[ALL]
    assert found.failed
    assert found.kept_there == found.kept_here


def test_counts_do_not_depend_on_the_number_of_processes(tmp_path, capsys):
    rows = [row(f"{n}.py", text) for n, text in enumerate((BODY, MAKES, PASSWORDS, MAKES))]
    lines = "".join(json.dumps(entry) + "\n" for entry in rows)
    (tmp_path / "code_a.jsonl").write_text(lines, encoding="utf-8")
    counts = deviations(tmp_path, 1.0, 1, None, None)
    assert (counts.files, counts.deviations["autogen"].stay) == (4, 2)
    assert "all deviations together change the fate of" in capsys.readouterr().out
    assert deviations(tmp_path, 1.0, 2, None, None) == counts


def test_a_corpus_that_is_not_the_released_one_is_an_error(tmp_path):
    (tmp_path / "code_a.jsonl").write_text(json.dumps(row("a.py", BODY)), encoding="utf-8")
    released = tmp_path / "rows.jsonl"
    released.write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"no line for boxes/1/a\.py"):
        deviations(tmp_path, 1.0, 1, released, None)
    released.write_text("{}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"line 1"):
        deviations(tmp_path, 1.0, 1, released, None)
