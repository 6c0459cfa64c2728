"""The page of runs in a real browser: found, ordered, drawn, opened, compared, and shared."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opencoder_jax.sweep.browse import browse
from tests.opencoder_jax import small_run
from tests.opencoder_jax.report import run_folders
from tests.opencoder_jax.report.test_run_browser import damage
from tests.opencoder_jax.serve.browser import BROWSER, Browser

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the PATH")
READY = "document.documentElement.dataset.ready === 'yes'"


def train(*flags: str) -> None:
    subprocess.run([sys.executable, "-m", "opencoder_jax.train", *flags], check=True)


@pytest.fixture(scope="module")
def real_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining, and an annealing that starts from its checkpoint."""
    folder = tmp_path_factory.mktemp("real")
    train(*small_run.flags(f"--gin.MODEL_DIR={folder / 'pretrain'}", steps=12, save_period=6))
    train(
        "--gin_file=anneal/demo.gin",
        *small_run.flags(
            f"--gin.MODEL_DIR={folder / 'anneal'}",
            f"--gin.INITIAL_CHECKPOINT_PATH={folder / 'pretrain' / 'checkpoint_6'}",
            "--gin.mixtures.register_mixture.name=annealing_of_browsed_runs",
            "--gin.mixtures.register_mixture.rates={'refinecode': 84, 'algorithmic_corpus': 16}",
            "--gin.schedules.ExponentialDecay.final=1e-4",
            steps=4,
            save_period=4,
        )[1:],
    )
    return folder


@pytest.fixture(scope="module")
def address(real_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    run_folders.write_runs(folder / "many", runs=24, lines=500)
    damage(folder / "damaged")
    folders = [str(folder / "many" / "sweep"), str(real_runs), str(folder / "damaged")]
    return browse(folders, str(folder / "runs.html")).as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile") / "one") as running:
        yield running


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Browser]:
    browser.problems.clear()
    browser.requested.clear()
    browser.prefer("light")
    browser.window(1280)
    visit(browser, address)
    yield browser
    assert browser.problems == []
    # Nothing but the page itself.
    assert {url.partition("#")[0] for url in browser.requested} <= {address, "about:blank"}


def visit(browser: Browser, address: str) -> None:
    browser.open("about:blank")
    browser.open(address)
    browser.wait(READY)


def use(page: Browser, name: str, value: object, event: str = "change") -> None:
    page.run(
        f"(() => {{ const e = document.getElementById('{name}'); "
        f"{'e.checked' if isinstance(value, bool) else 'e.value'} = {json.dumps(value)}; "
        f"e.dispatchEvent(new Event('{event}', {{ bubbles: true }})); }})()"
    )


def find(page: Browser, text: str) -> list[str]:
    """Names of the runs that a filter leaves, in the order of the table."""
    use(page, "filter", text, "input")
    return names(page)


def names(page: Browser) -> list[str]:
    return page.run(
        "[...document.querySelectorAll('#table tbody tr:not([hidden]) [data-open]')]"
        ".map((e) => e.textContent)"
    )


def column(page: Browser, name: str) -> list[str]:
    return page.run(
        "(() => { const heads = [...document.querySelectorAll('#table thead th')];"
        f"const at = heads.findIndex((e) => e.textContent === {json.dumps(name)});"
        "return [...document.querySelectorAll('#table tbody tr:not([hidden])')]"
        ".map((row) => row.cells[at].textContent.replaceAll('\\u202f', '')); })()"
    )


def click(page: Browser, selector: str) -> None:
    page.run(f"document.querySelector({json.dumps(selector)}).click()")


def tick(page: Browser, name: str) -> None:
    page.run(
        "[...document.querySelectorAll('#table tbody tr')]"
        f".find((row) => row.querySelector('[data-open]').textContent === {json.dumps(name)})"
        ".querySelector('[data-tick]').click()"
    )


def open_run(page: Browser, name: str) -> None:
    page.run(
        "[...document.querySelectorAll('#table [data-open]')]"
        f".find((e) => e.textContent === {json.dumps(name)}).click()"
    )


