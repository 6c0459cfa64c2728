"""Imports instruction sets, logs of dialogues and annealing corpora of other people.

    python -m beam_pipelines.import_instructions --gin_file=import_instructions/conversations.gin \
      --gin.FILES=FILES --gin.SET_NAME=wildchat --gin.OUTPUT_DIR=SETS

JSON lines or arrays, parquet and Arrow files become a finished folder of conversations (or of
documents), which `pack` packs and `synthesize` goes on from. Every row is a record or a drop with
its reason: what cannot be trained on, copies, benchmark problems, and, where a row brings
tests and that is asked for, solutions that fail them. docs/instructions.md explains it.
"""

import dataclasses
import json
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.accounting import SAMPLE_CHARACTERS, Drop, drop_document
from beam_pipelines.dedup.settings import NearSettings
from beam_pipelines.dialogues import layouts
from beam_pipelines.dialogues.layouts import BadRowError, Tested
from beam_pipelines.dialogues.rows import Row, RowFormat
from beam_pipelines.sources.containers import ReadContainers, fingerprint
from beam_pipelines.sources.entry import RawFile
from beam_pipelines.synthesis.balance import BalanceSettings, conversation_fact
from beam_pipelines.synthesis.drafts import Draft
from beam_pipelines.synthesis.job import Job, make_sets
from beam_pipelines.synthesis.near_instructions import first_question
from beam_pipelines.synthesis.proving import ProveByTests
from beam_pipelines.synthesis.sets import Deduplicate, Outcome
from beam_pipelines.synthesis.thinning import ThinOut, named_options
from beam_pipelines.transforms.decontamination import (
    Decontaminate,
    KeptOut,
    document_text,
    drop_contaminated,
    kept_out,
)
from opencoder_jax import configuration
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats.conversation import (
    Conversation,
    decode_conversation,
    encode_conversation,
)
from opencoder_jax.formats.document import Document, decode_document, encode_document

_DROPPED = "dropped"
_NAME = re.compile(r"[\w.-]+")


@dataclasses.dataclass(frozen=True)
class RowFiles:
    """Files of rows, as an `Input` of `make_sets`.

    Attributes:
      files: paths, patterns or folders, local or in a store.
      required: see `RowFormat`.
      max_row_bytes: a longer row is dropped.
    """

    files: str | Sequence[str]
    required: tuple[tuple[str, ...], ...]
    max_row_bytes: int

    def fingerprint(self) -> str:
        """Raises: InputError: nothing matches."""
        return fingerprint(self.files, RowFormat.suffixes)

    def count(self) -> int | None:
        return None

    def read(self, pipeline: beam.Pipeline) -> beam.PCollection:
        form = RowFormat(self.required)
        return pipeline | "Rows" >> ReadContainers(self.files, form, self.max_row_bytes)


