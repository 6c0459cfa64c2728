"""The command on a crawl whose truth is known: what rounds find, and what they leave."""

import collections
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from beam_pipelines import accounting, web_recall
from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.formats.example import decode_example
from opencoder_jax.formats.manifest import ManifestError
from opencoder_jax.formats.shards import read_records
from tests.beam_pipelines.recall import crawl

# Each test is whole rounds of jobs.
pytestmark = pytest.mark.slow

_SETTINGS = (
    "NUM_SHARDS = 2",
    "LABELS = ('code',)",
    "SEED_PATTERNS = ()",
    "classifier.ClassifierSettings.vocabulary = 2000",
)
_TWO_PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")


@pytest.fixture(scope="module")
def planted() -> dict[str, list]:
    return crawl.planted()


@pytest.fixture(scope="module")
def crawled(planted, tmp_path_factory) -> Path:
    """A folder with `pages/` and `seeds.tsv`, which labels most of one site and some of another."""
    folder = tmp_path_factory.mktemp("crawl")
    crawl.write_pages(folder / "pages", (page for pages in planted.values() for page in pages))
    seeds = [(page.path, "code") for page in planted["seeds"][:40]]
    others = [(page.path, "none") for page in planted["law"][:10]]
    crawl.write_table(folder / "seeds.tsv", seeds + others)
    return folder


def bindings(crawled: Path, output: Path, *more: str) -> list[str]:
    return [
        *_SETTINGS,
        f"INPUT_DIR = ('{crawled / 'pages'}',)",
        f"SEED_TABLES = ('{crawled / 'seeds.tsv'}',)",
        f"OUTPUT_DIR = '{output}'",
        *more,
    ]


def run(crawled: Path, output: Path, *more: str, flags: tuple[str, ...] = ()) -> list[dict]:
    configured = configuration.configure(
        web_recall.web_recall,
        gin_files=["web_recall/demo.gin"],
        bindings=bindings(crawled, output, *more),
    )
    return configured(pipeline_args=flags)


def share(pages, found: set[str]) -> float:
    return sum(page.path in found for page in pages) / len(pages)


