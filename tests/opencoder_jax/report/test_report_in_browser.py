"""The page in a real browser: charts drawn, no script errors, nothing wider than the window."""

import json
import re
import shutil
import subprocess

import pytest

from opencoder_jax.report.__main__ import report
from tests.opencoder_jax.report.run_folder import write_run

BROWSER = next(
    filter(
        None,
        map(
            shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
        ),
    ),
    None,
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the PATH")

LISTEN = """<head><script>
window.problems = [];
addEventListener("error", (event) => problems.push(String(event.message)));
addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
console.error = (...parts) => problems.push(parts.join(" "));
</script>"""
TELL = """<script>
// Plotly draws after this script: two seconds of the browser's virtual time are plenty.
setTimeout(() => {
  const facts = {
    problems: window.problems,
    loaded: performance.getEntriesByType("resource").map((entry) => entry.name),
    charts: document.querySelectorAll(".chart").length,
    drawn: document.querySelectorAll(".chart .subplot.xy").length,
    wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    paper: getComputedStyle(document.body).backgroundColor,
  };
  document.title = "facts" + JSON.stringify(facts);
}, 2000);
</script></body>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report with listeners before its scripts and a reporter after them."""
    path = report(write_run(tmp_path_factory.mktemp("runs") / "demo"))
    text = path.read_text(encoding="utf-8")
    head, body = text.split("<head>", 1)
    path.write_text(head + LISTEN + body.replace("</body>", TELL), encoding="utf-8")
    return path


def facts(page, tmp_path, *, width: int, dark: bool = False) -> dict:
    assert BROWSER is not None
    flags = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}"),
        *(f"--window-size={width},900", "--virtual-time-budget=4000"),
        *(("--blink-settings=preferredColorScheme=0",) if dark else ()),
    ]
    done = subprocess.run(
        [BROWSER, *flags, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>facts(.*?)</title>", done.stdout, re.DOTALL)
    assert title is not None, done.stderr[-2000:]
    return json.loads(title[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


# Headless browsers refuse windows narrower than 500 pixels.
@pytest.mark.parametrize("width", [1280, 500])
def test_all_charts_are_drawn_and_nothing_overflows(page, tmp_path, width):
    seen = facts(page, tmp_path, width=width)
    assert seen["problems"] == []
    assert seen["loaded"] == []
    assert seen["charts"] == 3
    assert seen["drawn"] >= seen["charts"]
    assert seen["wider"] <= 0


def test_dark_and_light_follow_the_readers_choice(page, tmp_path):
    light = facts(page, tmp_path / "light", width=1280)["paper"]
    dark = facts(page, tmp_path / "dark", width=1280, dark=True)["paper"]
    assert light != dark
