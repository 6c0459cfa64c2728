"""The page in a real browser, against the real server."""

import json
import re

import pytest

from opencoder_jax.decoding.generation import generate
from opencoder_jax.decoding.sampling import SamplingSettings
from opencoder_jax.formats.infilling import infill_ids
from opencoder_jax.serve import playground
from tests.opencoder_jax.serve.browser import BROWSER, Browser
from tests.opencoder_jax.serve.server_process import ServerProcess

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the PATH")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile") / "one") as running:
        yield running


@pytest.fixture
def page(browser, server):
    browser.problems.clear()
    browser.requested.clear()
    browser.prefer("light")
    browser.window(1280)
    browser.open("about:blank")
    browser.open(server.url + "/")
    browser.run("localStorage.clear()")
    browser.wait("document.getElementById('model').textContent.startsWith('tiny')")
    yield browser
    browser.run("sessionStorage.clear()")
    assert browser.problems == []
    assert all(url.startswith((server.url, "about:", "data:")) for url in browser.requested)
    server.wait_until_idle()


def fill(page, **values) -> None:
    for name, value in values.items():
        page.run(f"document.getElementById('{name}').value = {json.dumps(str(value))}")


def click(page, name: str) -> None:
    page.run(f"document.getElementById('{name}').click()")


def text(page, name: str) -> str:
    return page.run(f"document.getElementById('{name}').textContent")


def finish(page) -> None:
    page.wait("!document.getElementById('run').disabled")


def test_the_page_is_one_file_that_asks_nobody_else():
    assert not re.search(r"""(src|href)\s*=|@import|url\(|https?://""", playground.PAGE)
    assert "innerHTML" not in playground.PAGE
    assert "unsafe" not in playground.HEADERS["Content-Security-Policy"]


def test_a_text_is_continued(page, model):
    prompt = "def f(x):\n    return"
    settings = SamplingSettings(max_new_tokens=30)
    expected = generate(model, [model.prompt_ids(prompt)], settings)[0]
    fill(page, prompt=prompt, temperature=0, top_p=1, max_tokens=30)

    page.run("document.getElementById('prompt').focus()")
    page.key("Enter", control=True)
    page.wait("document.getElementById('figures').textContent.includes('ended by')")

    assert text(page, "output") == prompt + expected.text
    assert re.fullmatch(
        r"\d+ tokens · [\d.]+ tokens/s · first after \d+ ms · ended by (length|stop)",
        text(page, "figures"),
    )


def test_settings_reach_the_engine(page, model):
    prompt = "import os"
    chosen = SamplingSettings(max_new_tokens=20, temperature=1.0, top_p=0.9, seed=7)
    whole = generate(model, [model.prompt_ids(prompt)], chosen)[0].text
    stop = next(part for part in re.findall(r"\w\w", whole[3:]))
    fill(
        page, prompt=prompt, temperature=1, top_p=0.9, max_tokens=20, seed=7, stops=f"never\n{stop}"
    )

    click(page, "run")
    finish(page)

    assert text(page, "output") == prompt + whole[: whole.index(stop)]


def test_a_text_comes_bit_by_bit_and_stops_when_told_to(page, server):
    page.run(
        "window.seen = new Set(); new MutationObserver(() => "
        "seen.add(document.getElementById('output').textContent.length))"
        ".observe(document.getElementById('output'), {childList: true, subtree: true, "
        "characterData: true})"
    )
    cancelled = server.metric("opencoder_cancelled_texts_total")
    left = 0
    # A tiny model may be done before the key is pressed; some time it is not.
    for attempt in range(10):
        fill(page, prompt="x", temperature=1, max_tokens=180, seed=attempt)
        page.run(
            "document.getElementById('run').click(); new Promise((done) => { const look = () => "
            "document.querySelector('.new')?.textContent.length > 5 ? done() : "
            "requestAnimationFrame(look); look(); })"
        )
        page.key("Escape")
        finish(page)
        left = server.metric("opencoder_cancelled_texts_total") - cancelled
        if left:
            break
    assert left > 0
    assert page.run("document.getElementById('error').hidden")
    assert page.run("seen.size") > 3


def test_a_gap_is_filled(page, model):
    before, after = "def f(x):\n    ", "\n    return y"
    ids = infill_ids(before, after, model.tokenizer)
    expected = generate(model, [ids], SamplingSettings(max_new_tokens=20))[0].text
    click(page, "tab-infill")
    fill(page, prefix=before, suffix=after, temperature=0, top_p=1, max_tokens=20)

    click(page, "run")
    finish(page)

    assert text(page, "output") == before + expected + after


def test_a_chat_remembers_what_was_said(page, server):
    click(page, "tab-complete")
    page.run("document.getElementById('tab-complete').focus()")
    page.key("ArrowRight")
    page.key("ArrowRight")
    assert page.run("document.activeElement.id") == "tab-chat"
    page.run(
        "window.bodies = []; const before = window.fetch; window.fetch = (path, options) => { "
        "if (options?.body) bodies.push(JSON.parse(options.body)); return before(path, options); }"
    )
    fill(page, system="Be kind.", temperature=0, max_tokens=12)
    for said in ("first", "second"):
        fill(page, message=said)
        page.run("document.getElementById('message').focus()")
        page.key("Enter")
        page.wait(f"bodies.at(-1)?.messages.at(-1).content === '{said}'")
        finish(page)

    first, second = page.run("bodies.map((body) => body.messages)")
    assert [(one["role"], one["content"]) for one in first] == [
        ("system", "Be kind."),
        ("user", "first"),
    ]
    turns = page.run("[...document.querySelectorAll('.turn pre')].map((one) => one.textContent)")
    assert second == [
        *first,
        {"role": "assistant", "content": turns[1]},
        {"role": "user", "content": "second"},
    ]
    assert turns[0::2] == ["first", "second"]
    click(page, "clear")
    assert page.run("document.querySelectorAll('.turn').length") == 0