@pytest.fixture(scope="module")
def one_round(crawled, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("one") / "recall"
    run(crawled, output, "ROUNDS = 1")
    return output


@pytest.fixture(scope="module")
def three_rounds(crawled, tmp_path_factory) -> Path:
    """As a person would do it: annotate, call again."""
    output = tmp_path_factory.mktemp("three") / "recall"
    run(crawled, output)
    (output / "annotated-1.tsv").write_text(
        "pattern\tlabel\tnote\n%handbook.example.org%\tcode\tboth languages\n"
    )
    run(crawled, output)
    (output / "annotated-2.tsv").write_text("pattern\tlabel\tnote\n")
    run(crawled, output)
    return output


def test_a_pattern_finds_pages_of_its_kind_that_round_1_missed_on_other_sites(
    planted, three_rounds
):
    first, second = (crawl.recalled_urls(three_rounds, number) for number in (1, 2))
    assert share(planted["handbook"], first) > 0.8
    assert share(planted["handbook-zh"], first) < 0.1
    assert share(planted["elsewhere"], first) < 0.1
    # Nothing names this site, no page of it is a seed, and a few are among the others.
    assert share(planted["elsewhere"], second) > 0.5
    for unwanted in ("law", "kitchen"):
        assert share(planted[unwanted], first | second) < 0.1


def test_a_round_reports_what_the_patterns_added(planted, three_rounds):
    first, second, third = (web_recall.read_statistics(str(three_rounds), n) for n in (1, 2, 3))
    assert first["examples"]["code"] == {"seed": 40}
    added = second["examples"]["code"]["added"]
    assert 54 <= added <= len(planted["handbook-zh"]) + 4
    assert second["annotated_patterns"]["pages"] == 80
    assert (
        second["annotated_patterns"]["recalled"] > second["annotated_patterns"]["recalled_before"]
    )
    assert second["against_round_before"]["new_pages"] >= 60
    assert second["domains"]["new"] == 1
    # What round 2 learned from, round 3 learns from as well.
    assert third["examples"]["code"]["added"] >= added


def test_each_page_says_which_round_found_it_as_what_and_how_surely(three_rounds):
    found = {page.path: page.provenance for page in crawl.recalled(three_rounds, 2)}
    assert all(re.fullmatch(r"web-page/round-[12]/code/0\.[5-9]", text) for text in found.values())
    assert found["https://packages.example.org/p/1.html"].startswith("web-page/round-1/code/0.9")
    assert found["https://bbs.example.cn/thread/1.html"].startswith("web-page/round-2/code/")


def test_every_page_is_recalled_or_dropped_with_its_score(planted, one_round):
    folder = one_round / "round-1" / "recalled"
    drops = [accounting.decode_drop(r) for r in read_records(folder / "dropped", "dropped")]
    kept = crawl.recalled(one_round, 1)
    everything = {page.id for pages in planted.values() for page in pages}
    assert {drop.id for drop in drops} | {page.id for page in kept} == everything
    assert len(drops) + len(kept) == len(everything)
    assert all(drop.reason == "not_recalled" and 0 <= drop.value < 0.5 for drop in drops)
    counts = json.loads((folder / "manifest.json").read_text())["counts"]["documents"]
    assert counts == {
        "input": len(everything),
        "output": len(kept),
        "dropped": {"not_recalled": len(drops)},
    }


def test_a_domain_with_more_than_a_tenth_recalled_is_a_candidate(tmp_path, planted, crawled):
    """Two sites of forty pages, of which four and five are about programs."""
    english, law = crawl.english_code(), crawl.english_other()
    sites = {
        f"https://{count}of40.example/x/": english[60 : 60 + count] + law[100 : 140 - count]
        for count in (4, 5)
    }
    extra = [page for start, texts in sites.items() for page in crawl.pages(start, texts)]
    base = [page for pages in planted.values() for page in pages]
    crawl.write_pages(tmp_path / "pages", [*base, *extra])
    output = tmp_path / "recall"
    inputs = f"INPUT_DIR = ('{tmp_path / 'pages'}',)"
    run(crawled, output, inputs, "ROUNDS = 1", "web_recall.threshold = 0.5")
    folder = output / "round-1" / "recalled"
    domains = {
        features["domain"][0].decode(): (features["pages"][0], features["recalled"][0])
        for features in map(decode_example, read_records(folder / "domains", "domains"))
    }
    assert domains["4of40.example"] == (40, 4)
    assert domains["5of40.example"] == (40, 5)
    page = (folder / "review.html").read_text()
    assert "5of40.example" in page
    assert "4of40.example" not in page


def test_without_annotation_the_job_says_where_to_look_and_goes_on_later(
    crawled, one_round, capsys
):
    run(crawled, one_round, "ROUNDS = 3")
    said = capsys.readouterr().err
    assert f"{one_round}/round-1/recalled/review.html" in said
    assert f"{one_round}/annotated-1.tsv" in said
    assert not (one_round / "round-2").exists()


def test_suggestions_stand_in_for_a_person_where_that_is_asked_for(planted, crawled, tmp_path):
    output = tmp_path / "recall"
    reports = run(crawled, output, "ROUNDS = 2", "web_recall.accept_suggested = True")
    assert len(reports) == 2
    suggested = (output / "round-1" / "recalled" / "suggested.tsv").read_text()
    assert suggested.startswith("pattern\tlabel\tnote\n")


def written(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("timing.json", "config.gin")
    }


@pytest.mark.slow
def test_pages_without_an_address_suggest_no_patterns(planted, tmp_path):
    pages = [
        dataclasses.replace(page, repo="my pages.jsonl", path=f"line at byte {number}")
        for number, page in enumerate([*planted["seeds"], *planted["handbook"], *planted["law"]])
    ]
    crawl.write_pages(tmp_path / "pages", pages)
    seeds = [(page.id, "code") for page in planted["seeds"][::2]]
    crawl.write_table(tmp_path / "seeds.tsv", seeds, column="id")
    settings = ("ROUNDS = 2", "web_recall.accept_suggested = True")
    reports = run(tmp_path, tmp_path / "recall", *settings)
    assert [report["domains"]["candidates"] for report in reports] == [1, 1]
    suggested = (tmp_path / "recall/round-1/recalled/suggested.tsv").read_text()
    assert suggested == "pattern\tlabel\tnote\n"


@pytest.mark.slow
def test_two_processes_leave_the_same_bytes(crawled, one_round, tmp_path):
    output = tmp_path / "recall"
    run(crawled, output, "ROUNDS = 1", flags=_TWO_PROCESSES)
    assert written(output) == written(one_round)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [6, 9])
