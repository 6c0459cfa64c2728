"""Tables of thresholds: read strictly, applied wholly."""

import pickle
from pathlib import Path

import pytest

from beam_pipelines.signals.compute import compute_signals, signal_names
from beam_pipelines.signals.rules import (
    RuleError,
    RuleTable,
    Violation,
    decide,
    parse_rule,
    select_table,
)
from opencoder_jax.configuration import ConfigurationError, configure

CHARS = "qsc_code_num_chars"
WORDS = "qsc_code_num_words"


def rule_tables_of(rule_tables: dict[str, RuleTable]) -> dict[str, RuleTable]:
    """Stands for the cleaning command."""
    return rule_tables


@pytest.fixture(scope="module")
def tables() -> dict[str, RuleTable]:
    return configured_tables()


def configured_tables(*bindings: str) -> dict[str, RuleTable]:
    return configure(
        rule_tables_of,
        gin_files=["refinecode/rules/all.gin"],
        bindings=["rule_tables_of.rule_tables = %RULE_TABLES", *bindings],
    )()


@pytest.mark.parametrize(
    ("text", "violating", "passing"),
    [
        ("< 30", [29.9, -1], [30, 31]),
        ("<= 30", [30], [30.1]),
        ("> 3_000_000", [3e6 + 1], [3e6]),
        (">= 0.5", [0.5], [0.49]),
        ("== 1", [1], [0, 2]),
        ("< 5 or > 100", [4, 101], [5, 100]),
        ("is true", [1], [0]),
        ("is false", [0], [1]),
    ],
)
def test_a_comparison_says_what_it_drops(text, violating, passing):
    rule = parse_rule(CHARS, text, table="t")
    assert all(rule.violated_by(value) for value in violating)
    assert not any(rule.violated_by(value) for value in passing)
    assert not rule.violated_by(None)


@pytest.mark.parametrize(
    "text", ["30", "< ", "< x", "< 5 and > 3", "<5>", "is yes", "> 1 for 0%", "> 1 for 101%", "", 3]
)
def test_a_malformed_comparison_names_table_and_signal(text):
    with pytest.raises(RuleError, match=rf"'mine'.*'{CHARS}'"):
        RuleTable("mine", {CHARS: text})


def test_an_unknown_signal_is_refused_with_the_nearest_name():
    with pytest.raises(RuleError, match="did you mean 'qsc_code_num_chars'"):
        RuleTable("mine", {"qsc_code_num_char": "< 5"})


def test_a_table_states_what_differs_from_the_general_rules():
    table = RuleTable("mine", {CHARS: "< 7", WORDS: "never"}, {CHARS: "< 5", WORDS: "< 2"})
    assert [(rule.signal, rule.comparisons[0].bound) for rule in table.rules] == [(CHARS, 7)]
    with pytest.raises(RuleError, match="never"):
        RuleTable("mine", {CHARS: "never"})


def test_every_violation_is_reported_in_one_order_whatever_the_tables():
    values = {WORDS: 1.0, CHARS: 4.0, "qsc_code_num_lines": None}
    rules = {WORDS: "< 2", CHARS: "< 5 or > 9", "qsc_code_num_lines": "< 9"}
    expected = [Violation(CHARS, 4.0, "< 5"), Violation(WORDS, 1.0, "< 2")]
    for ordered in (rules, dict(reversed(rules.items()))):
        assert decide(values, RuleTable("t", ordered), "0") == expected


def test_a_shared_rule_drops_its_share_by_the_documents_id():
    table = RuleTable("t", {CHARS: "> 1 for 80%"})
    dropped = [bool(decide({CHARS: 2.0}, table, str(i))) for i in range(2000)]
    assert 0.77 < sum(dropped) / 2000 < 0.83
    assert dropped == [bool(decide({CHARS: 2.0}, table, str(i))) for i in range(2000)]


@pytest.mark.parametrize(
    ("doc_type", "language", "human_language", "name"),
    [
        ("text", "markdown", "en", "text_en"),
        ("text", "markdown", "fr", "text_en"),
        ("text", "markdown", "zh", "text_zh"),
        ("code", "python", "en", "python"),
        ("code", "rust", "en", "code"),
        ("data", "json", "en", "data"),
        ("code", "sql", "en", "sql"),
    ],
)
def test_each_document_has_one_table(tables, doc_type, language, human_language, name):
    assert select_table(doc_type, language, human_language, tables).name == name


def test_excluded_documents_have_no_table(tables):
    with pytest.raises(RuleError, match="excluded"):
        select_table("excluded", "csv", "en", tables)


def test_the_tables_have_as_many_rules_as_the_released_filter(tables):
    # A threshold more or less is a deviation to list in docs/rules.md.
    counts = {name: len(table.rules) for name, table in tables.items()}
    assert counts == {
        "text_en": 26, "text_zh": 26, "code": 31, "data": 28, "shell": 28, "sql": 31,
        "python": 39, "c": 36, "cpp": 36, "csharp": 35, "go": 35, "html": 28, "java": 35,
        "javascript": 36,
    }  # fmt: skip


def test_a_table_changes_from_the_command_line():
    tables = configured_tables("python/rules.RuleTable.drop_if = {'qsc_code_num_chars': '< 99'}")
    assert len(tables["python"].rules) == 31
    with pytest.raises((RuleError, ConfigurationError), match="cannot read"):
        configured_tables("code/rules.RuleTable.drop_if = {'qsc_code_num_chars': 'small'}")


def test_tables_travel_to_workers(tables):
    assert pickle.loads(pickle.dumps(tables)) == tables


def test_an_ordinary_module_stays_and_a_stub_goes(tables):
    module = '''\
"""Reads a table of measurements and reports the largest one."""

import csv
import sys


def largest(path, column):
    best = None
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            value = float(row[column])
            if best is None or value > best:
                best = value
    return best


if __name__ == "__main__":
    print(largest(sys.argv[1], sys.argv[2]))
'''
    assert dropped_by(module, tables) == []
    assert "qsc_code_num_words" in dropped_by("pass\n" * 12, tables)
    assert "qsc_codepython_frac_lines_pass" in dropped_by("pass\n" * 12, tables)


def dropped_by(text: str, tables: dict[str, RuleTable]) -> list[str]:
    result = compute_signals(
        text, language="python", doc_type="code", path="m.py", size_bytes=1, document_id="0"
    )
    return [v.signal for v in decide(result.values, tables["python"], "0")]


def test_signal_names_are_those_of_the_released_filter():
    names = signal_names()
    assert len(names) == len(set(names)) == 32 + 33 + 53


def test_the_rule_page_has_every_signal_with_its_threshold(tables):
    page = (Path(__file__).parents[3] / "docs" / "rules.md").read_text(encoding="utf-8")
    rows = {row.split("`")[1]: row for row in page.splitlines() if row.startswith("| `qsc_")}
    assert set(rows) == set(signal_names())
    for name in tables:
        for rule in tables[name].rules:
            for comparison in rule.comparisons:
                assert comparison.text.replace("_", "") in rows[rule.signal]