def rows(page: Browser, title: str) -> dict[str, list[str]]:
    """A table of the opened run: name to cells, with a mark in front where they differ."""
    return page.run(
        "Object.fromEntries([...document.querySelectorAll('#run-parts table')]"
        f".filter((t) => t.tHead.textContent.startsWith({json.dumps(title)}))"
        ".flatMap((t) => [...t.tBodies[0].rows]).map((row) => [row.cells[0].textContent, "
        "[row.className, ...[...row.cells].slice(1).map((c) => c.textContent)]]))"
    )


def drawn(page: Browser, metric: str) -> int:
    return page.run(
        f"document.querySelectorAll('[data-metric=\"{metric}\"] path.line:not(.pale)').length"
    )


def narrow_by(page: Browser) -> Any:
    return page.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("arm:file seed:0", ["pretrain file/0"]),
        ("arm:FILE* seed=1", ["pretrain file/1", "pretrain file+chunk/1"]),
        ("arm~chunk seed<=0", ["pretrain chunk/0", "pretrain file+chunk/0"]),
        (
            "train_steps>=500 -arm:file -arm:chunk peak>0.002 random_seed<2",
            ["pretrain repository/1", "pretrain file+chunk/1"],
        ),
        ("arm!=file arm!=chunk arm!=repository tokens>4.0M seed:5", ["pretrain file+chunk/5"]),
        ("run:pretrain* repository seed:2", ["pretrain repository/2"]),
        ('"pretrain chunk/3"', ["pretrain chunk/3"]),
        ("is:damaged settings", ["damaged/settings"]),
        ('"refinecode/vim script"<1.34 seed:0', ["pretrain file/0"]),
        ('-bits_per_byte/refinecode/"vim script">1.32 seed:0', ["pretrain file/0"]),
        ("no such run", []),
    ],
)
def test_runs_are_found(page: Browser, text: str, expected: list[str]) -> None:
    assert len(names(page)) == 32
    assert find(page, text) == expected
    assert page.run("document.getElementById('shown').textContent") == (
        f"{len(expected)} of 32 runs"
    )
    assert page.run("document.getElementById('filter-wrong').textContent") == ""


def test_a_condition_that_cannot_be_is_told_and_the_others_hold(page: Browser) -> None:
    assert find(page, "nonsense<3 loss<many arm:file seed:0 is:blue") == ["pretrain file/0"]
    told = page.run("document.getElementById('filter-wrong').textContent")
    assert "no column is called nonsense" in told
    assert "loss<many: expected a number" in told
    assert "is:blue: expected" in told


def test_rows_are_sorted_by_keys_and_what_is_missing_comes_last(page: Browser) -> None:
    page.run("document.querySelector('[data-sort=\"loss\"]').focus()")
    page.key("Enter")
    up = column(page, "loss")
    known = [float(text) for text in up if text != "–"]
    assert known == sorted(known)
    assert up[len(known) :] == ["–"] * (len(up) - len(known))
    heads = "[...document.querySelectorAll('#table th[aria-sort]')].map((e) => e.ariaSort)"
    assert page.run(heads) == ["ascending"]
    page.key("Enter")
    down = column(page, "loss")
    assert down[: len(known)] == up[: len(known)][::-1]
    assert down[len(known) :] == up[len(known) :] != []
    assert page.run(heads) == ["descending"]
    page.key("Enter")
    assert page.run(heads) == []
    click(page, "[data-sort='run']")
    assert names(page)[:2] == ["damaged/finish", "damaged/metrics"]


def test_of_many_runs_the_first_rows_are_drawn_and_all_are_searched(
    browser: Browser, tmp_path: Path
) -> None:
    browser.problems.clear()
    run_folders.write_runs(tmp_path, runs=310, lines=3)
    visit(browser, browse([str(tmp_path)], str(tmp_path / "runs.html")).as_uri())
    assert len(names(browser)) == 300
    assert browser.run("document.getElementById('more').textContent") == "Show 10 more of 10"
    assert find(browser, "seed:77 arm:repository") == ["pretrain repository/77"]
    assert browser.run("document.getElementById('more').hidden")
    find(browser, "")
    click(browser, "#more")
    assert len(names(browser)) == 310
    assert browser.problems == []


