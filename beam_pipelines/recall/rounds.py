"""A round of web recall, step by step, each step a finished folder of its own.

    OUTPUT/segments/             pages counted; the BPE that all rounds use
    OUTPUT/round-1/classifier/   seeds → classifier.bin
    OUTPUT/round-1/recalled/     all pages → documents-*, dropped/, domains/, review.html
    OUTPUT/annotated-1.tsv       a person's patterns, from which round 2 goes on

A step that is finished is passed over, one that was killed is done again, and one that was
made with other settings, pages, seeds or patterns is refused; each names what it was made from.
Next: `training` and `scoring` are the two pipelines, `domains` and `review` what a person sees.
"""

import contextlib
import functools
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam

from beam_pipelines import accounting, output, runner, sinks, stores, ticks
from beam_pipelines.output import Work
from beam_pipelines.recall import domains, scoring, training
from beam_pipelines.recall.classifier import ClassifierSettings, train
from beam_pipelines.recall.domains import DomainSettings
from beam_pipelines.recall.labels import (
    Labels,
    SeedSettings,
    read_annotated,
    read_page_labels,
    several,
    tables_fingerprint,
)
from beam_pipelines.recall.model import Model
from beam_pipelines.recall.pages import ReadPages, pages_fingerprints
from beam_pipelines.recall.review import render_review, suggested_table
from beam_pipelines.recall.segments import train_segmenter
from beam_pipelines.recall.statistics import domain_counts, statistics_of
from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import encode_document
from opencoder_jax.formats.example import encode_example
from opencoder_jax.formats.manifest import json_text, write_manifest
from opencoder_jax.formats.tokenizer import open_tokenizer
from opencoder_jax.timing import timed

JOB = "web_recall"
STATISTICS, REVIEW, SUGGESTED = "statistics.json", "review.html", "suggested.tsv"
_SEGMENTS, _CLASSIFIER = "segments.model", "classifier.bin"
_SURVEY, _COUNTS, _CANDIDATES, _SHARDS = "survey.json", "counts.json", "seen.json", "shards.json"


class Settings(NamedTuple):
    """What all rounds share; see `beam_pipelines.web_recall.web_recall`."""

    input_dirs: Sequence[str]
    output_dir: str
    doc_types: Sequence[str]
    languages: Sequence[str]
    seeds: SeedSettings
    classifier: ClassifierSettings
    domains: DomainSettings
    threshold: float
    held_out: Sequence[str]
    num_shards: int
    pipeline_args: Sequence[str]

    def place(self, *names: str) -> str:
        return "/".join((self.output_dir.rstrip("/"), *names))


class Survey(NamedTuple):
    """The first step's result.

    Attributes:
      fingerprint: of its folder.
      pages: how many there are.
      inputs: name to fingerprint of the folders of pages.
    """

    fingerprint: str
    pages: int
    inputs: dict[str, str]


def check(settings: Settings) -> None:
    """Raises: InputError: a table is wrong, before any work is done."""
    Labels.read(settings.seeds)
    read_page_labels(settings.held_out, settings.seeds.known_labels)


def survey(settings: Settings) -> Survey:
    """Counts the pages and learns a segmentation, unless a tokenizer is given."""
    chosen = settings.classifier
    folder = settings.place("segments")
    inputs = pages_fingerprints(settings.input_dirs)
    config: dict[str, Any] = {"doc_types": list(settings.doc_types)}
    if chosen.tokenizer:
        config["tokenizer"] = open_tokenizer(chosen.tokenizer).fingerprint
    else:
        config |= {"vocabulary": chosen.vocabulary, "sample_pages": chosen.sample_pages}
    identity: dict[str, Any] = {"job": JOB, "config": config, "inputs": inputs}
    manifest = output.already_done(folder, **identity)
    if manifest is None:
        with output.working_folder(folder) as work:
            with timed(work.local), _running(settings, "count pages", None) as (pages, _):
                _ = (
                    pages
                    | "Survey" >> training.Survey(0 if chosen.tokenizer else chosen.sample_pages)
                    | "WriteSurvey" >> sinks.WriteJson(work.place(_SURVEY))
                )
            found = json.loads(work.take(_SURVEY))
            sample = found.pop("sample")
            if not found["pages"]:
                raise InputError(f"{', '.join(settings.input_dirs)}: no pages")
            files = {}
            if not chosen.tokenizer:
                model = train_segmenter(sample, chosen.vocabulary)
                files[_SEGMENTS] = _put(work, _SEGMENTS, model)
            manifest = write_manifest(work.local, counts=found, files=files, **identity)
    return Survey(manifest["fingerprint"], manifest["counts"]["pages"], inputs)


