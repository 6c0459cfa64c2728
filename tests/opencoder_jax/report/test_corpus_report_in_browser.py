"""The cleaning report in a real browser: histograms drawn, filters and sorts, nothing too wide."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from opencoder_jax import configuration
from opencoder_jax.corpus_report import corpus_report
from tests.opencoder_jax.report.corpus_folder import write_cleaned
from tests.opencoder_jax.report.test_report_in_browser import BROWSER, LISTEN

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the PATH")

TELL = """<script>
addEventListener("load", () => {
  const rows = (id) => [...document.querySelectorAll(`#${id} > [data-name]`)];
  const use = (input, value) => {
    input.value = value;
    input.dispatchEvent(new Event("input"));
  };
  const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
  const facts = { problems, loaded };
  const count = () => document.querySelectorAll(".histogram svg").length;
  facts.ruled = count();
  facts.thresholds = document.querySelectorAll(".histogram .threshold").length;
  facts.ranges = document.querySelectorAll(".histogram .range").length;
  facts.unlabelled = document.querySelectorAll("svg:not([aria-label])").length;
  const bad = [...document.querySelectorAll(".histogram svg *")].filter((part) =>
    Number(part.getAttribute("width")) < 0
    || [...part.attributes].some((attribute) => /NaN|Infinity/.test(attribute.value)));
  facts.bad = bad.length;
  document.getElementById("ruled-only").click();
  facts.all = count();
  use(document.getElementById("signal-filter"), "frac");
  facts.filtered = count();
  use(document.querySelector('[data-filters="language-rows"]'), "language 1");
  facts.languages = rows("language-rows").filter((row) => !row.hidden).length;
  use(document.querySelector('[data-filters="language-rows"]'), "");
  document.querySelectorAll("table.sortable th button")[0].click();
  facts.sorted = rows("language-rows").map((row) => row.dataset.name);
  const sort = document.querySelector('[data-sorts="rule-rows"]');
  sort.value = "name";
  sort.dispatchEvent(new Event("change"));
  facts.rules = rows("rule-rows").map((row) => row.dataset.name);
  location.hash = "#cluster-1-a";
  setTimeout(() => {
    facts.opened = document.getElementById("cluster-1-a").closest("details").open;
    document.querySelectorAll("details").forEach((part) => { part.open = true; });
    facts.wider = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    facts.paper = getComputedStyle(document.body).backgroundColor;
    document.title = "facts" + JSON.stringify(facts);
  }, 200);
});
</script></body>"""


def page_of(folder: Path) -> Path:
    configured = configuration.configure(
        corpus_report, gin_files=["report/corpus.gin"], bindings=[f"CORPUS_DIR = '{folder}'"]
    )
    path = configured()
    head, body = path.read_text(encoding="utf-8").split("<head>", 1)
    path.write_text(head + LISTEN + body.replace("</body>", TELL), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(write_cleaned(tmp_path_factory.mktemp("browser") / "corpus"))


def facts(page: Path, tmp_path: Path, *flags: str, width: int = 1280) -> dict:
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER,
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}"),
            *(f"--window-size={width},900", "--virtual-time-budget=4000", *flags),
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>facts(.*?)</title>", done.stdout, re.DOTALL)
    assert title is not None, done.stderr[-2000:]
    return json.loads(title[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.mark.parametrize("width", [1280, 500])
def test_everything_is_drawn_works_and_fits(page: Path, tmp_path: Path, width: int) -> None:
    seen = facts(page, tmp_path, width=width)
    assert seen["problems"] == []
    assert seen["loaded"] == []
    assert (seen["ruled"], seen["all"], seen["filtered"]) == (7, 9, 3)
    # Rules on two truth values, which have a shaded half and no line, on two shares with one
    # threshold each, and on three amounts with two.
    assert (seen["thresholds"], seen["ranges"]) == (2 + 3 * 2, 2 + 2 + 3 * 2)
    assert seen["unlabelled"] == seen["bad"] == 0
    assert seen["languages"] == 1
    assert seen["sorted"] == sorted(seen["sorted"])
    assert seen["rules"] == sorted(seen["rules"])
    assert seen["opened"]
    assert seen["wider"] <= 0


def test_dark_and_light_follow_the_readers_choice(page: Path, tmp_path: Path) -> None:
    light = facts(page, tmp_path / "light")["paper"]
    dark = facts(page, tmp_path / "dark", "--blink-settings=preferredColorScheme=0")["paper"]
    assert light != dark


def test_four_hundred_languages_and_all_rules_work(tmp_path: Path) -> None:
    folder = write_cleaned(tmp_path / "corpus", languages=400, tables=26, signals=98, samples=3)
    seen = facts(page_of(folder), tmp_path)
    assert seen["problems"] == []
    assert seen["all"] == 98
    assert seen["bad"] == 0
    assert len(seen["sorted"]) == 400
