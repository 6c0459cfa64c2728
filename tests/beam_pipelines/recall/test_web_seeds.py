"""Seeds that a teacher chooses: what becomes of each of its answers."""

import json
from pathlib import Path

import pytest

from beam_pipelines import accounting, web_seeds
from beam_pipelines.recall.labels import Labels, SeedSettings
from opencoder_jax import configuration
from opencoder_jax.formats.shards import read_records
from tests.beam_pipelines.recall import crawl
from tests.beam_pipelines.synthesis.scripted_teacher import ScriptedTeacher

_TEXTS = ("good code", "code", "cooking", "strange", "silent")


def _answer(prompt: str) -> str:
    text = prompt.partition("<page>\n")[2].partition("\n</page>")[0]
    return {
        "good code": "1: YES\n2: YES",
        "code": "1: Yes.\n2: No, too short.",
        "cooking": "**1**: NO\n**2**: NO",
        "strange": "I think that it is about programs.",
        "silent": "",
    }[text]


def judge(folder: Path, teacher: ScriptedTeacher, **arguments) -> dict:
    settings = teacher.settings(folder / "calls")
    configured = configuration.configure(
        web_seeds.web_seeds,
        gin_files=["web_recall/seeds.gin"],
        bindings=[
            f"INPUT_DIR = '{folder / 'pages'}'",
            f"OUTPUT_DIR = '{folder / 'seeds'}'",
            "SHARE = 1.0",
            f"settings.Teacher.url = '{settings.url}'",
            "settings.Teacher.model = 'scripted'",
            f"settings.Teacher.cache_dir = '{folder / 'calls'}'",
        ],
    )
    return configured(**arguments)


@pytest.fixture
def pages(tmp_path):
    made = crawl.pages("https://a.example/", _TEXTS)
    crawl.write_pages(tmp_path / "pages", made)
    return dict(zip(_TEXTS, made, strict=True))


def test_every_judged_page_is_a_seed_none_or_a_drop(pages, tmp_path):
    with ScriptedTeacher(_answer) as teacher:
        manifest = judge(tmp_path, teacher)
        again = judge(tmp_path, teacher)
    assert again == manifest
    assert manifest["counts"]["labels"] == {"code": 1, "none": 1}
    assert manifest["counts"]["pages"] == {
        "input": 5,
        "output": 2,
        "dropped": {"teacher_empty": 1, "undecided": 1, "unreadable_answer": 1},
    }
    folder = tmp_path / "seeds"
    drops = [accounting.decode_drop(r) for r in read_records(folder / "dropped", "dropped")]
    reasons = {drop.id: drop.reason for drop in drops}
    assert reasons[pages["code"].id] == "undecided"
    told = json.loads((folder / "teacher.json").read_text())
    assert told["total"]["asked"] >= 4


def test_web_recall_reads_the_table(pages, tmp_path):
    with ScriptedTeacher(_answer) as teacher:
        judge(tmp_path, teacher)
    table = tmp_path / "seeds" / "seeds.tsv"
    labels = Labels.read(SeedSettings(("code",), tables=str(table)))
    found = {text: labels.of(page) for text, page in pages.items()}
    assert found == {
        "good code": "code",
        "cooking": "none",
        "code": None,
        "strange": None,
        "silent": None,
    }


def test_a_dry_run_asks_nothing_and_writes_nothing(pages, tmp_path, capsys):
    with ScriptedTeacher(_answer) as teacher:
        judge(tmp_path, teacher, dry_run=True)
        assert teacher.asked == []
    assert "5" in capsys.readouterr().out
    assert not (tmp_path / "seeds").exists()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("1: YES\n2: NO", (True, False)),
        ("1. no\n2. no", (False, False)),
        ("Sure!\n\n1: Yes\n2: Yes\n", (True, True)),
        ("1: YES", None),
        ("YES\nYES", None),
        ("1: YESTERDAY\n2: NOTHING", None),
        ("", None),
    ],
)
def test_only_a_clear_answer_counts(answer, says):
    assert web_seeds.verdict(answer) == says
