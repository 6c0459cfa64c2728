"""Asks a teacher which pages are seeds of web recall: a table for `web_recall`'s SEED_TABLES.

    python -m beam_pipelines.web_seeds --gin.INPUT_DIR=PAGES --gin.OUTPUT_DIR=SEEDS \
      --teacher_url=http://localhost:8000/v1 --teacher_model=NAME --teacher_cache_dir=CALLS

The paper's 500,000 seeds are chosen by Autonomous Data Selection: a strong language model judges
pages without examples or human labels (§2.1.2). A hash sample of the pages is judged; who gets
YES twice is a seed, who gets NO twice is none, and whoever is in between, or was not answered,
is a drop with its reason. docs/web_recall.md explains, docs/teacher.md has the teacher.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines import accounting, output, runner, sinks, stores, ticks
from beam_pipelines.accounting import Drop, drop_document
from beam_pipelines.recall.labels import NONE, several
from beam_pipelines.recall.pages import ReadPages, pages_fingerprints
from beam_pipelines.teacher import estimate, usage
from beam_pipelines.teacher.ask import Ask
from beam_pipelines.teacher.prompt import Answered, Prompt, Sampling
from beam_pipelines.teacher.settings import Teacher
from beam_pipelines.teacher.templates import load_template
from opencoder_jax import configuration
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats.document import Document
from opencoder_jax.formats.manifest import write_json, write_manifest
from opencoder_jax.formats.split import hash_fraction
from opencoder_jax.timing import timed

JOB = "web_seeds"
TEMPLATE = "web_seeds/page"
SEEDS, USAGE = "seeds.tsv", "teacher.json"
UNDECIDED, UNREADABLE = "undecided", "unreadable_answer"
_DROPPED = "dropped"
_COUNTS, _SHARDS = "counts.json", "shards.json"
_ANSWER = re.compile(r"^\W*([12])\W+(yes|no)\b", re.IGNORECASE | re.MULTILINE)


def web_seeds(
    input_dirs: str | Sequence[str],
    output_dir: str,
    teacher: Teacher,
    sampling: Sampling,
    label: str,
    subject: str,
    share: float,
    characters: int,
    dry_run: bool = False,
    pipeline_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Judges a sample of pages; writes those that are seeds and those that are none.

    Args:
      input_dirs: finished folders (or one) with `documents-*`: one page a document.
      output_dir: gets `seeds.tsv` (columns id, url, label), `dropped/`, `manifest.json`, and
        `teacher.json`: calls, tokens and cost.
      teacher: who is asked.
      sampling: of its answers.
      label: that seeds get; the others get `none`.
      subject: what pages are to be about, in words.
      share: of the pages that are judged, chosen by hash.
      characters: of a page that the teacher reads, from its beginning.
      dry_run: ask nothing and write nothing; print the calls, tokens and cost.
      pipeline_args: Beam's own flags.

    Returns:
      The manifest; empty after a dry run.

    Raises:
      InputError: pages are missing, the output was made with other settings, or the teacher
        stopped the job.
    """
    require_at_least(1, characters=characters)
    if not 0 < share <= 1:
        raise InputError(f"share is {share}, expected 0 < share <= 1")
    if label == NONE or not label.isidentifier():
        raise InputError(f"label is {label!r}, expected a plain word other than {NONE!r}")
    folders = several(input_dirs)
    pipeline = runner.pipeline(pipeline_args)
    template = load_template(TEMPLATE)
    identity: dict[str, Any] = {
        "job": JOB,
        "config": configuration.canonical(
            {
                "teacher": teacher.identity(),
                "sampling": sampling,
                "template": template.sha256,
                "label": label,
                "subject": subject,
                "share": share,
                "characters": characters,
            }
        ),
        "inputs": pages_fingerprints(folders),
    }
    word = _Word(sampling, subject, characters)
    if dry_run:
        foretold = estimate.foretelling(teacher)
        with pipeline:
            _ask(pipeline, folders, share, foretold, word)
        print(estimate.report(foretold, estimate.collect(pipeline.result, foretold)))
        return {}
    manifest = output.already_done(output_dir, **identity)
    if manifest is not None:
        print(f"{output_dir} is finished: nothing to do", file=sys.stderr)
        return manifest
    runner.require_shared_folders(pipeline, output_dir=output_dir)
    with output.working_folder(output_dir) as work:
        stages = [ticks.Stage("asked", "judge pages", None)]
        with timed(work.local), ticks.shown(stages, "pages") as ticking, pipeline:
            asked = _ask(pipeline, folders, share, teacher, word)
            judged = (
                asked["answered"]
                | "Tick" >> ticks.Tick(ticking, "asked")
                | "Judge" >> beam.ParDo(_Judge(), label).with_outputs(_DROPPED, main="kept")
            )
            _write(work, asked, judged)
        told = usage.collect(pipeline.result, teacher)
        counts = json.loads(work.take(_COUNTS))
        shards = json.loads(work.take(_SHARDS))
        reasons = {r: n for s in shards.values() for r, n in s["kinds"].items()}
        labels = {name: counts.get(f"label {name}", 0) for name in (label, NONE)}
        account = accounting.conservation(counts["asked"], sum(labels.values()), reasons)
        files = {name: shard["sha256"] for name, shard in shards.items()}
        files[SEEDS] = hashlib.sha256(work.read(SEEDS)).hexdigest()
        write_json(work.local / USAGE, told)
        configuration.write_config_gin(work.local)
        manifest = write_manifest(
            work.local, counts={"pages": account, "labels": labels}, files=files, **identity
        )
    print(usage.summary_line(told))
    print(f"{output_dir}/{SEEDS}: {labels[label]} {label}, {labels[NONE]} {NONE}")
    return manifest