def test_columns_are_chosen_and_equal_settings_are_folded_away(page: Browser) -> None:
    heads = "[...document.querySelectorAll('#table thead button')].map((e) => e.textContent)"
    before = page.run(heads)
    assert "optimizer.type" not in before
    boxes = "[...document.querySelectorAll('[data-column]')].map((e) => e.dataset.column)"
    # The same in every run.
    assert "optimizer.weight_decay" not in page.run(boxes)
    use(page, "all-fields", True)
    assert "optimizer.weight_decay" in page.run(boxes)
    click(page, "[data-column='peak_memory_bytes']")
    click(page, "[data-column='arm']")
    after = page.run(heads)
    assert set(after) - set(before) == {"peak_memory_bytes"}
    assert set(before) - set(after) == {"arm"}
    find(page, "run:pretrain* seed:0")
    assert column(page, "peak_memory_bytes") == ["710000000"] * 4


def test_curves_of_ticked_runs_lie_over_each_other(page: Browser) -> None:
    find(page, "seed:0")
    page.wait("document.querySelectorAll('[data-metric=\"loss\"] path.line').length === 4")
    find(page, "")
    for name in ("pretrain file/0", "pretrain chunk/1", real_name(page)):
        tick(page, name)
    page.wait("document.querySelectorAll('[data-metric=\"loss\"] path.line').length === 3")
    assert page.run("document.querySelectorAll('#legend button').length") == 3
    assert drawn(page, "learning_rate") == drawn(page, "heldout_loss") == 3
    path = "document.querySelector('[data-metric=\"loss\"] path.line').getAttribute('d')"
    by_step = page.run(path)
    use(page, "along", "tokens")
    by_tokens = page.run(path)
    use(page, "along", "seconds")
    by_hours = page.run(path)
    use(page, "log", True)
    logarithmic = page.run(path)
    assert len({by_step, by_tokens, by_hours, logarithmic}) == 4
    use(page, "smooth", 10, "input")
    page.wait("document.querySelectorAll('[data-metric=\"loss\"] path.pale').length === 3")
    click(page, "[data-metric='mfu']")
    assert drawn(page, "mfu") == 2
    click(page, "#metric-choices [data-metric='loss']")
    assert page.run("document.querySelector('figure[data-metric=\"loss\"]')") is None


def real_name(page: Browser) -> str:
    return next(name for name in names(page) if name.endswith("/pretrain"))


def test_values_are_read_by_pointer_and_by_keys(page: Browser) -> None:
    tick(page, "pretrain file/0")
    tick(page, "pretrain file/1")
    page.wait("document.querySelectorAll('[data-metric=\"loss\"] path.line').length === 2")
    told = "document.querySelector('figure[data-metric=\"loss\"] .told')"
    page.run("document.querySelector('figure[data-metric=\"loss\"] svg.chart').focus()")
    page.key("ArrowRight")
    assert page.run(f"{told}.textContent").startswith("step 1")
    page.key("ArrowRight")
    assert not page.run(f"{told}.hidden")
    assert page.run(f"{told}.querySelectorAll('b').length") == 2
    page.run(
        "(() => { const chart = document.querySelector('figure[data-metric=\"loss\"] svg.chart');"
        "const box = chart.getBoundingClientRect();"
        "chart.dispatchEvent(new PointerEvent('pointermove', {clientX: box.right - 12})); })()"
    )
    assert page.run(f"{told}.textContent").startswith("step 500")
    page.run("document.activeElement.blur()")
    assert page.run(f"{told}.hidden")


