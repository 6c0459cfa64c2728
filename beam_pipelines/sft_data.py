"""Instruction data for the two SFT stages, made from the corpus's own functions.

Stage 1 is broad: functions with a docstring become questions to write, complete or
explain them; nothing is executed. Stage 2 is practical and smaller: only functions whose
doctests pass in the sandbox, asked for with those examples (paper §4.1 and §4.3, whose
sets were written by models that were not released). Both are decontaminated (paper §4.4)
and deduplicated by answer, and every function that gives no conversation is a drop.
Reads `documents-*` of `beam_pipelines.refinecode`; `docs/synthetic_data.md` explains.
"""

import ast
import dataclasses
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.accounting import SAMPLE_CHARACTERS, Drop
from beam_pipelines.dedup.settings import NearSettings
from beam_pipelines.synthesis import instructions
from beam_pipelines.synthesis.balance import BalanceSettings, conversation_fact
from beam_pipelines.synthesis.doctests import Candidate
from beam_pipelines.synthesis.inputs import DocumentFolder
from beam_pipelines.synthesis.job import Job, make_sets
from beam_pipelines.synthesis.near_instructions import first_question
from beam_pipelines.synthesis.sets import Deduplicate, Outcome
from beam_pipelines.synthesis.snippets import ProvedSnippets, SnippetSettings, candidates
from beam_pipelines.synthesis.source_module import Definition, ExtractionError
from beam_pipelines.synthesis.thinning import ThinOut, named_options
from beam_pipelines.transforms.decontamination import Decontaminate, KeptOut, kept_out
from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.formats.conversation import (
    Conversation,
    decode_conversation,
    encode_conversation,
)
from opencoder_jax.formats.document import Document, document_id
from opencoder_jax.formats.split import hash_fraction

_TASKS = {"stage1": ("write", "explain", "complete"), "stage2": ("solve", "test")}
_DROPPED = "dropped"
_DOCSTRING = re.compile("\"\"\"|'''")


def _template(record: bytes) -> str:
    return decode_conversation(record).provenance


JOB = Job(
    name="sft_data",
    title="look for functions to ask for",
    sets=("stage1", "stage2"),
    records="conversations",
    encode=encode_conversation,
    count_by=_template,
)


@dataclasses.dataclass(frozen=True)
class InstructionSettings:
    """Which functions make good instructions.

    Attributes:
      min_description_characters: of a docstring before its examples.
      min_code_lines: of a definition without its docstring.
      max_characters: of question and answer together.
      stage1_share: of the functions of stage 1, a hash sample; 1.0 takes all.
    """

    min_description_characters: int
    min_code_lines: int
    max_characters: int
    stage1_share: float

    def __post_init__(self) -> None:
        if not 0 < self.stage1_share <= 1:
            raise InputError(f"stage1_share is {self.stage1_share}, expected 0 < share <= 1")
        if self.max_characters < 1:
            raise InputError(f"max_characters is {self.max_characters}, expected at least 1")


def sft_data(
    input_dir: str,
    output_dir: str,
    instruction_settings: InstructionSettings,
    snippets: SnippetSettings,
    benchmarks: Sequence[str] | None,
    num_shards: int,
    benchmark_data: str = "",
    near_instructions: NearSettings | None = None,
    balance: BalanceSettings | None = None,
    sandbox_workers: int = 2,
    allow_unisolated: bool = False,
    pipeline_args: Sequence[str] = (),
) -> dict[str, dict[str, Any]]:
    """Makes the instruction sets of both SFT stages from a corpus.

    Args:
      input_dir: finished folder with `documents-*` shards.
      output_dir: gets `stage1/` and `stage2/`, each with `conversations-*`, `dropped/` and
        `manifest.json`.
      instruction_settings: which functions are asked for.
      snippets: which functions may be executed for stage 2.
      benchmarks: to keep out, by the names of the evaluator's tasks; None: all whose files are in
        `benchmark_data`, and those that need none.
      num_shards: of each set.
      benchmark_data: folder with the benchmarks' published files; empty: none.
      near_instructions: drops those whose question nearly equals another one's; None: none.
      balance: cuts down groups that outweigh the others; None: none.
      sandbox_workers: programs at a time in each Beam worker.
      allow_unisolated: execute code of strangers even where this machine cannot isolate it.
      pipeline_args: Beam's own flags.

    Returns:
      The manifest of each stage.

    Raises:
      InputError: the corpus is missing or unfinished, the output was made with other
        settings, or the machine cannot isolate programs.
    """
    kept = kept_out(benchmarks, benchmark_data, pipeline_args)
    settings = {
        "instructions": instruction_settings,
        "templates": instructions.TEMPLATES,
        "snippets": snippets,
    }
    settings |= named_options(near_instructions, balance)

    def make(documents: beam.PCollection) -> dict[str, Outcome]:
        broad = documents | "FindFunctions" >> beam.FlatMap(find_functions)
        proved = documents | "Proved" >> ProvedSnippets(
            snippets, kept, sandbox_workers, allow_unisolated
        )
        made = {
            stage: functions
            | f"Make {stage}"
            >> MakeConversations(stage, instruction_settings, kept, near_instructions, balance)
            for stage, functions in (("stage1", broad), ("stage2", proved.kept))
        }
        # Snippets that were not proved are candidates of stage 2 that nothing was asked about.
        stage2 = made["stage2"]
        unproved = proved.dropped.values()
        asked = (stage2.candidates, *unproved) | "AllCandidates" >> beam.Flatten()
        functions = {f"functions {stage}": drops for stage, drops in proved.dropped.items()}
        return {
            "stage1": made["stage1"],
            "stage2": Outcome(asked, stage2.kept, {**functions, **stage2.dropped}),
        }

    return make_sets(
        JOB,
        DocumentFolder(input_dir),
        output_dir,
        make,
        settings=settings,
        benchmarks=kept,
        num_shards=num_shards,
        allow_unisolated=allow_unisolated,
        pipeline_args=pipeline_args,
    )