def test_a_killed_job_goes_on_and_leaves_the_same_bytes(crawled, three_rounds, tmp_path, seconds):
    output = tmp_path / "recall"
    output.mkdir()
    for number in (1, 2):
        name = f"annotated-{number}.tsv"
        (output / name).write_bytes((three_rounds / name).read_bytes())
    command = [
        sys.executable,
        *("-m", "beam_pipelines.web_recall"),
        *(f"--gin.{binding}" for binding in bindings(crawled, output)),
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(web_recall.__file__).parent.parent)}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    run(crawled, output)
    assert written(output) == written(three_rounds)


def test_a_finished_step_is_not_done_again(crawled, one_round):
    before = (one_round / "round-1/recalled/manifest.json").stat().st_mtime_ns
    run(crawled, one_round, "ROUNDS = 1")
    assert (one_round / "round-1/recalled/manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("web_recall.threshold = 0.9", "threshold: there 0.5, here 0.9"),
        ("labels.SeedSettings.most = 3", "seeds: there"),
        ("domains.DomainSettings.share = 0.5", "domains: there"),
        ("NUM_SHARDS = 3", "num_shards: there 2, here 3"),
    ],
)
def test_other_settings_are_refused(crawled, one_round, change, message):
    with pytest.raises(ManifestError, match=re.escape(message)):
        run(crawled, one_round, "ROUNDS = 1", change)


def test_another_annotation_is_refused_by_the_round_that_has_used_one(crawled, three_rounds):
    table = three_rounds / "annotated-1.tsv"
    before = table.read_bytes()
    table.write_text("pattern\tlabel\tnote\n%law.example.com%\tcode\t\n")
    try:
        with pytest.raises(ManifestError, match=r"round-2.*\n.*input annotated-1\.tsv"):
            run(crawled, three_rounds)
    finally:
        table.write_bytes(before)


def test_held_out_pages_are_learned_from_by_nobody_and_measure_each_round(
    planted, crawled, tmp_path
):
    truth = [
        (page.path, "code" if kind in ("seeds", "handbook") else "none")
        for kind in ("seeds", "handbook", "law", "kitchen")
        for page in planted[kind][:20]
    ]
    table = crawl.write_table(tmp_path / "truth.tsv", truth)
    (report,) = run(crawled, tmp_path / "recall", "ROUNDS = 1", f"HELD_OUT = ('{table}',)")
    assert report["examples"]["code"] == {"seed": 20}
    quality = report["labelled"]
    assert quality["pages"] == 80
    found = crawl.recalled_urls(tmp_path / "recall", 1)
    right = sum(url in found for url, label in truth if label == "code")
    wrong = sum(url in found for url, label in truth if label == "none")
    assert quality["wanted"]["recall"] == right / 40
    assert quality["wanted"]["precision"] == right / (right + wrong)


def test_pages_without_text_and_of_other_languages_are_accounted_for(planted, crawled, tmp_path):
    empty = crawl.pages("https://empty.example/", ["", "  \n\t", "12 345 678"])
    base = [page for pages in planted.values() for page in pages]
    crawl.write_pages(tmp_path / "pages", [*base, *empty])
    (report,) = run(
        crawled,
        tmp_path / "recall",
        f"INPUT_DIR = ('{tmp_path / 'pages'}',)",
        "ROUNDS = 1",
        "web_recall.languages = ('en',)",
    )
    chinese = sum(len(planted[kind]) for kind in ("handbook-zh", "elsewhere", "kitchen"))
    assert report["dropped"]["other_language"] >= chinese
    assert report["recalled"]["pages"] + sum(report["dropped"].values()) == report["pages"]
    (whole,) = run(
        crawled,
        tmp_path / "whole",
        f"INPUT_DIR = ('{tmp_path / 'pages'}',)",
        "ROUNDS = 1",
    )
    assert whole["dropped"]["no_text"] == 3