def test_a_run_is_opened_with_its_configuration_and_samples(page: Browser) -> None:
    open_run(page, "pretrain file/0")
    assert page.run("document.activeElement.id") == "run"
    assert page.run("document.getElementById('run-title').textContent") == "pretrain file/0"
    assert rows(page, "Settings")["schedule.peak"] == ["", "0.001"]
    text = page.run("document.getElementById('run-parts').textContent")
    assert run_folders.HOSTILE in text
    assert "15 of 40 answers" in text
    shown = page.run("document.querySelectorAll('#run-parts .list details').length")
    assert shown == 16
    page.run("document.querySelectorAll('#run-parts .list details').forEach((e) => e.open = true)")
    page.wait("document.querySelectorAll('#run-parts .list .evidence').length === 16")
    samples = page.run("document.querySelector('#run-parts .list').textContent")
    assert "def f0():" in samples
    assert "return 0  # </script>" in samples
    assert "pass@1/humaneval" in rows(page, "Measure")
    assert rows(page, "Measure")["humaneval: step"] == ["", "100"]
    assert page.run("document.querySelector('#run-parts a').getAttribute('href')").startswith("./")
    assert page.run("document.querySelectorAll('img').length") == 0
    click(page, "#close")
    assert page.run("document.getElementById('run').hidden")
    assert page.run("document.activeElement.textContent") == "pretrain file/0"


def test_two_runs_stand_side_by_side_with_what_differs_marked(page: Browser) -> None:
    open_run(page, "pretrain file/0")
    other = page.run(
        "[...document.getElementById('beside').options]"
        ".find((o) => o.textContent === 'pretrain file/1').value"
    )
    use(page, "beside", other)
    settings = rows(page, "Settings")
    assert settings["schedule.peak"] == ["differs", "0.001", "0.003"]
    assert settings["optimizer.weight_decay"] == ["", "0.1", "0.1"]
    use(page, "differing", True)
    assert sorted(rows(page, "Settings")) == ["random_seed", "schedule.peak"]
    lines = page.run(
        "[...document.querySelectorAll('#run-parts .columns pre')].map((pre) => "
        "[...pre.children].filter((line) => !line.hidden).map((line) => line.textContent))"
    )
    assert lines == [
        [f"RANDOM_SEED = {seed}", f"schedules.WarmupStable.peak = {peak}"]
        for seed, peak in ((0, 0.001), (1, 0.003))
    ]
    page.run("document.querySelector('#run-parts .list details').open = true")
    page.wait("document.querySelectorAll('#run-parts .list .evidence h4').length === 2")
    chunk = page.run(
        "[...document.getElementById('beside').options]"
        ".find((o) => o.textContent === 'pretrain chunk/0').value"
    )
    use(page, "beside", chunk)
    page.run("document.querySelector('#run-parts .list details').open = true")
    page.wait("document.querySelectorAll('#run-parts .list .evidence h4').length === 2")
    marked = page.run(
        "[...document.querySelectorAll('#run-parts .evidence .columns .differs')]"
        ".map((line) => line.textContent.trim().slice(0, 8))"
    )
    assert marked == ["return 0", "return 2"]


def test_what_differs_past_the_digits_that_are_shown_is_marked_and_written_in_full(
    browser: Browser, tmp_path: Path
) -> None:
    for name, peak in (("a", "0.0030000001"), ("b", "0.003")):
        folder = run_folders.write_run(tmp_path / name, arm="file", seed=1, lines=3)
        text = (folder / "manifest.json").read_text()
        assert '"schedule.peak": 0.003' in text
        (folder / "manifest.json").write_text(
            text.replace('"schedule.peak": 0.003', f'"schedule.peak": {peak}')
        )
        run_folders.write_evaluation(folder / "evaluation", params="", level=0)
    results = tmp_path / "a" / "evaluation" / "bits_per_byte" / "results.json"
    results.write_text(results.read_text().replace("1.3", "1.300001"))
    visit(browser, browse([str(tmp_path)], str(tmp_path / "runs.html")).as_uri())
    open_run(browser, "a")
    use(browser, "beside", browser.run("document.getElementById('beside').options[1].value"))
    settings = rows(browser, "Settings")
    assert settings["schedule.peak"] == ["differs", "0.0030000001", "0.003"]
    assert settings["optimizer.weight_decay"] == ["", "0.1", "0.1"]
    measures = rows(browser, "Measure")
    assert measures["bits_per_byte/refinecode"] == ["differs", "1.300001", "1.3"]
    assert measures["pass@1/humaneval"][0] == ""