def import_instructions(
    files: str | Sequence[str],
    set_name: str,
    output_dir: str,
    records: Literal["conversations", "documents"],
    benchmarks: Sequence[str] | None,
    num_shards: int,
    benchmark_data: str = "",
    run_tests: bool = False,
    keep_toxic: bool = False,
    code_language: str = "",
    max_row_bytes: int = 8_000_000,
    sandbox_workers: int = 2,
    allow_unisolated: bool = False,
    near_instructions: NearSettings | None = None,
    balance: BalanceSettings | None = None,
    pipeline_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Makes a finished set of other people's files.

    Args:
      files: paths, patterns or folders of `.jsonl`, `.json`, `.parquet`, `.arrow`, packed or not.
      set_name: folder of the set, and the provenance of its records.
      output_dir: gets that folder, with `conversations-*` or `documents-*`, `dropped/` and
        `manifest.json`; local or in a store.
      records: `conversations`, or `documents` for annealing corpora.
      benchmarks: to keep out, by the names of the evaluator's tasks; None: all whose files are in
        `benchmark_data`, and those that need none.
      num_shards: of the records and of the drops.
      benchmark_data: folder with the benchmarks' published files; empty: none.
      run_tests: whether rows with `code` and `testcase` are executed and have to pass.
      keep_toxic: whether rows stay that are marked as toxic.
      code_language: lower-case Linguist name, where neither a row nor a code block names one.
      max_row_bytes: a JSON line that could not have so much text is dropped.
      sandbox_workers: programs at a time in each Beam worker.
      allow_unisolated: execute code of strangers even where this machine cannot isolate it.
      near_instructions: drops conversations whose first question nearly equals another one's;
        None: none.
      balance: cuts down groups of conversations that outweigh the others; None: none.
      pipeline_args: Beam's own flags.

    Returns:
      The set's manifest.

    Raises:
      InputError: nothing matches, the files are of no known layout, the output was made with
        other settings, or the machine cannot isolate programs.
    """
    require_at_least(1, num_shards=num_shards, max_row_bytes=max_row_bytes)
    if not _NAME.fullmatch(set_name) or set_name.strip(".") == "":
        raise InputError(f"set_name {set_name!r}: expected a name for a folder")
    if records not in ("conversations", "documents"):
        raise InputError(f"records is {records!r}, expected conversations or documents")
    kept = kept_out(benchmarks, benchmark_data, pipeline_args)
    documents = records == "documents"
    if documents and named_options(near_instructions, balance):
        raise InputError("near_instructions and balance are for conversations, not for documents")
    if documents:
        imported: beam.PTransform = ImportDocuments(set_name, code_language, kept)
    else:
        proving = ProveByTests(sandbox_workers, allow_unisolated) if run_tests else None
        thin_out = ThinOut(
            near_instructions, balance, question=first_question, fact=conversation_fact, drop=_drop
        )
        imported = ImportConversations(set_name, code_language, keep_toxic, kept, proving, thin_out)

    def make(rows: beam.PCollection) -> dict[str, Outcome]:
        return {set_name: rows | "Import" >> imported}

    manifests = make_sets(
        Job(
            name="import_instructions",
            title=f"{set_name}: read rows",
            sets=(set_name,),
            records=records,
            encode=encode_document if documents else encode_conversation,
            count_by=_document_kind if documents else _conversation_kind,
            executes=run_tests and not documents,
        ),
        RowFiles(files, layouts.DOCUMENTS if documents else layouts.CONVERSATIONS, max_row_bytes),
        output_dir,
        make,
        settings={
            "set": set_name,
            "records": records,
            "run_tests": run_tests,
            "keep_toxic": keep_toxic,
            "code_language": code_language,
            "max_row_bytes": max_row_bytes,
            **named_options(near_instructions, balance),
        },
        benchmarks=kept,
        num_shards=num_shards,
        allow_unisolated=allow_unisolated,
        pipeline_args=pipeline_args,
    )
    return manifests[set_name]


class ImportConversations(beam.PTransform):
    """Rows and obstacles to the `Outcome` of their conversations.

    Reasons: obstacles of containers, `bad_dialogue`, `toxic`, those of `ProveByTests`, of
    `Decontaminate`, `duplicate`, and those of `ThinOut`.
    """

    def __init__(
        self,
        set_name: str,
        code_language: str,
        keep_toxic: bool,
        benchmarks: KeptOut,
        proving: ProveByTests | None,
        thin_out: ThinOut,
    ) -> None:
        super().__init__()
        self._parse = _ParseConversation(set_name, code_language, keep_toxic)
        self._benchmarks = benchmarks
        self._proving = proving
        self._thin_out = thin_out

    def expand(self, rows: beam.PCollection) -> Outcome:
        parsed = rows | "Parse" >> beam.ParDo(self._parse).with_outputs(_DROPPED, main="kept")
        dropped = {"parsed": parsed[_DROPPED]}
        if self._proving is None:
            found = parsed.kept | "Conversations" >> beam.Map(lambda tested: tested.conversation)
        else:
            untested = (
                parsed.kept
                | "Untested" >> beam.Filter(lambda tested: not tested.code)
                | "ConversationsOfThem" >> beam.Map(lambda tested: tested.conversation)
            )
            proved = (
                parsed.kept
                | "WithTests" >> beam.Filter(lambda tested: bool(tested.code))
                | "Drafts" >> beam.Map(_draft)
                | "Prove" >> self._proving
            )
            dropped["tested"] = proved.dropped
            passed = proved.kept | "ConversationsOfDrafts" >> beam.Map(_of_draft)
            found = (untested, passed) | "Found" >> beam.Flatten()
        clean = found | "Decontaminate" >> Decontaminate(self._benchmarks, _text, _drop)
        unique = clean.kept | "Deduplicate" >> Deduplicate(layouts.content_key, _drop)
        thinned = unique.kept | "ThinOut" >> self._thin_out
        dropped |= {"decontaminated": clean.dropped, "unique": unique.dropped, **thinned.dropped}
        return Outcome(rows, thinned.kept, dropped)


class ImportDocuments(beam.PTransform):
    """Rows and obstacles to the `Outcome` of their documents.

    Reasons: obstacles of containers, `empty`, `not_utf8`, those of `Decontaminate`, `duplicate`.
    """

    def __init__(self, set_name: str, code_language: str, benchmarks: KeptOut) -> None:
        super().__init__()
        self._parse = _ParseDocument(set_name, code_language)
        self._benchmarks = benchmarks

    def expand(self, rows: beam.PCollection) -> Outcome:
        parsed = rows | "Parse" >> beam.ParDo(self._parse).with_outputs(_DROPPED, main="kept")
        clean = parsed.kept | "Decontaminate" >> Decontaminate(
            self._benchmarks, document_text, drop_contaminated
        )
        unique = clean.kept | "Deduplicate" >> Deduplicate(_content, drop_copy)
        return Outcome(
            rows,
            unique.kept,
            {
                "parsed": parsed[_DROPPED],
                "decontaminated": clean.dropped,
                "unique": unique.dropped,
            },
        )


class _ParseConversation(beam.DoFn):
    def __init__(self, set_name: str, code_language: str, keep_toxic: bool) -> None:
        super().__init__()
        self._set_name = set_name
        self._code_language = code_language
        self._keep_toxic = keep_toxic

    def process(self, row: Row | RawFile) -> Iterator[Any]:
        if isinstance(row, RawFile):
            yield TaggedOutput(_DROPPED, _obstacle(row))
            return
        try:
            yield layouts.conversation_of(
                row, self._set_name, self._code_language, self._keep_toxic
            )
        except BadRowError as error:
            yield TaggedOutput(_DROPPED, layouts.row_drop(row, self._set_name, error))


class _ParseDocument(beam.DoFn):
    def __init__(self, set_name: str, code_language: str) -> None:
        super().__init__()
        self._set_name = set_name
        self._code_language = code_language

    def process(self, row: Row | RawFile) -> Iterator[Any]:
        if isinstance(row, RawFile):
            yield TaggedOutput(_DROPPED, _obstacle(row))
            return
        try:
            yield layouts.document_of(row, self._set_name, self._code_language)
        except BadRowError as error:
            yield TaggedOutput(_DROPPED, layouts.row_drop(row, self._set_name, error))


def drop_copy(document: Document, reason: str, detail: str) -> Drop:
    return drop_document(document, reason, detail=detail)


def _obstacle(file: RawFile) -> Drop:
    return Drop(
        id=file.id,
        repo=file.repo,
        path=file.path,
        language="",
        reason=file.obstacle,
        detail=file.detail,
    )


def _draft(tested: Tested) -> Draft:
    conversation = tested.conversation
    return Draft(
        id=conversation.id,
        repo=conversation.repo,
        path=conversation.provenance,
        language="python",
        parts={"code": tested.code, "tests": tested.tests, "details": conversation.details},
        messages=conversation.messages,
    )


def _of_draft(draft: Draft) -> Conversation:
    details = layouts.details_json({**json.loads(draft.parts["details"]), "executed": True})
    return Conversation(
        id=draft.id,
        messages=draft.messages,
        language=draft.language,
        repo=draft.repo,
        provenance=draft.path,
        details=details,
    )


def _text(conversation: Conversation) -> str:
    return "\n".join(content for _, content in conversation.messages)


def _drop(conversation: Conversation, reason: str, detail: str) -> Drop:
    return Drop(
        id=conversation.id,
        repo=conversation.repo,
        path=conversation.provenance,
        language=conversation.language,
        reason=reason,
        detail=detail,
        sample=_text(conversation)[:SAMPLE_CHARACTERS],
    )


def _content(document: Document) -> str:
    return document.content_sha256


def _conversation_kind(record: bytes) -> str:
    return decode_conversation(record).language


def _document_kind(record: bytes) -> str:
    return decode_document(record).language


if __name__ == "__main__":
    sys.exit(
        configuration.main(
            import_instructions,
            default_gin_files=["import_instructions/conversations.gin"],
            pass_through="pipeline_args",
            incidental=("sandbox_workers", "allow_unisolated"),
        )
    )