class Before(NamedTuple):
    """What a round builds on.

    Attributes:
      number: of the round.
      annotated: pattern tables of the rounds before, one each.
      recalled: manifest of the round before; None for the first.
    """

    number: int
    annotated: tuple[str, ...]
    recalled: Mapping[str, Any] | None


def learn(settings: Settings, surveyed: Survey, before: Before) -> dict[str, Any]:
    """Makes the round's classifier; its manifest."""
    folder = settings.place(f"round-{before.number}", "classifier")
    identity = _identity(settings, surveyed, before, {})
    manifest = output.already_done(folder, **identity)
    if manifest is not None:
        return manifest
    model = _model(settings, surveyed, before.number - 1, identity)
    with output.working_folder(folder) as work:
        title = f"round {before.number}: find seeds"
        with timed(work.local), _running(settings, title, surveyed.pages) as (pages, _):
            _ = (
                pages
                | "FindExamples"
                >> training.Examples(model, settings.seeds, before.annotated, surveyed.pages)
                | "WriteExamples" >> training.WriteExamples(work.folder, settings.num_shards)
            )
        with _examples(work) as local:
            chosen = training.Chosen(local, settings.seeds)
            if not any(chosen.counts.get(label) for label in settings.seeds.labels):
                wanted = ", ".join(settings.seeds.labels)
                raise InputError(
                    f"none of {surveyed.pages} pages is a seed for {wanted}:"
                    " no table names one by id or url, and no pattern matches a url"
                )
            train(chosen, settings.classifier, work.local / _CLASSIFIER)
        digest = _sha256((work.local / _CLASSIFIER).read_bytes())
        return write_manifest(
            work.local, counts={"examples": chosen.counts}, files={_CLASSIFIER: digest}, **identity
        )


def recall(
    settings: Settings, surveyed: Survey, before: Before, classifier: Mapping[str, Any]
) -> dict[str, Any]:
    """Scores every page with the round's classifier; the manifest of what is recalled."""
    folder = settings.place(f"round-{before.number}", "recalled")
    identity = _identity(settings, surveyed, before, {"classifier": classifier["fingerprint"]})
    identity["config"] |= configuration.canonical(
        {"languages": settings.languages, "domains": settings.domains}
    )
    manifest = output.already_done(folder, **identity)
    if manifest is not None:
        return manifest
    model = _model(settings, surveyed, before.number, identity)
    with output.working_folder(folder) as work:
        title = f"round {before.number}: recall"
        with timed(work.local):
            with _running(settings, title, surveyed.pages) as (pages, pipeline):
                _score(pages, model, settings, before.annotated, work)
            counts, files = _account(settings, surveyed, before, classifier, work, pipeline.result)
        configuration.write_config_gin(work.local)
        return write_manifest(work.local, counts=counts, files=files, **identity)


