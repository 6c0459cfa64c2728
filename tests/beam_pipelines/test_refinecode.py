"""The cleaning job: every file accounted for, the same result however it is run."""

import collections
import contextlib
import dataclasses
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow.parquet
import pytest

from beam_pipelines import refinecode
from beam_pipelines.accounting import Drop, decode_drop
from beam_pipelines.corpus import STATISTICS_NAME
from beam_pipelines.sources.entry import RawFile
from beam_pipelines.sources.folder import Folder
from beam_pipelines.transforms.quality import RULE, SIGNAL_ERROR, violated_rules
from beam_pipelines.transforms.sample import Budget
from opencoder_jax import configuration
from opencoder_jax.evaluation.humaneval_problems import load_problems
from opencoder_jax.formats.document import Document, decode_document
from opencoder_jax.formats.judged import decode_judged
from opencoder_jax.formats.manifest import ManifestError, read_manifest
from opencoder_jax.formats.shards import read_records
from tests.beam_pipelines.bad_files import KEPT, make_repositories

GIN_FILES = ["refinecode/paper.gin"]


def clean(folder: Path, output: Path, *pipeline_args: str, **changes: Any) -> None:
    """The command with the paper's configuration on a folder, in this process."""
    configured = configuration.configure(
        refinecode.refinecode,
        gin_files=GIN_FILES,
        bindings=[f"SOURCE_DIR = '{folder}'", f"OUTPUT_DIR = '{output}'", "NUM_SHARDS = 3"],
    )
    configured(pipeline_args=pipeline_args, **changes)


def documents_of(corpus: Path) -> list[Document]:
    return [decode_document(record) for record in read_records(corpus, "documents")]


def drops_of(corpus: Path) -> list[Drop]:
    return [decode_drop(record) for record in read_records(corpus / "dropped", "dropped")]


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repositories")
    make_repositories(root)
    return root