def test_markup_is_text_wherever_it_comes_from(page):
    attack = "</pre><img src=x onerror='window.broken=1'><script>window.broken=1</script>"
    click(page, "tab-complete")
    fill(page, prompt=attack, max_tokens=3)
    click(page, "run")
    finish(page)
    click(page, "tab-chat")
    fill(page, message=attack, max_tokens=3)
    click(page, "run")
    finish(page)
    # As if the model and the server had written it.
    page.run(
        "window.fetch = async () => new Response('data: ' + JSON.stringify({choices: [{index: 0, "
        f"delta: {{content: {json.dumps(attack)}}}}}]}}) + '\\n\\ndata: ' + "
        f"JSON.stringify({{error: {{message: {json.dumps(attack)}}}}}) + '\\n\\n')"
    )
    fill(page, message="x")
    click(page, "run")
    finish(page)

    assert page.run("window.broken") is None
    assert page.run("document.querySelectorAll('img').length") == 0
    turns = page.run("[...document.querySelectorAll('.turn pre')].map((one) => one.textContent)")
    assert (turns[0], turns[-1]) == (attack, attack)
    assert text(page, "error") == attack


def test_what_is_wrong_is_said_in_place(page):
    fill(page, prompt="x", max_tokens=100000)
    click(page, "run")
    finish(page)
    assert "maximum context length is 192 tokens" in text(page, "error")
    assert not page.run("document.getElementById('error').hidden")
    fill(page, max_tokens=2)
    click(page, "run")
    finish(page)
    assert page.run("document.getElementById('error').hidden")
    # The browser's own note of the refused request.
    page.problems[:] = [one for one in page.problems if "400" not in one]


def test_what_is_no_number_does_not_pass_for_the_default(page):
    fill(page, prompt="x", temperature="")
    page.run("document.getElementById('temperature').focus()")
    page.write("1e")
    click(page, "run")
    finish(page)
    assert text(page, "error") == "temperature: expected a number"


def test_the_focus_stays_with_the_buttons_and_the_end_is_read_out(page):
    fill(page, prompt="x", max_tokens=3)
    states = page.run(
        "(() => { const [run, turns] = ['run', 'turns'].map((id) => document.getElementById(id));"
        " run.focus(); run.click();"
        " return [document.activeElement.id, turns.ariaBusy]; })()"
    )
    assert states == ["stop", "true"]
    finish(page)
    assert page.run("document.activeElement.id") == "run"
    assert page.run("document.getElementById('figures').ariaBusy") == "false"


def test_what_was_written_stays_over_a_reload_and_the_key_does_not(page, server):
    page.run("document.getElementById('key').focus()")
    page.write("sk-secret")
    click(page, "tab-chat")
    page.run("document.getElementById('message').focus()")
    page.write("a long question")
    page.open("about:blank")
    page.open(server.url + "/")
    assert page.run("document.getElementById('message').value") == "a long question"
    assert page.run("document.getElementById('tab-chat').ariaSelected") == "true"
    assert page.run("document.getElementById('key').value") == ""
    assert "secret" not in page.run("JSON.stringify({...sessionStorage, ...localStorage})")


@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_is_wider_than_the_window(page, width):
    page.window(width)
    for name in ("complete", "infill", "chat"):
        click(page, f"tab-{name}")
        assert page.run("document.documentElement.scrollWidth") <= width


def test_dark_and_light_follow_the_system_until_the_reader_chooses(page, server):
    def paper() -> str:
        return page.run("getComputedStyle(document.body).backgroundColor")

    light = paper()
    page.prefer("dark")
    page.wait("document.documentElement.dataset.scheme === 'dark'")
    dark = paper()
    assert light != dark
    click(page, "scheme")
    assert paper() == light
    page.open("about:blank")
    page.open(server.url + "/")
    page.wait("document.getElementById('model').textContent.startsWith('tiny')")
    assert paper() == light


@pytest.mark.slow
def test_a_key_opens_the_page(browser, model, model_dir):
    with ServerProcess.start(
        model_dir, "--slots=1", "--skip_warm_up", environment={"OPENCODER_API_KEY": "sk-page"}
    ) as guarded:
        browser.open(guarded.url + "/")
        browser.wait("document.getElementById('model').textContent.includes('API key')")
        fill(browser, prompt="x", max_tokens=2)
        click(browser, "run")
        finish(browser)
        assert "API key" in text(browser, "error")
        fill(browser, key="ключ")
        click(browser, "run")
        finish(browser)
        assert "beyond ASCII" in text(browser, "error")
        fill(browser, key="sk-page")
        browser.run("document.getElementById('key').dispatchEvent(new Event('change'))")
        browser.wait("document.getElementById('model').textContent.startsWith('tiny')")
        click(browser, "run")
        finish(browser)
        assert browser.run("document.getElementById('error').hidden")
        assert len(text(browser, "output")) >= 1
    click(browser, "run")
    finish(browser)
    assert text(browser, "error").startswith("the server cannot be reached")
