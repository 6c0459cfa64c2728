"""The page of made sets: safe, whole, quick enough, and it works in a real browser."""

import json
from pathlib import Path

import pytest

from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import write_json
from opencoder_jax.synthesis_report import synthesis_report
from tests import packed_example
from tests.opencoder_jax.report.made_set_folder import conversation, write_made_set, write_sets
from tests.opencoder_jax.report.run_folder import HOSTILE
from tests.opencoder_jax.report.test_corpus_report_in_browser import facts
from tests.opencoder_jax.report.test_report import Tags
from tests.opencoder_jax.report.test_report_in_browser import BROWSER, LISTEN

TELL = """<script>
addEventListener("load", () => {
  const picture = document.getElementById("map-points");
  const told = document.getElementById("map-text");
  const circles = () => [...picture.querySelectorAll("circle")];
  const press = (key) =>
    picture.dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true }));
  const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
  const facts = { problems, loaded, points: circles().length };
  const inside = (circle, name, end) =>
    circle.getAttribute(name) >= 0 && circle.getAttribute(name) <= end;
  facts.outside = circles().filter((c) => !inside(c, "cx", 1000) || !inside(c, "cy", 640)).length;
  facts.legend = [...document.querySelectorAll("#map-legend span")].map((part) => part.textContent);
  picture.focus();
  facts.focused = document.activeElement === picture;
  const read = [];
  for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft", "ArrowUp"]) {
    press(key);
    read.push(told.textContent);
  }
  facts.read = read;
  facts.chosen = document.querySelectorAll("circle.chosen").length;
  facts.images = document.querySelectorAll("main img, main script").length;
  const choice = document.getElementById("map-colours");
  const tones = () => new Set(circles().map((c) => c.style.getPropertyValue("--tone"))).size;
  facts.tones = {};
  for (const kind of [...choice.options].map((option) => option.value)) {
    choice.value = kind;
    choice.dispatchEvent(new Event("change"));
    facts.tones[kind] = [tones(), document.querySelectorAll("#map-legend span").length];
  }
  const box = circles()[0].getBoundingClientRect();
  const at = { clientX: box.x + 1, clientY: box.y + 1 };
  picture.dispatchEvent(new PointerEvent("pointermove", at));
  facts.pointed = told.textContent.length > 20;
  facts.unlabelled = document.querySelectorAll("svg:not([aria-label])").length;
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
  facts.wider = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  facts.paper = getComputedStyle(document.body).backgroundColor;
  document.title = "facts" + JSON.stringify(facts);
});
</script></body>"""


def make(*folders: Path, output: Path, **changes: object) -> str:
    configured = configuration.configure(synthesis_report, gin_files=["report/made_sets.gin"])
    path = configured(folders=[str(f) for f in folders], output=str(output), **changes)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("made") / "sets")


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return make(root, output=root.parent / "page.html")


def test_text_of_records_cannot_become_markup(page: str) -> None:
    assert HOSTILE not in page
    tags = Tags(page)
    assert [tag for tag, _ in tags.found].count("script") == 2
    assert not [tag for tag, _ in tags.found if tag == "img"]
    assert not [names for _, names in tags.found if any(name.startswith("on") for name in names)]
    # Rejected paths, details and samples; records; teachers of records and of calls.
    assert "".join(tags.text).count(HOSTILE) >= 12


def test_the_page_loads_nothing_from_a_network(page: str) -> None:
    for tag, attributes in Tags(page).found:
        for name in ("src", "href", "action"):
            value = attributes.get(name) or ""
            assert value in ("", "data:,") or value.startswith("#"), (tag, value)


def test_every_link_of_the_page_leads_somewhere(page: str) -> None:
    found = Tags(page).found
    ids = {attributes.get("id") for _, attributes in found}
    links = {a["href"][1:] for tag, a in found if tag == "a"}
    assert links <= ids
    assert len(links) == 2 + 3 + 2


def test_a_folder_of_sets_stands_for_its_sets_and_their_numbers_agree(page: str) -> None:
    text = " ".join(" ".join(Tags(page).text).split())
    assert "3 sets" in text
    for title in ("first", "second", "empty"):
        assert f" {title} " in text
    assert "All of them agree." in text
    assert "No tests" not in text
    assert text.count("no_tests") >= 2
    assert "1.2500" in text  # USD