@pytest.fixture(scope="module")
def corpus(repositories: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run") / "corpus"
    clean(repositories, output)
    return output


def test_every_file_is_a_document_or_a_drop_with_its_reason(corpus: Path, tmp_path: Path) -> None:
    found = {(d.repo, d.path): KEPT for d in documents_of(corpus)}
    found |= {(d.repo, d.path): d.reason for d in drops_of(corpus)}
    expected = make_repositories(tmp_path)
    duplicates = {"exact_duplicate", "near_duplicate"}
    copies = {key for key, reason in expected.items() if reason in duplicates}
    # Which of two copies stays is the smallest id's luck.
    originals = {("good", path) for path in ("textwrap.py", "bisect.py", "heapq.py")}
    for key in expected.keys() - copies - originals:
        assert found[key] == expected[key], key
    assert found.keys() == expected.keys()
    for reason, number in (("exact_duplicate", 2), ("near_duplicate", 1)):
        assert sum(found[key] == reason for key in copies | originals) == number


def test_input_equals_output_plus_drops(corpus: Path, tmp_path: Path) -> None:
    counts = read_manifest(corpus)["counts"]["documents"]
    documents, drops = documents_of(corpus), drops_of(corpus)
    assert counts["input"] == len(make_repositories(tmp_path))
    assert counts["output"] == len(documents)
    assert counts["dropped"] == dict(collections.Counter(drop.reason for drop in drops))
    assert counts["input"] == counts["output"] + len(drops)
    assert len({record.id for record in itertools.chain(documents, drops)}) == counts["input"]


def test_documents_carry_what_later_stages_need(corpus: Path) -> None:
    for document in documents_of(corpus):
        assert document.language == "python"
        assert json.loads(document.signals)["qsc_code_num_words"] >= 30
        assert document.duplicate_cluster
        assert len(document.content_sha256) == 64


def test_a_duplicate_names_the_document_that_stays(corpus: Path) -> None:
    ids = {document.id for document in documents_of(corpus)}
    drops = {drop.reason: drop for drop in drops_of(corpus)}
    assert drops["exact_duplicate"].detail in ids
    assert drops["near_duplicate"].detail in ids
    assert drops["near_duplicate"].value is not None
    assert 0.97 < drops["near_duplicate"].value < 1


def test_a_drop_by_a_rule_tells_the_value_and_the_threshold(corpus: Path) -> None:
    (drop,) = (drop for drop in drops_of(corpus) if drop.path == "short.py")
    assert (drop.signal, drop.threshold, drop.value) == ("qsc_code_num_words", "< 30", 24)
    assert drop.sample == "import os\n" * 12
    assert drop.signal in json.loads(drop.detail)["rules"]


def test_every_judged_document_has_a_record_of_its_signals(corpus: Path) -> None:
    records = {r.id: r for r in map(decode_judged, read_records(corpus / "signals", "signals"))}
    kept = {document.id: document for document in documents_of(corpus)}
    dropped = {drop.id: drop for drop in drops_of(corpus) if drop.reason in (RULE, SIGNAL_ERROR)}
    assert records.keys() == kept.keys() | dropped.keys()
    for id_, document in kept.items():
        assert (records[id_].kept, records[id_].signals) == (True, document.signals)
        assert records[id_].size_bytes == len(document.text.encode())
    for id_, drop in dropped.items():
        assert not records[id_].kept
        assert [v["signal"] for v in records[id_].violated()] == violated_rules(drop)


def test_statistics_tell_what_each_rule_alone_dropped_with_samples(corpus: Path) -> None:
    statistics = json.loads((corpus / STATISTICS_NAME).read_text())
    lists = [violated_rules(drop) for drop in drops_of(corpus) if drop.reason == RULE]
    for rule, counts in statistics["rules"].items():
        assert counts["hits"] == sum(rule in rules for rules in lists)
        assert counts["sole"] == sum(rules == [rule] for rules in lists)
        samples = statistics["samples"].get(f"sole: {rule}", [])
        assert len(samples) == min(counts["sole"], 3)
        assert all(json.loads(sample["detail"])["rules"] == [rule] for sample in samples)
    tables = statistics["tables"]
    judged = sum(table["documents"] for table in tables.values())
    assert judged == len(documents_of(corpus)) + len(lists)
    assert tables["python"]["rules"]["qsc_code_num_words"]["text"] == "< 30"


def test_the_statistics_are_those_of_the_records(corpus: Path) -> None:
    statistics = json.loads((corpus / STATISTICS_NAME).read_text())
    documents, drops = documents_of(corpus), drops_of(corpus)
    kept = statistics["totals"]["kept"]
    assert kept["documents"] == len(documents)
    assert kept["bytes"] == sum(len(document.text.encode()) for document in documents)
    assert statistics["totals"]["listed"]["documents"] == len(documents) + len(drops)
    for stage in statistics["stages"]:
        rows = [row[stage] for row in statistics["languages"].values() if stage in row]
        assert sum(row["documents"] for row in rows) == statistics["totals"][stage]["documents"]
    assert statistics["dropped"] == dict(collections.Counter(drop.reason for drop in drops))
    by_rule = [drop for drop in drops if drop.reason == "rule"]
    assert sum(rule["first"] for rule in statistics["rules"].values()) == len(by_rule)
    alone = [drop for drop in by_rule if len(json.loads(drop.detail)["rules"]) == 1]
    assert sum(rule["sole"] for rule in statistics["rules"].values()) == len(alone)
    assert {"empty", "binary", "rule: qsc_code_num_words"} <= statistics["samples"].keys()
    (cluster,) = statistics["clusters"]
    assert {member["path"] for member in cluster["members"]} == {"heapq.py", "nearly.py"}


@dataclasses.dataclass(frozen=True)
class Shuffled(Folder):
    """The same files in another order."""

    def read(self, pipeline: beam.Pipeline, max_file_bytes: int) -> beam.PCollection[RawFile]:
        return (
            super().read(pipeline, max_file_bytes)
            | "Together" >> beam.combiners.ToList()
            | "Shuffle" >> beam.FlatMap(_shuffled).with_output_types(RawFile)
        )


def _shuffled(files: list[RawFile]) -> list[RawFile]:
    return random.Random(1).sample(files, len(files))


@pytest.mark.slow
@pytest.mark.parametrize(
    "pipeline_args",
    [
        ("--direct_running_mode=multi_processing", "--direct_num_workers=2"),
        ("--runner=BundleBasedDirectRunner",),
    ],
)
def test_order_workers_and_runner_do_not_show_in_the_result(
    corpus: Path, repositories: Path, tmp_path: Path, pipeline_args: tuple[str, ...]
) -> None:
    clean(repositories, tmp_path, *pipeline_args, source=Shuffled(str(repositories)))
    assert (tmp_path / "manifest.json").read_bytes() == (corpus / "manifest.json").read_bytes()


def test_a_finished_folder_is_left_alone(
    corpus: Path, repositories: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    clean(repositories, corpus)
    assert "nothing to do" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before


def test_another_configuration_is_refused_with_what_differs(
    corpus: Path, repositories: Path
) -> None:
    with pytest.raises(ManifestError, match="max_file_bytes: there 8000000, here 9"):
        clean(repositories, corpus, max_file_bytes=9)


def test_an_edited_file_is_another_input(corpus: Path, repositories: Path, tmp_path: Path) -> None:
    edited = tmp_path / "edited"
    make_repositories(edited)
    path = edited / "good" / "heapq.py"
    path.write_text(path.read_text().replace("heap", "hoop"))
    with pytest.raises(ManifestError, match="input source"):
        clean(edited, corpus)


@dataclasses.dataclass(frozen=True)
class Twice(Folder):
    """Every file is handed over twice."""

    def read(self, pipeline: beam.Pipeline, max_file_bytes: int) -> beam.PCollection[RawFile]:
        once = super().read(pipeline, max_file_bytes)
        return once | "Twice" >> beam.FlatMap(lambda file: [file, file]).with_output_types(RawFile)


def test_a_file_that_is_listed_twice_is_one_document_and_accounted_for(
    corpus: Path, repositories: Path, tmp_path: Path
) -> None:
    clean(repositories, tmp_path, source=Twice(str(repositories)))
    assert documents_of(tmp_path) == documents_of(corpus)
    once, twice = (read_manifest(path)["counts"]["documents"] for path in (corpus, tmp_path))
    assert twice["input"] == 2 * once["input"]
    read = json.loads((corpus / STATISTICS_NAME).read_text())["totals"]["read"]
    assert twice["dropped"]["duplicate_id"] == read["documents"]


def test_options_choose_sample_and_write_parquet(repositories: Path, tmp_path: Path) -> None:
    """All of them at once: what they leave out is accounted for, under names of their own."""
    clean(
        repositories,
        tmp_path / "starred",
        min_stars=0,
        allowed_licences=["unknown"],
        sample={"python": Budget(fraction=0.5)},
        parquet=True,
    )
    folder = tmp_path / "starred"
    statistics = json.loads((folder / STATISTICS_NAME).read_text())
    assert statistics["stages"] == [
        *("listed", "read", "starred", "licensed", "exact_dedup", "near_dedup"),
        *("repaired", "kept", "sampled"),
    ]
    kept, sampled = (statistics["totals"][stage]["documents"] for stage in ("kept", "sampled"))
    assert 0 < sampled < kept
    assert statistics["dropped"]["sampled_out"] == kept - sampled
    files = sorted((folder / "parquet").glob("documents-*"))
    rows = [row for file in files for row in pyarrow.parquet.read_table(file).to_pylist()]
    assert [Document(**row) for row in rows] == documents_of(folder)
    names = read_manifest(folder)["files"]
    assert {f"parquet/{file.name}" for file in files} <= names.keys()


def test_documents_with_a_benchmarks_problem_are_dropped_where_that_is_asked_for(
    tmp_path: Path,
) -> None:
    copied = (Path(os.__file__).parent / "shlex.py").read_text()
    name = load_problems()[10].entry_point
    planted = tmp_path / "repositories"
    (planted / "good").mkdir(parents=True)
    (planted / "good" / "mine.py").write_text(
        (Path(os.__file__).parent / "textwrap.py").read_text()
    )
    (planted / "good" / "copied.py").write_text(f"{copied}\n\ndef {name}(x):\n    return x\n")
    clean(planted, tmp_path / "as_it_is")
    clean(planted, tmp_path / "clean", decontaminate=True)
    before, after = (documents_of(tmp_path / folder) for folder in ("as_it_is", "clean"))
    assert {d.path for d in before} - {d.path for d in after} == {"copied.py"}
    statistics = json.loads((tmp_path / "clean" / STATISTICS_NAME).read_text())
    assert statistics["stages"][-2:] == ["decontaminated", "sampled"]
    assert statistics["dropped"]["benchmark_entry_point"] == 1
    (sample,) = statistics["samples"]["benchmark_entry_point"]
    assert sample["detail"] == f"humaneval HumanEval/10: {name}"
    manifest = read_manifest(tmp_path / "clean")
    assert manifest["counts"]["dropped_for_benchmark"] == {"humaneval": 1}
    assert "benchmark humaneval" in manifest["inputs"]
    assert "dropped_for_benchmark" not in read_manifest(tmp_path / "as_it_is")["counts"]


def test_a_star_filter_leaves_out_before_anything_else_sees_it(
    repositories: Path, tmp_path: Path
) -> None:
    clean(repositories, tmp_path, min_stars=1)
    statistics = json.loads((tmp_path / STATISTICS_NAME).read_text())
    read = statistics["totals"]["read"]["documents"]
    assert statistics["dropped"]["too_few_stars"] == read
    assert statistics["totals"]["exact_dedup"]["documents"] == 0
    assert documents_of(tmp_path) == []


def test_licence_headers_and_personal_data_are_replaced_and_counted(tmp_path: Path) -> None:
    source = tmp_path / "repositories" / "acme"
    source.mkdir(parents=True)
    body = (Path(os.__file__).parent / "sched.py").read_text()
    notice = "# Copyright 2020 Acme\n# Licensed under the MIT License\n\n"
    (source / "a.py").write_text(f"{notice}{body}\nAUTHOR = 'jane@acme.org', '93.184.216.34'\n")
    clean(source.parent, tmp_path / "corpus")
    (document,) = documents_of(tmp_path / "corpus")
    assert document.text == f"{body}\nAUTHOR = '<email>', '<ip>'\n"
    statistics = json.loads((tmp_path / "corpus" / STATISTICS_NAME).read_text())
    once = {"documents": 1, "replacements": 1}
    assert statistics["replaced"] == {"licence_header": once, "<email>": once, "<ip>": once}


def killed_when(command: list[str], happened: Iterator[bool]) -> None:
    """Runs a command and kills it as soon as something happened."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if next(happened):
            process.send_signal(signal.SIGKILL)
        time.sleep(0.02)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_a_job_killed_while_it_writes_is_done_again_with_the_same_result(
    corpus: Path, repositories: Path, tmp_path: Path
) -> None:
    output = tmp_path / "corpus"
    command = [sys.executable, "-m", "beam_pipelines.refinecode", f"--gin_file={GIN_FILES[0]}"]
    command += [f"--gin.SOURCE_DIR={repositories}", f"--gin.OUTPUT_DIR={output}"]
    command += ["--gin.NUM_SHARDS=3"]
    work = output / ".incomplete"
    killed_when(command, (any(work.rglob("*.arrayrecord*")) for _ in itertools.count()))
    assert not (output / "manifest.json").exists()
    assert not list(output.glob("documents-*"))
    subprocess.run(command, check=True, capture_output=True)
    assert (output / "manifest.json").read_bytes() == (corpus / "manifest.json").read_bytes()
    assert not work.exists()
    shutil.rmtree(output)


def worker_processes(group: int) -> list[int]:
    """Ids of the Beam workers, their shells left out, of a process group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            is_worker = b"apache_beam.runners.worker.sdk_worker_main" in words
            if is_worker and os.getpgid(int(folder.name)) == group:
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_worker_killed_while_it_writes_leaves_nothing_visible_and_the_next_run_all(
    corpus: Path, repositories: Path, tmp_path: Path
) -> None:
    output = tmp_path / "corpus"
    command = [sys.executable, "-m", "beam_pipelines.refinecode", f"--gin_file={GIN_FILES[0]}"]
    command += [f"--gin.SOURCE_DIR={repositories}", f"--gin.OUTPUT_DIR={output}"]
    command += ["--gin.NUM_SHARDS=3"]
    several = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    job = subprocess.Popen(
        [*command, *several],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not any((output / ".incomplete").rglob("*.arrayrecord*")):
            assert job.poll() is None, "the job ended before it wrote anything"
            time.sleep(0.02)
        os.kill(worker_processes(job.pid)[0], signal.SIGKILL)
        assert job.wait(timeout=120) != 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
    assert [path.name for path in output.iterdir()] == [".incomplete"]
    subprocess.run(command, check=True, capture_output=True)
    assert (output / "manifest.json").read_bytes() == (corpus / "manifest.json").read_bytes()
    assert not (output / ".incomplete").exists()


def test_the_command_says_in_one_line_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--gin_file=refinecode/paper.gin", f"--gin.OUTPUT_DIR={tmp_path}"]
    missing = f"--gin.SOURCE_DIR={tmp_path / 'nowhere'}"

    def error_of(*extra: str) -> str:
        status = configuration.main(
            refinecode.refinecode, [*flags, *extra], pass_through="pipeline_args"
        )
        assert status == 2
        return capsys.readouterr().err

    assert "nowhere: No such file" in error_of(missing)
    assert "--num_wokers" in error_of(missing, "--num_wokers=2")
    assert "permutations is 7" in error_of(
        f"--gin.SOURCE_DIR={configuration.CONFIG_FOLDER}", "--gin.refinecode.permutations=7"
    )