def _score(
    pages: beam.PCollection,
    model: Model,
    settings: Settings,
    annotated: tuple[str, ...],
    work: Work,
) -> None:
    made = pages | "ScorePages" >> scoring.ScorePages(
        model, settings.seeds, annotated, tuple(settings.languages)
    )
    written = (
        made["kept"]
        | "WriteDocuments"
        >> sinks.WriteShards(
            work.folder, "documents", settings.num_shards, encode_document, key=_id
        ),
        made[scoring.DROPPED]
        | "WriteDropped"
        >> sinks.WriteShards(
            work.place("dropped"),
            "dropped",
            settings.num_shards,
            accounting.encode_drop,
            key=_id,
            kind=accounting.drop_reason,
        ),
        made[scoring.DOMAINS]
        | "WriteDomains"
        >> sinks.WriteShards(
            work.place("domains"),
            "domains",
            1,
            functools.partial(_domain_record, tuple(settings.seeds.labels)),
            key=_first,
        ),
    )
    _ = (
        written
        | "Written" >> beam.Flatten()
        | "NameFiles" >> beam.Map(_named, work.folder).with_output_types(tuple[str, dict[str, Any]])
        | "WriteShardList" >> sinks.WriteJson(work.place(_SHARDS))
    )
    read = pages | "CountPages" >> beam.combiners.Count.Globally() | beam.Map(_pages_read)
    _ = (
        (
            read,
            made[scoring.COUNTS],
            made[scoring.DOMAINS]
            | "CountDomains" >> beam.FlatMap(domain_counts, settings.domains)
            | "SumCounts" >> beam.CombinePerKey(sum),
        )
        | "AllCounts" >> beam.Flatten().with_output_types(tuple[str, int])
        | "WriteCounts" >> sinks.WriteJson(work.place(_COUNTS))
    )
    _ = (
        {"domains": made[scoring.DOMAINS], "seen": made[scoring.SEEN]}
        | "Candidates" >> domains.Candidates(settings.domains, settings.seeds.labels)
        | "WriteCandidates" >> sinks.WriteJson(work.place(_CANDIDATES))
    )