def _ask(
    pipeline: beam.Pipeline,
    folders: Sequence[str],
    share: float,
    teacher: Teacher,
    word: "_Word",
) -> dict[str, Any]:
    pages = (
        pipeline
        | "Pages" >> ReadPages(folders)
        | "Sample"
        >> beam.Filter(lambda page: hash_fraction("web_seeds", page.id) < share).with_output_types(
            Document
        )
    )
    asked = pages | "Ask" >> Ask(teacher, word, _drop, "judge pages")
    return {"pages": pages, "answered": asked.kept, "dropped": asked.dropped}


def _write(work: output.Work, asked: dict[str, Any], judged: Any) -> None:
    dropped = (
        (asked["dropped"], judged[_DROPPED])
        | "Drops" >> beam.Flatten()
        | "WriteDropped"
        >> sinks.WriteShards(
            work.place("dropped"),
            "dropped",
            1,
            accounting.encode_drop,
            key=lambda drop: drop.id,
            kind=accounting.drop_reason,
        )
    )
    _ = (
        dropped
        | "NameFiles" >> beam.Map(_named, work.folder)
        | "WriteShardList" >> sinks.WriteJson(work.place(_SHARDS))
    )
    _ = (
        judged.kept
        | "List" >> beam.combiners.ToList()
        | "WriteTable" >> beam.Map(_write_table, work.place(SEEDS))
    )
    counts = (
        judged.kept | "CountLabels" >> beam.Map(lambda row: (f"label {row[2]}", 1)),
        asked["pages"] | "CountPages" >> beam.Map(lambda _: ("asked", 1)),
        asked["pages"].pipeline | "None" >> beam.Create([("asked", 0)]),
    )
    _ = (
        counts
        | "Counts" >> beam.Flatten().with_output_types(tuple[str, int])
        | "Sum" >> beam.CombinePerKey(sum)
        | "WriteCounts" >> sinks.WriteJson(work.place(_COUNTS))
    )


class _Word:
    """A page to its prompt."""

    def __init__(self, sampling: Sampling, subject: str, characters: int) -> None:
        self._sampling = sampling
        self._subject = subject
        self._characters = characters

    def __call__(self, page: Document) -> Prompt:
        text = page.text[: self._characters]
        messages = load_template(TEMPLATE).fill(text=text, subject=self._subject)
        return Prompt(TEMPLATE, messages, self._sampling)


class _Judge(beam.DoFn):
    def process(self, answered: Answered, label: str) -> Iterator[Any]:
        page, answer = answered.element, answered.answer.text
        says = verdict(answer)
        if says is None:
            yield TaggedOutput(_DROPPED, _drop(page, UNREADABLE, answer[:200]))
        elif says == (True, True):
            yield page.id, page.path, label
        elif says == (False, False):
            yield page.id, page.path, NONE
        else:
            yield TaggedOutput(_DROPPED, _drop(page, UNDECIDED, answer[:200]))


def verdict(answer: str) -> tuple[bool, bool] | None:
    """What an answer says to both questions; None where it does not say it."""
    found = {number: word.lower() == "yes" for number, word in _ANSWER.findall(answer)}
    return (found["1"], found["2"]) if found.keys() == {"1", "2"} else None


def _drop(page: Document, reason: str, detail: str) -> Drop:
    return drop_document(page, reason, detail=detail)


def _write_table(rows: Iterable[tuple[str, str, str]], place: str) -> None:
    lines = ["\t".join(" ".join(field.split()) for field in row) for row in sorted(rows)]
    content = "\n".join(["id\turl\tlabel", *lines, ""])
    if stores.is_remote(place):
        stores.write(place, content.encode("utf-8"))
    else:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).write_text(content, encoding="utf-8")


def _named(shard: sinks.Shard, folder: str) -> tuple[str, dict[str, Any]]:
    place, digest, records, kinds = shard
    name = place.removeprefix(f"{folder}/")
    return name, {"sha256": digest, "records": records, "kinds": kinds}


if __name__ == "__main__":
    sys.exit(
        configuration.main(
            web_seeds,
            default_gin_files=["web_recall/seeds.gin"],
            pass_through="pipeline_args",
            settings={"teacher_": Teacher},
            dry_run="dry_run",
            incidental=Teacher.incidental(),
        )
    )