class MakeConversations(beam.PTransform):
    """PCollection[Candidate] to an `Outcome` whose kept ones are conversations.

    Reasons of drops: `sampled_out`, `no_body`, `description_too_short`, `code_too_short`,
    `too_long`, `duplicate`, and those of `Decontaminate`, `NearInstructions`, `Balance`.
    """

    def __init__(
        self,
        stage: str,
        settings: InstructionSettings,
        benchmarks: KeptOut,
        near_instructions: NearSettings | None = None,
        balance: BalanceSettings | None = None,
    ) -> None:
        super().__init__()
        self._stage = stage
        self._settings = settings
        self._benchmarks = benchmarks
        self._thin_out = ThinOut(
            near_instructions, balance, question=first_question, fact=conversation_fact, drop=_drop
        )

    def expand(self, functions: beam.PCollection) -> Outcome:
        asked = functions | "Ask" >> beam.FlatMap(_ask, self._stage)
        made = asked | "Word" >> beam.ParDo(_Word(self._stage, self._settings)).with_outputs(
            _DROPPED, main="kept"
        )
        clean = made.kept | "Decontaminate" >> Decontaminate(self._benchmarks, _text, _drop)
        unique = clean.kept | "Deduplicate" >> Deduplicate(_answer, _drop)
        dropped = {
            "worded": made[_DROPPED],
            "decontaminated": clean.dropped,
            "unique": unique.dropped,
        }
        thinned = unique.kept | "ThinOut" >> self._thin_out
        return Outcome(asked, thinned.kept, dropped | thinned.dropped)


class _Word(beam.DoFn):
    def __init__(self, stage: str, settings: InstructionSettings) -> None:
        super().__init__()
        self._settings = settings
        self._share = settings.stage1_share if stage == "stage1" else 1.0

    def process(self, asked: "Question") -> Iterator[Any]:
        try:
            if hash_fraction("share", asked.id) >= self._share:
                raise ExtractionError("sampled_out")
            yield make_conversation(asked, self._settings)
        except ExtractionError as error:
            drop = asked.function.drop(error.reason, error.detail)
            yield TaggedOutput(_DROPPED, dataclasses.replace(drop, id=asked.id))


class Question(NamedTuple):
    """A task about a function, not yet worded.

    Attributes:
      id: of the conversation to be.
      task: a key of `instructions.TEMPLATES`.
      function: what it is about.
    """

    id: str
    task: str
    function: Candidate


def _ask(function: Candidate, stage: str) -> Iterator[Question]:
    """Stage 1: one task chosen by hash. Stage 2, where functions are few: every task."""
    tasks = _TASKS[stage]
    if stage == "stage1":
        tasks = (instructions.choose(tasks, function.id),)
    for task in tasks:
        yield Question(document_id(stage, function.id, task), task, function)


def find_functions(document: Document) -> Iterator[Candidate]:
    """Every function at the top level of a Python file that has a docstring."""
    if _DOCSTRING.search(document.text):
        for function, _, _ in candidates(document, "function", _is_documented):
            yield dataclasses.replace(function, source=function.definition)


def make_conversation(asked: Question, settings: InstructionSettings) -> Conversation:
    """One question and answer about a function.

    Raises:
      ExtractionError: it makes no good one; the reason says why.
    """
    candidate = asked.function
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function = instructions.dissect(candidate.definition)
    if function is None:
        raise ExtractionError("no_body")
    if len(function.description) < settings.min_description_characters:
        raise ExtractionError("description_too_short", function.description)
    if function.code.count("\n") + 1 < settings.min_code_lines:
        raise ExtractionError("code_too_short", f"{function.code.count(chr(10)) + 1} lines")
    # A proved snippet answers with all that it needs, a function alone with itself.
    helpers, found, rest = candidate.source.partition(candidate.definition)
    if found:
        whole = dataclasses.replace(function, code=f"{helpers}{function.code}{rest}".strip())
    else:
        whole = function
    template, question, answer = instructions.word(asked.task, whole, asked.id)
    if len(question) + len(answer) > settings.max_characters:
        raise ExtractionError("too_long", f"{len(question) + len(answer)} characters")
    return Conversation(
        id=asked.id,
        messages=(("user", question), ("assistant", answer)),
        language="python",
        repo=candidate.repo,
        provenance=template,
    )


def _is_documented(definition: Definition) -> bool:
    return not isinstance(definition, ast.ClassDef) and bool(ast.get_docstring(definition))


def _text(conversation: Conversation) -> str:
    return "\n".join(content for _, content in conversation.messages)


def _answer(conversation: Conversation) -> str:
    return conversation.messages[-1][1]


def _drop(conversation: Conversation, reason: str, detail: str) -> Drop:
    return Drop(
        id=conversation.id,
        repo=conversation.repo,
        path="",
        language=conversation.language,
        reason=reason,
        detail=detail,
        sample=_text(conversation)[:SAMPLE_CHARACTERS],
    )


if __name__ == "__main__":
    sys.exit(
        configuration.main(
            sft_data,
            default_gin_files=["sft_data/demo.gin"],
            pass_through="pipeline_args",
            incidental=("sandbox_workers", "allow_unisolated"),
        )
    )
