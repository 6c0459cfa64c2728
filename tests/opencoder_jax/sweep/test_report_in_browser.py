"""The page of a sweep in a real browser: charts, hidden arms, sorted tables, narrow windows."""

from collections.abc import Iterator

import pytest

from opencoder_jax.sweep.report import write_report
from tests.opencoder_jax.serve.browser import BROWSER, Browser
from tests.opencoder_jax.sweep.sweep_folder import usual

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the PATH")

DRAWN = "document.querySelectorAll('.chart .subplot.xy').length === 5"
VISIBLE = (
    "Object.fromEntries(document.getElementById('curve-train-pretrain').data"
    ".map(line => [line.meta, line.visible !== false]))"
)
FIRST = "document.querySelector('#verdicts table')"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Iterator[Browser]:
    path = write_report(usual(tmp_path_factory.mktemp("sweep")).sweep_dir)
    with Browser(tmp_path_factory.mktemp("profile") / "one") as browser:
        browser.window(1280)
        browser.open(path.as_uri())
        browser.wait(DRAWN)
        yield browser
        # At the end of all that was done with the page.
        assert browser.problems == []
        assert [url for url in browser.requested if not url.startswith(path.as_uri())] == []


def column(page: Browser, number: int) -> list[str]:
    return page.run(
        f"[...{FIRST}.tBodies[0].rows].map(row => row.cells[{number}].textContent.trim())"
    )


def test_an_arm_is_hidden_in_all_curves_by_a_key(page: Browser) -> None:
    assert set(page.run(VISIBLE)) == {"file", "chunk", "repo", "noisy"}
    page.run("document.querySelector('.legend button[data-arm=chunk]').focus()")
    page.key("Enter")
    page.wait(f"{VISIBLE}.chunk === false")
    assert page.run(VISIBLE) == {"file": True, "chunk": False, "repo": True, "noisy": True}
    # The other colours draw everything anew.
    page.prefer("dark")
    page.wait("getComputedStyle(document.body).backgroundColor === 'rgb(18, 21, 24)'")
    page.wait(f"{VISIBLE}.chunk === false")
    page.run("document.querySelector('.legend button[data-arm=chunk]').click()")
    page.wait(f"{VISIBLE}.chunk === true")
    page.prefer("light")


def test_tables_sort_by_a_key_on_a_heading(page: Browser) -> None:
    page.run(f"{FIRST}.tHead.rows[0].cells[3].querySelector('button').focus()")
    page.key("Enter")
    assert page.run(f"{FIRST}.tHead.rows[0].cells[3].getAttribute('aria-sort')") == "ascending"
    # Those without a difference stay last.
    assert column(page, 0)[:4] == ["repo", "noisy", "chunk", "copy"]
    page.key("Enter")
    assert column(page, 0)[:4] == ["chunk", "copy", "noisy", "repo"]
    assert sorted(column(page, 0)[4:]) == ["broken", "file"]


def test_intervals_are_drawn_for_every_arm_with_a_result(page: Browser) -> None:
    assert page.run("document.querySelectorAll('#differences-0 .errorbar').length") == 4


@pytest.mark.parametrize("width", [1280, 380])
def test_nothing_is_wider_than_the_window_or_lies_over_another(page: Browser, width: int) -> None:
    page.window(width)
    page.wait(f"innerWidth === {width}")
    wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    page.wait(f"{wider} <= 0")
    # Plotly lets its element shrink when the window changes: the panel keeps the picture's room.
    page.wait(
        "[...document.querySelectorAll('.panel .chart')].every(chart => "
        "chart.getBoundingClientRect().height >= "
        "chart.querySelector('svg').getBoundingClientRect().height - 1)"
    )
