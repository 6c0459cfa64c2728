"""Repair is right on the labelled excerpts: precision and recall of every kind have a floor."""

import json

import pytest

from beam_pipelines.transforms.personal_data import replace_personal_data
from benchmarks.repair import DATA, HEADER, KINDS, Score, measure

# (precision, recall) on both halves together. docs/cleaning.md has the figures of each half.
FLOORS = dict.fromkeys(KINDS, (0.95, 0.9)) | {HEADER: (0.99, 0.97)}


@pytest.fixture(scope="module")
def scores() -> dict[str, Score]:
    by_half, _ = measure()
    return {kind: by_half[("dev", kind)].plus(by_half[("heldout", kind)]) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_precision_and_recall_do_not_fall(scores: dict[str, Score], kind: str) -> None:
    precision, recall = FLOORS[kind]
    assert scores[kind].precision >= precision
    assert scores[kind].recall >= recall
    assert scores[kind].right >= 10


def test_repaired_text_needs_no_repair() -> None:
    for line in (DATA / "personal_data.jsonl").read_text().splitlines():
        once = replace_personal_data(json.loads(line)["text"]).text
        assert replace_personal_data(once).text == once
