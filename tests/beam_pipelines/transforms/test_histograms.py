"""Histograms and counts of rules: exact, whatever the order in which parts are added."""

import json
import random

import pytest

from beam_pipelines.signals.compute import signal_names
from beam_pipelines.signals.rules import RuleTable
from beam_pipelines.transforms.histograms import (
    EDGES,
    AddUpTable,
    bin_of,
    described_tables,
    kind_of,
)
from opencoder_jax.formats.judged import Judged

TABLE = RuleTable(
    "sql",
    {
        "qsc_code_num_words": "< 30",
        "qsc_code_frac_chars_digital": "> 0.3",
        "qsc_code_cate_autogen": "is true for 80%",
    },
)


def judged(number: int, words: float | None, digital: float, *violated: str) -> Judged:
    return Judged(
        id=f"{number:032x}",
        repo="r",
        path=f"{number}.sql",
        language="sql",
        doc_type="code",
        human_language="en",
        size_bytes=100 + number,
        table="sql",
        kept=not violated,
        signals=json.dumps({"qsc_code_num_words": words, "qsc_code_frac_chars_digital": digital}),
        violations=json.dumps([{"signal": s, "value": 1, "threshold": "?"} for s in violated]),
    )


WORDS, DIGITAL = "qsc_code_num_words", "qsc_code_frac_chars_digital"
MANY = [
    judged(0, 100, 0.1),
    judged(1, 10, 0.1, WORDS),
    judged(2, 10, 0.9, WORDS, DIGITAL),
    judged(3, None, 1.0, DIGITAL),
    judged(4, 0, 1.5, DIGITAL),
]


def added_up(parts: list[list[Judged]]) -> dict:
    combine = AddUpTable()
    totals = []
    for part in parts:
        total = combine.create_accumulator()
        for one in part:
            total = combine.add_input(total, one)
        totals.append(total)
    total = combine.extract_output(combine.merge_accumulators(totals))
    return dict(described_tables({"sql": total}, {"sql": TABLE}))


def test_a_rule_has_its_hits_its_sole_drops_and_their_bytes():
    rules = added_up([MANY])["tables"]["sql"]["rules"]
    words, digital = rules[WORDS], rules[DIGITAL]
    assert (words["hits"], words["first"], words["sole"]) == (2, 2, 1)
    assert (words["hit_bytes"], words["sole_bytes"]) == (101 + 102, 101)
    assert (digital["hits"], digital["first"], digital["sole"]) == (3, 2, 2)
    assert (digital["hit_bytes"], digital["sole_bytes"]) == (102 + 103 + 104, 103 + 104)
    # A rule that took nothing is there too, with its threshold.
    autogen = rules["qsc_code_cate_autogen"]
    assert (autogen["hits"], autogen["text"], autogen["share"]) == (0, "is true for 80%", 0.8)


def test_every_document_is_in_one_bin_of_each_signal_on_the_side_of_its_verdict():
    table = added_up([MANY])["tables"]["sql"]
    assert (table["documents"], table["kept"]) == (5, 1)
    for signal in (WORDS, DIGITAL):
        histogram = table["signals"][signal]
        kept, dropped = histogram["undefined"]
        kept += sum(bin_[1] for bin_ in histogram["bins"])
        dropped += sum(bin_[2] for bin_ in histogram["bins"])
        assert (kept, dropped) == (1, 4)
    assert table["signals"][WORDS]["undefined"] == [0, 1]
    # 1.0 is the last closed bin of a share, 1.5 the open one.
    assert table["signals"][DIGITAL]["bins"][-2:] == [[49, 0, 1], [50, 0, 1]]


def test_order_and_parts_change_nothing():
    expected = json.dumps(added_up([MANY]), sort_keys=True)
    shuffled = MANY[:]
    for seed in range(5):
        random.Random(seed).shuffle(shuffled)
        parts = [shuffled[:2], [], shuffled[2:]]
        assert json.dumps(added_up(parts), sort_keys=True) == expected


@pytest.mark.parametrize("signal", ["qsc_doc_num_chars", DIGITAL, "qsc_code_cate_autogen"])
def test_a_bin_holds_the_values_between_its_edges(signal):
    edges = EDGES[kind_of(signal)]
    assert bin_of(signal, -1) == bin_of(signal, 0) == 0
    for index, edge in enumerate(edges):
        assert bin_of(signal, edge) == index + 1
        assert bin_of(signal, edge * (1 - 1e-9)) == index
    assert bin_of(signal, 1e30) == len(edges)


def test_every_registered_signal_of_truth_or_share_is_known_by_its_name():
    kinds = {name: kind_of(name) for name in signal_names()}
    assert kinds["qsc_code_cate_xml_start"] == "truth"
    assert kinds["qsc_codepython_score_lines_no_logic"] == "share"
    assert kinds["qsc_doc_mean_word_length"] == kinds["qsc_doc_entropy_unigram"] == "amount"
