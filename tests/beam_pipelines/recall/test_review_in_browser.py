"""The review page in a real browser: filters, details, and the table that a person takes away."""

from pathlib import Path

import pytest

from beam_pipelines.recall.domains import DomainSettings
from beam_pipelines.recall.labels import SeedSettings
from beam_pipelines.recall.patterns import read_patterns
from beam_pipelines.recall.review import render_review
from beam_pipelines.recall.statistics import statistics_of
from tests.beam_pipelines.recall.test_review import candidate
from tests.opencoder_jax.report.test_corpus_report_in_browser import facts
from tests.opencoder_jax.report.test_report_in_browser import BROWSER, LISTEN

HOSTILE = '<img src=x onerror="problems.push(1)">'
TELL = """<script>
addEventListener("load", () => {
  const element = (id) => document.getElementById(id);
  const domains = () =>
    [...document.querySelectorAll(".domain .name")].map((name) => name.textContent);
  const change = (id, value, event) => {
    element(id).value = value;
    element(id).dispatchEvent(new Event(event));
  };
  const facts = { problems };
  facts.loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
  facts.first = domains().length;
  element("more").click();
  facts.all = domains().length;
  facts.more = element("more").hidden;
  change("text", "HOST7.example", "input");
  facts.found = domains();
  change("text", "", "input");
  change("share", "0.75", "change");
  facts.mostly = domains().length;
  change("share", "0", "change");
  const opened = document.querySelector(".domain");
  opened.open = true;
  setTimeout(() => {
    const button = opened.querySelector(".adds button");
    button.click();
    facts.pressed = button.getAttribute("aria-pressed");
    facts.rows = element("rows").value;
    change("state", "done", "change");
    facts.done = domains();
    change("state", "", "change");
    element("suggest").click();
    facts.suggested = element("rows").value;
    element("copy").click();
    facts.images = document.querySelectorAll("main img, .page img").length;
    facts.unnamed = [...document.querySelectorAll("button, input, select, textarea")].filter(
      (part) => !part.textContent.trim() && !part.closest("label") && !part.ariaLabel).length;
    document.querySelectorAll("details").forEach((part) => { part.open = true; });
    setTimeout(() => {
      facts.said = element("said").textContent;
      facts.wider = document.documentElement.scrollWidth - document.documentElement.clientWidth;
      document.title = "facts" + JSON.stringify(facts);
    }, 500);
  }, 500);
});
</script></body>"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the PATH")


@pytest.mark.parametrize("width", [1280, 500])
def test_a_person_finds_domains_and_takes_a_table_away(tmp_path: Path, width: int) -> None:
    head, body = page().split("<head>", 1)
    path = tmp_path / "review.html"
    path.write_text(head + LISTEN + body.replace("</body>", TELL), encoding="utf-8")
    seen = facts(path, tmp_path, width=width)
    assert seen["problems"] == []
    assert seen["loaded"] == []
    assert (seen["first"], seen["all"], seen["more"]) == (50, 60, True)
    assert seen["found"] == ["host7.example"]
    assert seen["mostly"] == 20
    assert seen["pressed"] == "true"
    header, row, *_ = seen["rows"].split("\n")
    assert header == "pattern\tlabel\tnote"
    assert row.startswith("%host0.example%\tcode\t")
    assert seen["done"] == ["host0.example"]
    assert seen["said"]
    assert (seen["images"], seen["unnamed"]) == (0, 0)
    assert seen["wider"] <= 0
    # What the page gives is what the next round reads.
    table = tmp_path / "annotated-1.tsv"
    table.write_text(seen["suggested"])
    assert len(read_patterns(str(table), ["code", "none"])) == 20


def page() -> str:
    candidates = []
    for number in range(60):
        recalled = 9 if number % 3 == 0 else 2
        name = f"host{number}.example"
        candidates.append(candidate(name, [(name, 10, recalled)], f"text {number} {HOSTILE}"))
    statistics = statistics_of(
        1,
        {"domain candidates": 60},
        {"input": 600, "output": 100, "dropped": {}},
        {},
        SeedSettings(("code",)),
    )
    labels = ["code", "none"]
    settings = DomainSettings(least_pages=3)
    return render_review(statistics, candidates, settings, labels, "annotated-1.tsv")
