import subprocess
import sys
from collections import Counter

import pytest

from beam_pipelines.dedup import light_records
from beam_pipelines.dedup.exact import ExactDedup
from beam_pipelines.dedup.light_records import Packs, digest_of, unpack
from beam_pipelines.dedup.near import NearDedup
from tests.beam_pipelines.dedup.running import document, run

WORDS = [f"word{i}" for i in range(20)]


def test_records_come_back_each_in_its_part() -> None:
    packs = Packs(4)
    for number in range(100):
        packs.add(number, number, "tiếng", b"\0", (1, "x"))
    taken = list(packs.take())
    assert sorted(part for part, _ in taken) == [0, 1, 2, 3]
    for part, packed in taken:
        assert [record[0] for record in unpack([packed])] == list(range(part, 100, 4))
    assert next(unpack([taken[0][1]]))[1:] == ("tiếng", b"\0", (1, "x"))
    assert not list(packs.take()), "what was taken is gone"


def test_a_bundle_holds_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(light_records, "_MOST_PACKED", 10)
    packs, held, taken = Packs(3), [], 0
    for number in range(95):
        packs.add(number, number)
        taken += sum(len(list(unpack([packed]))) for _, packed in packs.take_many())
        held.append(packs._count)
    assert max(held) < 10
    assert taken + len(list(unpack(packed for _, packed in packs.take()))) == 95


def test_a_text_has_the_same_part_in_every_process() -> None:
    texts = ["", "a.py", "tiếng Việt", "\udc80"]
    program = (
        "from beam_pipelines.dedup.light_records import digest_of\n"
        f"print([digest_of(text) for text in {texts!r}])"
    )
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert eval(printed.stdout) == [digest_of(text) for text in texts]


@pytest.mark.parametrize("parts", [1, 7, 1000])
@pytest.mark.parametrize("limit", [5, 1 << 17])
def test_neither_parts_nor_full_bundles_change_what_stays(
    monkeypatch: pytest.MonkeyPatch, parts: int, limit: int
) -> None:
    monkeypatch.setattr(light_records, "_MOST_PACKED", limit)
    texts = [" ".join(WORDS[i % 3 :]) for i in range(24)]
    documents = [document(i, text, stars=i % 5) for i, text in enumerate(texts)]
    exact = run(documents, ExactDedup(parts))
    assert Counter(d.text for d in exact["kept"]) == Counter(set(texts))
    assert {d.stars for d in exact["kept"]} == {4}
    near = run(
        documents,
        NearDedup(permutations=64, bands=16, rows=4, min_jaccard=0.99, parts=parts),
    )
    assert Counter(d.text for d in near["kept"]) == Counter(set(texts))
