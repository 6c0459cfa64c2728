"""The page of answers: unit claims, and the page in a real browser with thousands of answers."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from opencoder_jax.compare import compare
from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.kept_rows import row_text
from opencoder_jax.evaluation.scores import scores
from opencoder_jax.formats.manifest import write_json, write_manifest
from tests.opencoder_jax.report.test_report_in_browser import BROWSER, LISTEN

HOSTILE = "</script><script>problems.push('ran')</script><img src=x onerror=problems.push('img')>"


def answer(number: int, verdict: str, language: str = "python", **changes: Any) -> dict[str, Any]:
    return {
        "task_id": f"T/{number}",
        "sample": 0,
        "language": language,
        "subset": "easy" if number % 2 else "hard",
        "prompt": f"def f{number}():\n",
        "suffix": None,
        "completion": f"    x = {number}\n    return x\n{HOSTILE}",
        "finish_reason": "stop",
        "tokens": 7,
        "program": f"def f{number}(): ...\n{HOSTILE}",
        "verdict": verdict,
        "reason": "" if verdict == "passed" else "AssertionError: no",
        "seconds": 0.01,
        **changes,
    }


def write_evaluation(folder: Path, rows: list[dict[str, Any]], task: str = "humaneval") -> Path:
    """As `opencoder_jax.evaluate` leaves a benchmark."""
    target = folder / task
    target.mkdir(parents=True)
    (target / "samples.jsonl").write_text("".join(map(row_text, rows)), encoding="utf-8")
    write_json(target / "results.json", scores(rows, [1]))
    write_manifest(target, job="evaluate", config={}, inputs={}, counts={})
    seen = {"T/17": {"documents": 2, "example": "r/x.py", "words": "ten words"}}
    write_json(
        folder / "contamination.json",
        {task: {"state": "overlaps: 1 of 9 problems", "why": [], "problems": seen}},
    )
    return folder


def two_models(folder: Path, problems: int) -> list[str]:
    verdicts = ("passed", "failed", "timeout")
    one = [answer(n, verdicts[n % 3], "java" if n % 5 == 0 else "python") for n in range(problems)]
    two = [
        answer(n, "passed", row["language"], completion=row["completion"].replace("x = ", "y = "))
        for n, row in enumerate(one)
    ]
    return [
        str(write_evaluation(folder / "a" / "evaluation", one)),
        str(write_evaluation(folder / "b" / "evaluation", two)),
    ]


def test_rates_and_what_one_model_alone_passes_are_on_the_page(tmp_path: Path) -> None:
    page = compare(two_models(tmp_path, 9), str(tmp_path / "page.html")).read_text()
    assert '<th class="apart">a</th><th class="apart">b</th>' in page
    assert "a 0, b 6" in page
    assert page.count("training data: overlaps: 1 of 9 problems") == 2
    assert re.search(r"<b>33\.3.%</b>", page)


def test_what_is_no_evaluation_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which evaluations"):
        compare([])
    with pytest.raises(InputError, match="no such folder"):
        compare([str(tmp_path / "nothing")])
    with pytest.raises(InputError, match="no finished code benchmark"):
        compare([str(tmp_path)])
    folder = write_evaluation(
        tmp_path / "old", [{"task_id": "T/1", "verdict": "passed"} | {"language": "", "subset": ""}]
    )
    with pytest.raises(InputError, match="an older version made it"):
        compare([str(folder)])


TELL = """<script>
addEventListener("load", () => {
  const use = (id, value, event) => {
    document.getElementById(id).value = value;
    document.getElementById(id).dispatchEvent(new Event(event));
    return Number(document.getElementById("shown").textContent.split(" ")[0]);
  };
  const facts = { problems };
  facts.drawn = document.querySelectorAll(".problem").length;
  document.getElementById("more").click();
  facts.more = document.querySelectorAll(".problem").length;
  facts.differs = use("verdict", "differs", "change");
  facts.timeouts = use("verdict", "timeout", "change");
  facts.java = use("language", "java", "change");
  use("verdict", "", "change");
  use("language", "", "change");
  facts.found = use("text", "f17()", "input");
  const first = document.querySelector(".problem");
  first.open = true;
  setTimeout(() => {
    facts.name = first.querySelector(".name").textContent;
    facts.columns = first.querySelectorAll(".answer").length;
    facts.marked = [...first.querySelectorAll(".differs")].map((line) => line.textContent.trim());
    facts.trained = first.textContent.includes("In 2 training texts, such as r/x.py");
    facts.hostile = first.querySelector(".answer pre").textContent.includes("onerror");
    facts.loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
    facts.wider = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    facts.paper = getComputedStyle(document.body).backgroundColor;
    document.title = "facts" + JSON.stringify(facts);
  }, 200);
});
</script></body>"""


def facts(page: Path, profile: Path, *flags: str, width: int = 1280) -> dict[str, Any]:
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER,
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"),
            *(f"--window-size={width},900", "--virtual-time-budget=6000", *flags),
            *("--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>facts(.*?)</title>", done.stdout, re.DOTALL)
    assert title is not None, done.stderr[-2000:]
    return json.loads(title[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the PATH")
def test_two_models_of_two_thousand_answers_are_filtered_and_compared(tmp_path: Path) -> None:
    page = compare(two_models(tmp_path, 2000), str(tmp_path / "page.html"))
    head, body = page.read_text(encoding="utf-8").split("<head>", 1)
    page.write_text(head + LISTEN + body.replace("</body>", TELL), encoding="utf-8")
    wide = facts(page, tmp_path / "wide")
    assert wide["problems"] == wide["loaded"] == []
    assert (wide["drawn"], wide["more"]) == (100, 200)
    failed = [n for n in range(2000) if n % 3]
    assert wide["differs"] == len(failed)
    assert wide["timeouts"] == sum(n % 3 == 2 for n in failed)
    assert wide["java"] == sum(n % 3 == 2 and n % 5 == 0 for n in failed)
    assert (wide["found"], wide["name"], wide["columns"]) == (1, "T/17", 2)
    assert wide["marked"] == ["x = 17", "y = 17"]
    assert wide["hostile"]
    assert wide["trained"]
    assert wide["wider"] <= 0
    narrow = facts(page, tmp_path / "narrow", "--blink-settings=preferredColorScheme=0", width=500)
    assert narrow["wider"] <= 0
    assert narrow["paper"] != wide["paper"]