def test_a_line_that_has_ended_says_where_its_value_is_from(
    browser: Browser, tmp_path: Path
) -> None:
    for name, lines in (("long", 20), ("short", 5)):
        run_folders.write_run(tmp_path / name, arm="file", seed=0, lines=lines)
    visit(browser, browse([str(tmp_path)], str(tmp_path / "runs.html")).as_uri())
    told = "[...document.querySelectorAll('figure[data-metric=\"loss\"] .told p')]"
    browser.run("document.querySelector('figure[data-metric=\"loss\"] svg.chart').focus()")
    browser.key("Home")
    assert " at " not in browser.run(f"{told}.map((e) => e.textContent).join()")
    browser.key("End")
    by_name = browser.run(
        f"Object.fromEntries({told}.slice(1).map((e) => [...e.children].slice(1)"
        ".map((part) => part.textContent)))"
    )
    assert by_name["short"].endswith(" at 5")
    assert " at " not in by_name["long"]


def test_a_phase_leads_to_the_one_that_it_started_from(page: Browser) -> None:
    pretrain = real_name(page)
    open_run(page, pretrain.replace("pretrain", "anneal"))
    chain = page.run("document.querySelector('.chain').textContent")
    assert chain == f"new parameters →{pretrain}, step 6 →{pretrain.replace('pretrain', 'anneal')}"
    assert rows(page, "Settings")["first_step"] == ["", "6"]
    click(page, ".chain [data-open]")
    assert page.run("document.getElementById('run-title').textContent") == pretrain
    assert rows(page, "What came out")["step"] == ["", "12"]


def test_damaged_runs_say_what_is_wrong(page: Browser) -> None:
    assert len(find(page, "is:damaged")) == 5
    open_run(page, "damaged/metrics")
    assert "line 2 is damaged" in page.run("document.querySelector('.problems').textContent")
    open_run(page, "damaged/nothing")
    told = page.run("document.querySelector('.problems').textContent")
    assert "no step has been recorded" in told
    for name in names(page):
        tick(page, name)
    page.wait("document.querySelectorAll('#legend button').length === 5")


def test_a_view_is_shared_by_its_address(page: Browser, address: str) -> None:
    find(page, "arm:file")
    click(page, "[data-sort='loss']")
    click(page, "[data-sort='loss']")
    tick(page, "pretrain file/2")
    tick(page, "pretrain file/3")
    use(page, "along", "tokens")
    use(page, "smooth", 5, "input")
    use(page, "log", True)
    click(page, "#metric-choices [data-metric='learning_rate']")
    click(page, "[data-column='seed']")
    open_run(page, "pretrain file/2")
    page.run(
        "(() => { const e = document.getElementById('beside'); "
        "e.value = [...e.options].find((o) => o.textContent === 'pretrain file/3').value; "
        "e.dispatchEvent(new Event('change')); })()"
    )
    view = (
        "JSON.stringify([document.querySelector('#table thead').textContent, "
        "document.getElementById('charts').innerHTML,"
        "document.getElementById('legend').textContent,"
        "document.getElementById('run-parts').textContent, document.getElementById('filter').value,"
        "document.getElementById('smooth').value, document.getElementById('along').value])"
    )
    page.wait("document.querySelectorAll('[data-metric=\"loss\"] path.pale').length === 2")
    seen, order = page.run(view), names(page)
    fragment = page.run("location.hash")
    visit(page, f"{address}{fragment}")
    assert names(page) == order
    assert page.run(view) == seen
    # A fragment that someone pastes while the page is open, and one that makes no sense.
    page.run("location.hash = 'q=arm%3Achunk&sort=nothing&columns=%5B&run=x&runs=y z&smooth=a'")
    page.wait("document.getElementById('filter').value === 'arm:chunk'")
    assert len(names(page)) == 6
    assert page.run("document.getElementById('run').hidden")


def test_a_narrow_and_a_dark_screen(page: Browser) -> None:
    open_run(page, "pretrain file/0")
    paper = page.run("getComputedStyle(document.body).backgroundColor")
    page.run("document.querySelectorAll('details').forEach((e) => e.open = true)")
    assert narrow_by(page) <= 0
    page.window(360)
    page.wait("document.querySelector('svg.chart').getAttribute('viewBox').split(' ')[2] < 360")
    assert narrow_by(page) <= 0
    page.prefer("dark")
    assert page.run("getComputedStyle(document.body).backgroundColor") != paper
