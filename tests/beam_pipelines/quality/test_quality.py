"""From a teacher's scores to a cleaned corpus: what it calls bad goes, how surely is told."""

import json
import re
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from beam_pipelines import refinecode
from beam_pipelines.quality.agreement import measure_agreement
from beam_pipelines.quality.scorer import OTHERS, Scored, Scorer, ScorerSettings, train_scorer
from beam_pipelines.quality.select import LOW_QUALITY, SIGNAL
from beam_pipelines.quality_scorer import quality_scorer
from beam_pipelines.synthesis.inputs import DocumentFolder
from beam_pipelines.synthesis.taught.quality_scores import QualityScores
from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import read_manifest
from tests.beam_pipelines.corpora import write_corpus
from tests.beam_pipelines.synthesis.making import (
    SAMPLING,
    details,
    documents,
    drops,
    make,
    reasons,
    seeds,
)
from tests.beam_pipelines.synthesis.scripted_teacher import ScriptedTeacher

SETTINGS = ScorerSettings(
    characters=6000,
    word_ngrams=2,
    dimension=16,
    buckets=20_000,
    epochs=30,
    learning_rate=0.3,
    min_examples=100,
)
STDLIB = Path(sysconfig.get_paths()["stdlib"])
# Of tables and constants, as a teacher who likes explained code would call it.
DATA = "".join(f"CODE_{n:04d} = 0x{n * 7919:08x}\n" for n in range(40))


def judged(prompt: str) -> str:
    """A teacher with a rule: explained functions are good, tables are bad."""
    functions = len(re.findall(r"^\s*def ", prompt, re.MULTILINE))
    if "REFUSE" in prompt:
        return "I'm sorry, but I can't help with that."
    if "VAGUE" in prompt:
        return "It is somewhere between 3 and 8."
    return f"Score: {9 if functions > 3 else 6 if functions else 1}"


def corpus(folder: Path) -> Path:
    files = sorted(p for p in STDLIB.glob("*.py") if 2000 < p.stat().st_size < 60_000)
    texts = [
        (f"repo{n % 40}", p.name, p.read_text("utf-8", "replace")) for n, p in enumerate(files)
    ]
    texts += [
        (f"repo{n % 40}", f"table{n}.py", f"# table {n}\n{DATA[n * 20 :]}") for n in range(40)
    ]
    texts += [("odd", "refused.py", f"# REFUSE\n{DATA}"), ("odd", "vague.py", f"# VAGUE\n{DATA}")]
    write_corpus(folder, texts)
    return folder


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("quality")
    with ScriptedTeacher(judged) as teacher:
        what = QualityScores(
            source=DocumentFolder(str(corpus(root / "corpus"))),
            teacher=teacher.settings(root / "calls"),
            sampling=SAMPLING,
            seeds=seeds(min_lines=3, max_lines=200, max_characters=6000, from_start=True),
        )
        return make(what, root / "sets")


@pytest.fixture(scope="module")
def scorer(scored: Path) -> Path:
    folder = scored.parent.parent / "scorer"
    quality_scorer(str(scored), str(folder), SETTINGS, heldout_share=0.25, threshold=6.0)
    return folder


def test_a_teacher_rates_the_beginnings_of_files_and_what_says_nothing_is_a_drop(
    scored: Path,
) -> None:
    found = documents(scored)
    assert {details(d)["score"] for d in found} == {"1", "6", "9"}
    assert all(details(d)["calls"][0]["template"] == "quality/code" for d in found)
    assert all(len(d.text) <= 6000 and d.text.count("\n") < 200 for d in found)
    table = next(d for d in found if d.path == "table3.py")
    assert table.text.startswith("# table 3\n")
    assert reasons(scored) == {"teacher_refusal": 1, "rating_unparsable": 1}


def test_the_scorer_agrees_with_its_teacher_on_repositories_that_it_never_saw(
    scorer: Path,
) -> None:
    agreement = json.loads((scorer / "agreement.json").read_text())["all"]
    counts = read_manifest(scorer)["counts"]
    assert agreement["files"] == counts["heldout"] > 20
    assert agreement["absolute_error"] < 0.6 * agreement["constant_error"]
    assert agreement["rank_correlation"] > 0.6
    assert agreement["precision"] > 0.9
    assert agreement["recall"] > 0.9


def test_the_same_scores_give_the_same_files(scored: Path, scorer: Path, tmp_path: Path) -> None:
    quality_scorer(str(scored), str(tmp_path / "again"), SETTINGS, 0.25, 6.0)
    assert read_manifest(tmp_path / "again")["fingerprint"] == read_manifest(scorer)["fingerprint"]


def test_other_settings_on_a_finished_scorer_are_refused(scored: Path, scorer: Path) -> None:
    with pytest.raises(InputError, match=r"threshold: there 6\.0, here 7\.0"):
        quality_scorer(str(scored), str(scorer), SETTINGS, 0.25, 7.0)


def cleaned(source: Path, output: Path, *bindings: str, more: tuple[str, ...] = ()) -> Path:
    configured = configuration.configure(
        refinecode.refinecode,
        gin_files=["refinecode/paper.gin", *more],
        bindings=[
            f"SOURCE_DIR = '{source}'",
            f"OUTPUT_DIR = '{output}'",
            "NUM_SHARDS = 2",
            *bindings,
        ],
    )
    configured()
    return output


