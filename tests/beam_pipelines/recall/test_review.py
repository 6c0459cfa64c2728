"""What a reviewer is shown, and that strangers' pages cannot do more than be shown."""

import json
import re

import pytest

from beam_pipelines.recall.domains import DomainSettings, beginnings_of, suggestions
from beam_pipelines.recall.labels import SeedSettings
from beam_pipelines.recall.review import render_review, suggested_table
from beam_pipelines.recall.statistics import statistics_of

_SETTINGS = DomainSettings(least_pages=3)
_STATISTICS = statistics_of(
    1,
    {"domain candidates": 1},
    {"input": 9, "output": 5, "dropped": {}},
    {},
    SeedSettings(("code",)),
)


def candidate(domain: str, beginnings: list[tuple[str, int, int]], text: str = "") -> dict:
    page = {"url": f"https://{domain}/1", "text": text, "label": "code", "score": 0.75}
    return {
        "domain": domain,
        "pages": beginnings[0][1],
        "recalled": beginnings[0][2],
        "recalled_before": 0,
        "bytes": 100,
        "recalled_bytes": 50,
        "labels": {"code": beginnings[0][2]},
        "beginnings": [
            {"text": t, "pages": pages, "recalled": recalled, "labels": {"code": recalled}}
            for t, pages, recalled in beginnings
        ],
        "examples": {"recalled": [page], "missed": []},
    }


def test_the_shortest_beginning_that_is_mostly_recalled_is_suggested():
    found = candidate(
        "a.example",
        [
            ("a.example", 100, 30),
            ("a.example/docs", 30, 28),
            ("a.example/docs/api", 20, 19),
            ("a.example/news", 70, 2),
            ("a.example/whole", 5, 5),
            ("a.example/few", 2, 1),
        ],
    )
    assert [row["pattern"] for row in suggestions(found, _SETTINGS)] == ["%a.example/docs%"]
    table = suggested_table([found], _SETTINGS)
    assert table == ("pattern\tlabel\tnote\n%a.example/docs%\tcode\t28 of 30 pages recalled\n")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://www.a.example/x/y/z/page.html", ["a.example", "a.example/x", "a.example/x/y"]),
        ("https://a.example/page.html?q=/u/v/w", ["a.example"]),
        ("http://user:secret@a.example:8080/x/y", ["a.example", "a.example/x"]),
        ("docs/guide/README.txt", ["docs", "docs/guide"]),
        ("README", []),
        ("http://[broken/x", []),
        ("https://a.example/x y/z/1", ["a.example"]),
    ],
)
def test_beginnings_are_of_host_and_path(url, expected):
    assert beginnings_of(url) == expected


def test_what_a_page_says_stays_text():
    hostile = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'
    page = render_review(
        _STATISTICS,
        [candidate(f"{hostile}.example", [(hostile, 9, 5)], hostile)],
        _SETTINGS,
        ["code", "none"],
        "annotated-1.tsv",
    )
    assert "<img" not in page
    assert page.count("<script") == page.count("</script>") == 2
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert data["candidates"][0]["examples"]["recalled"][0]["text"] == hostile


def test_the_page_needs_nothing_else():
    page = render_review(_STATISTICS, [], _SETTINGS, ["code", "none"], "annotated-1.tsv")
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "annotated-1.tsv" in page