def test_a_manifest_that_lies_is_told_in_the_header_and_in_the_table(tmp_path: Path) -> None:
    records = [conversation(n) for n in range(6)]
    lying = {"accounting": {"input": 9, "output": 9, "dropped": {}}}
    folder = write_made_set(tmp_path / "set", records, **lying)
    text = " ".join(" ".join(Tags(make(folder, output=tmp_path / "page.html")).text).split())
    assert "All of them agree." not in text
    assert "records 9 6" in text


def test_the_same_sets_give_the_same_page(root: Path, tmp_path: Path, page: str) -> None:
    assert make(root, output=tmp_path / "again.html") == page


def test_tokens_are_those_of_the_packed_record(tmp_path: Path) -> None:
    folder = write_made_set(tmp_path / "set", [conversation(n) for n in range(9)])
    tokenizer = str(packed_example.tokenizer_dir())
    page = make(folder, output=tmp_path / "page.html", tokenizer_dir=tokenizer)
    assert 'aria-label="tokens of 9 records' in page
    assert 'aria-label="tokens' not in make(folder, output=tmp_path / "page.html")


def test_a_mixture_is_shown_as_asked_planned_and_given(root: Path, tmp_path: Path) -> None:
    share = {
        "wanted": 0.75,
        "actual": 0.7401,
        "learned": 0.7204,
        "sequences": 77,
        "tokens": 770,
        "tokens_before": 100,
        "records": 50,
        "repeats": 1.54,
        "epochs": 3.21,
    }
    other = {**share, "wanted": 0.25, "learned": None, "tokens_before": 0}
    model_dir = tmp_path / "anneal"
    (model_dir / "train").mkdir(parents=True)
    write_json(model_dir / "mixture.json", {"refinecode": share, "code_snippets": other})
    seen = {"step": 40, "tokens_seen/refinecode": 160, "tokens_seen/code_snippets": 40}
    (model_dir / "train" / "metrics.jsonl").write_text(f"{json.dumps(seen)}\n")
    page = make(root, output=tmp_path / "page.html", mixture_dir=str(model_dir))
    text = " ".join(" ".join(Tags(page).text).replace("\u202f", " ").split())
    assert "Mixture of anneal" in text
    assert "up to step 40" in text
    assert "refinecode 75.0 % 74.0 % 60.0 % 72.0 % 77 1.54 3.21" in text
    assert "code_snippets 25.0 % 74.0 % 40.0 % – 77 1.54 3.21" in text
    with pytest.raises(InputError, match="give the model directory"):
        make(root, output=tmp_path / "page.html", mixture_dir=str(tmp_path))


def test_what_is_no_set_is_one_clear_error(tmp_path: Path) -> None:
    for folder, message in (
        (tmp_path / "nothing", "no such folder"),
        (tmp_path, "no finished set"),
    ):
        with pytest.raises(InputError, match=message):
            make(folder, output=tmp_path / "page.html")
    with pytest.raises(InputError, match="is in a store"):
        synthesis_report(10, 1, 10, 2, folders=["gs://bucket/set"])
    with pytest.raises(InputError, match="which sets"):
        synthesis_report(10, 1, 10, 2, folders=[])


@pytest.fixture(scope="module")
def listening(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    head, body = page.split("<head>", 1)
    path = tmp_path_factory.mktemp("browser") / "page.html"
    path.write_text(head + LISTEN + body.replace("</body>", TELL), encoding="utf-8")
    return path


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the PATH")
@pytest.mark.parametrize("width", [1280, 500])
def test_the_map_works_by_pointer_and_by_keys_and_everything_fits(
    listening: Path, tmp_path: Path, width: int
) -> None:
    seen = facts(listening, tmp_path, width=width)
    assert seen["problems"] == []
    assert seen["loaded"] == []
    assert seen["points"] == 60 + 30
    assert seen["outside"] == 0
    assert seen["legend"] == ["first (60)", "second (30)"]
    assert seen["focused"]
    first, second, back, _ = seen["read"]
    assert first == back != second
    assert seen["chosen"] == 1
    assert seen["images"] == 0
    assert seen["pointed"]
    assert seen["tones"]["set"] == [2, 2]
    assert seen["tones"]["language"] == [3, 3]
    # Six colours and grey for all others.
    assert seen["tones"]["cluster"] == [7, 7]
    assert seen["unlabelled"] == 0
    assert seen["wider"] <= 0


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the PATH")
def test_dark_and_light_follow_the_readers_choice(listening: Path, tmp_path: Path) -> None:
    light = facts(listening, tmp_path / "light")["paper"]
    dark = facts(listening, tmp_path / "dark", "--blink-settings=preferredColorScheme=0")["paper"]
    assert light != dark