def test_cleaning_drops_low_quality_only_where_it_is_asked_for(
    scorer: Path, tmp_path: Path
) -> None:
    repo = tmp_path / "source" / "repo"
    repo.mkdir(parents=True)
    for path in sorted(STDLIB.glob("*.py"))[:60]:
        (repo / path.name).write_bytes(path.read_bytes())
    (repo / "notes.md").write_text((STDLIB / "LICENSE.txt").read_text("utf-8", "replace"))
    plain = cleaned(tmp_path / "source", tmp_path / "plain")
    bindings = (f"QUALITY_SCORER = '{scorer}'", "MIN_QUALITY = 8.0")
    chosen = cleaned(
        tmp_path / "source",
        tmp_path / "chosen",
        *bindings,
        more=("refinecode/min_quality.gin",),
    )
    before = {d.path: d for d in documents(plain)}
    after = {d.path: d for d in documents(chosen)}
    gone = {d.path: d for d in drops(chosen) if d.reason == LOW_QUALITY}
    assert gone
    assert after
    assert {**before, **after}.keys() == {*after, *gone}
    model = Scorer.load(scorer)
    for path, drop in gone.items():
        score = model.score(before[path].text, "python")
        assert drop.value == pytest.approx(score, abs=1e-4)
        assert drop.value is not None
        assert drop.value < 8
        assert (drop.signal, drop.threshold) == (SIGNAL, "< 8")
    for path, document in after.items():
        signals = json.loads(document.signals)
        if document.doc_type == "code":
            assert signals.pop(SIGNAL) >= 8
        assert signals == json.loads(before[path].signals)
    statistics = json.loads((chosen / "statistics.json").read_text())
    assert statistics["totals"]["good"]["documents"] == len(after)
    assert statistics["dropped"][LOW_QUALITY] == len(gone)
    assert "good" not in json.loads((plain / "statistics.json").read_text())["totals"]
    # Another scorer is another corpus.
    assert "quality_scorer" in read_manifest(chosen)["inputs"]
    assert "quality_scorer" not in read_manifest(plain)["inputs"]


def test_a_folder_that_is_no_scorer_is_one_clear_error(scored: Path, tmp_path: Path) -> None:
    for folder, message in ((scored, "not by beam_pipelines.quality_scorer"), ("", "no such")):
        bindings = (f"QUALITY_SCORER = '{folder or tmp_path / 'nothing'}'",)
        (tmp_path / "source" / "repo").mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / "repo" / "table.py").write_text(DATA)
        with pytest.raises(InputError, match=message):
            cleaned(
                tmp_path / "source",
                tmp_path / "out",
                *bindings,
                more=("refinecode/min_quality.gin",),
            )


def example(number: int, score: float, language: str = "python") -> Scored:
    word = "good" if score > 5 else "bad"
    return Scored(f"{number:032x}", f"r{number}", language, f"{word} {word} code {number}\n", score)


def test_a_language_with_enough_files_has_a_model_of_its_own(tmp_path: Path) -> None:
    python = [example(n, 9 if n % 2 else 1) for n in range(120)]
    # In this language the words mean the opposite.
    lua = [example(n, 1 if n % 2 else 9, "lua") for n in range(200, 320)]
    swapped = [
        e._replace(text=e.text.replace("good", "x").replace("bad", "good").replace("x", "bad"))
        for e in lua
    ]
    few = [example(n, 9 if n % 2 else 1, "c") for n in range(400, 420)]
    train_scorer([*python, *swapped, *few], SETTINGS, tmp_path)
    scorer = Scorer.load(tmp_path)
    assert set(scorer.languages) == {"python", "lua"}
    assert scorer.score("good good code", "python") > 7 > 3 > scorer.score("bad bad", "python")
    assert scorer.score("good good code", "lua") < 3 < 7 < scorer.score("bad bad", "lua")
    assert json.loads((tmp_path / "scorer.json").read_text())["models"].keys() == {
        OTHERS,
        "python",
        "lua",
    }
    for odd in ("", "\n\n", "\0", "__label__9 __label__9", "\ud800 half", "漢字\u2028x"):
        assert 1 <= scorer.score(odd, "python") <= 9


def test_scores_that_teach_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to learn from"):
        train_scorer([example(n, 5) for n in range(10)], SETTINGS, tmp_path)


def test_agreement_is_what_it_says() -> None:
    found = measure_agreement([1, 5, 9, 9], [2, 6, 8, 5], median=5, threshold=6)
    assert found.absolute_error == pytest.approx(1.75)
    assert found.constant_error == pytest.approx(3.0)
    assert (found.good, found.precision, found.recall) == (0.5, 0.5, 0.5)
    wanted, said = np.array([1, 2, 3.5, 3.5]), np.array([1, 3, 4, 2])
    assert found.rank_correlation == pytest.approx(float(np.corrcoef(wanted, said)[0, 1]))
    flat = measure_agreement([1, 2], [5, 5], median=1, threshold=6)
    assert (flat.rank_correlation, flat.precision, flat.recall) == (None, None, None)