def test_a_label_keeps_a_page_whatever_its_score_where_that_is_asked_for(
    planted, crawled, tmp_path
):
    table = crawl.write_table(
        tmp_path / "more.tsv", [(page.path, "code") for page in planted["kitchen"][:1]]
    )
    tables = f"SEED_TABLES = ('{crawled / 'seeds.tsv'}', '{table}')"
    run(
        crawled, tmp_path / "recall", tables, "ROUNDS = 1", "labels.SeedSettings.kept_anyway = True"
    )
    assert planted["kitchen"][0].path in crawl.recalled_urls(tmp_path / "recall", 1)


def test_no_seed_among_the_pages_is_one_clear_error(crawled, tmp_path):
    table = crawl.write_table(tmp_path / "seeds.tsv", [("https://nowhere.example/", "code")])
    with pytest.raises(InputError, match="none of 512 pages is a seed for code"):
        run(crawled, tmp_path / "recall", f"SEED_TABLES = ('{table}',)")


def test_one_kind_of_page_is_one_clear_error(planted, tmp_path, crawled):
    """Every page is a seed: there is nothing to tell seeds from."""
    crawl.write_pages(tmp_path / "pages", planted["seeds"])
    table = crawl.write_table(
        tmp_path / "seeds.tsv", [(page.path, "code") for page in planted["seeds"]]
    )
    with pytest.raises(
        InputError, match="needs pages of two kinds to learn from, found 60 of code"
    ):
        run(
            crawled,
            tmp_path / "recall",
            f"SEED_TABLES = ('{table}',)",
            f"INPUT_DIR = ('{tmp_path / 'pages'}',)",
        )


def test_a_wanted_label_without_seeds_is_not_recalled(crawled, tmp_path):
    (report,) = run(crawled, tmp_path / "recall", "LABELS = ('code', 'math')", "ROUNDS = 1")
    assert report["recalled"]["labels"]["math"]["pages"] == 0
    assert report["recalled"]["labels"]["code"]["pages"] > 0


def test_a_broken_annotation_is_one_line_with_the_place(crawled, one_round, capsys):
    table = one_round / "annotated-1.tsv"
    table.write_text("pattern\tlabel\tnote\n%a.example%\tcode\t\n%b.example%\tcodes\t\n")
    try:
        with pytest.raises(InputError, match=r"annotated-1\.tsv, line 3: label 'codes' is unknown"):
            run(crawled, one_round)
    finally:
        table.unlink()


def test_text_files_of_repositories_are_kept_by_name_or_by_what_they_say(tmp_path):
    """A corpus of two kinds of text and of code, as `refinecode` leaves it."""
    code, other = crawl.english_code(), crawl.english_other()

    def files(kind: str, doc_type: str, texts: list[str]) -> list:
        return [
            dataclasses.replace(
                crawl.page(f"https://host/{kind}/{number}", text),
                path=f"{kind}-{number}/{kind}.txt",
                repo=f"repository-{number}",
                doc_type=doc_type,
            )
            for number, text in enumerate(texts)
        ]

    crawl.write_pages(
        tmp_path / "corpus",
        [
            *files("README", "text", code[:50]),
            *files("guide", "text", code[50:70]),
            *files("terms", "text", other[:250]),
            *files("todo", "text", other[250:252]),
            *files("module", "code", ["import os\n"] * 5),
        ],
    )
    configured = configuration.configure(
        web_recall.web_recall,
        gin_files=["web_recall/github_text.gin"],
        bindings=[
            "NUM_SHARDS = 2",
            "classifier.ClassifierSettings.vocabulary = 2000",
            f"INPUT_DIR = '{tmp_path / 'corpus'}'",
            f"OUTPUT_DIR = '{tmp_path / 'texts'}'",
        ],
    )
    (report,) = configured()
    kept = collections.Counter(
        document.path.rpartition("/")[2] for document in crawl.recalled(tmp_path / "texts", 1)
    )
    assert report["pages"] == 322
    assert kept["README.txt"] == 50
    assert kept["todo.txt"] == 2
    assert kept["guide.txt"] >= 10
    assert kept["terms.txt"] <= 25
    assert "module.txt" not in kept