def _account(
    settings: Settings,
    surveyed: Survey,
    before: Before,
    classifier: Mapping[str, Any],
    work: Work,
    result: Any,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Checks the sum, writes what the launcher writes; the manifest's counts and files."""
    shards = json.loads(work.take(_SHARDS))
    counts = json.loads(work.take(_COUNTS))
    candidates = json.loads(work.take(_CANDIDATES))["candidates"]
    kept, reasons = _written(shards)
    documents = accounting.conservation(surveyed.pages, kept, reasons)
    accounting.check_equal("pages", surveyed.pages, counts["pages"], "this round")
    committed = sinks.committed_records(result, "documents")
    if committed is not None:
        accounting.check_equal("documents", kept, committed, "Beam")
    statistics = statistics_of(
        before.number, counts, documents, classifier["counts"]["examples"], settings.seeds
    )
    review = render_review(
        statistics,
        candidates,
        settings.domains,
        settings.seeds.all_labels,
        annotated_name(before.number),
    )
    files = {name: shard["sha256"] for name, shard in shards.items()}
    for name, text in (
        (STATISTICS, json_text(statistics)),
        (REVIEW, review),
        (SUGGESTED, suggested_table(candidates, settings.domains)),
    ):
        files[name] = _put(work, name, text.encode("utf-8"))
    return {"documents": documents}, files


def _written(shards: Mapping[str, Any]) -> tuple[int, dict[str, int]]:
    kept = sum(s["records"] for name, s in shards.items() if name.startswith("documents-"))
    reasons: dict[str, int] = {}
    for shard in shards.values():
        for reason, count in shard["kinds"].items():
            reasons[reason] = reasons.get(reason, 0) + count
    return kept, reasons


def annotated_name(number: int) -> str:
    """The file in the output folder that a person writes after a round."""
    return f"annotated-{number}.tsv"


def annotated_table(settings: Settings, number: int, accept_suggested: bool) -> str | None:
    """The pattern table that was made after a round; None where nobody has made one yet.

    Raises:
      InputError: it is broken.
    """
    path = settings.place(annotated_name(number))
    if not (stores.exists(path) if stores.is_remote(path) else os.path.exists(path)):
        if not accept_suggested:
            return None
        path = settings.place(f"round-{number}", "recalled", SUGGESTED)
    read_annotated([path], settings.seeds.known_labels)
    return path


def _identity(
    settings: Settings, surveyed: Survey, before: Before, inputs: Mapping[str, str]
) -> dict[str, Any]:
    """Job, config and inputs of a step, as `already_done` compares them."""
    seeds = configuration.canonical(settings.seeds)
    # What the tables say counts, not where they are.
    del seeds["tables"], seeds["patterns"]
    config = {
        "round": before.number,
        "seeds": seeds,
        "classifier": configuration.canonical(settings.classifier) | {"tokenizer": ""},
        "threshold": settings.threshold,
        "num_shards": settings.num_shards,
    }
    tables = _seed_tables(settings)
    inputs = {
        **surveyed.inputs,
        "segments": surveyed.fingerprint,
        "seeds": tables_fingerprint(tables),
        "held out": tables_fingerprint(settings.held_out),
        **{
            annotated_name(number): tables_fingerprint([path])
            for number, path in enumerate(before.annotated, start=1)
        },
        **inputs,
    }
    if before.recalled is not None:
        inputs[f"round {before.number - 1}"] = before.recalled["fingerprint"]
    return {"job": JOB, "config": config, "inputs": inputs}


def _model(settings: Settings, surveyed: Survey, rounds: int, identity: Mapping) -> Model:
    return Model(
        segmentation="" if settings.classifier.tokenizer else settings.place("segments", _SEGMENTS),
        tokenizer=settings.classifier.tokenizer,
        classifiers=tuple(
            settings.place(f"round-{number}", "classifier", _CLASSIFIER)
            for number in range(1, rounds + 1)
        ),
        characters=settings.classifier.characters,
        threshold=settings.threshold,
        held_out=tuple(settings.held_out),
        version=json.dumps(identity["inputs"], sort_keys=True),
    )


def _seed_tables(settings: Settings) -> tuple[str, ...]:
    return (*several(settings.seeds.tables), *several(settings.seeds.patterns))


@contextlib.contextmanager
def _running(
    settings: Settings, title: str, total: int | None
) -> Iterator[tuple[beam.PCollection, beam.Pipeline]]:
    """A pipeline with the pages in it; runs when the body has built the rest."""
    pipeline = runner.pipeline(settings.pipeline_args)
    tables = [*_seed_tables(settings), *settings.held_out]
    runner.require_shared_folders(
        pipeline,
        output_dir=settings.output_dir,
        **{f"input_dirs {n}": folder for n, folder in enumerate(settings.input_dirs)},
        **{table: table for table in tables if not table.startswith("shipped:")},
    )
    with ticks.shown([ticks.Stage("pages", title, total)], "pages") as ticking, pipeline:
        pages = (
            pipeline
            | "Pages" >> ReadPages(settings.input_dirs, settings.doc_types)
            | "Tick" >> ticks.Tick(ticking, "pages")
        )
        yield pages, pipeline


@contextlib.contextmanager
def _examples(work: Work) -> Iterator[Path]:
    """The example shards on this machine; they are gone afterwards."""
    places = output.list_shards(work.folder, training.EXAMPLES)
    if not stores.is_remote(work.folder):
        yield Path(work.folder)
        for place in places:
            os.unlink(place)
        return
    with tempfile.TemporaryDirectory(prefix="examples-") as folder:
        for place in places:
            with stores.fetched(place) as copy:
                copy.replace(Path(folder) / copy.name)
        yield Path(folder)
    stores.remove(places)


def _put(work: Work, name: str, content: bytes) -> str:
    """Writes a small file of the launcher's; its SHA-256."""
    (work.local / name).write_bytes(content)
    return _sha256(content)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _named(shard: sinks.Shard, folder: str) -> tuple[str, dict[str, Any]]:
    place, digest, records, kinds = shard
    name = place.removeprefix(f"{folder}/")
    return name, {"sha256": digest, "records": records, "kinds": kinds}


def _domain_record(labels: tuple[str, ...], item: tuple[str, tuple[int, ...]]) -> bytes:
    """(domain, counts) as a record with named features."""
    names = (*scoring.DOMAIN_COUNTS, *(f"recalled_{label}" for label in labels))
    domain, counts = item
    return encode_example({"domain": domain, **dict(zip(names, counts, strict=True))})


def _pages_read(count: int) -> tuple[str, int]:
    return "pages", count


def _id(element: Any) -> str:
    return element.id


def _first(item: tuple[str, Any]) -> str:
    return item[0]


def say(message: str) -> None:
    print(message, file=sys.stderr)
