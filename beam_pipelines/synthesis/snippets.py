"""From a corpus to proved snippets: find, deduplicate, decontaminate, execute.

Every function or class with a doctest at the top level of a Python file is a candidate,
and each candidate ends as a kept snippet or as one drop. Executing comes last because it
costs most. Both `annealing_data` and `sft_data` use this transform, so they keep the
same functions of the same corpus.
Next: `source_module` for how a definition is cut out, `doctests` for how it is proved.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.accounting import Drop
from beam_pipelines.synthesis.doctests import Candidate, PassingDoctests
from beam_pipelines.synthesis.sets import Deduplicate, Outcome
from beam_pipelines.synthesis.source_module import (
    Definition,
    ExtractionError,
    SourceModule,
    has_doctest,
)
from beam_pipelines.transforms.decontamination import Decontaminate, KeptOut
from opencoder_jax.formats.document import Document, document_id

_DROPPED = "dropped"


@dataclasses.dataclass(frozen=True)
class SnippetSettings:
    """What may become a snippet.

    Attributes:
      allowed_imports: top-level modules of the standard library that it may import.
      max_lines: of the snippet with its helpers.
    """

    allowed_imports: Sequence[str]
    max_lines: int


class ProvedSnippets(beam.PTransform):
    """PCollection[Document] to an `Outcome`.

    Reasons of drops: those of `ExtractionError`, `duplicate`, those of `Decontaminate`
    and of `PassingDoctests`.
    """

    def __init__(
        self,
        settings: SnippetSettings,
        benchmarks: KeptOut,
        sandbox_workers: int,
        allow_unisolated: bool,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._benchmarks = benchmarks
        self._sandbox_workers = sandbox_workers
        self._allow_unisolated = allow_unisolated

    def expand(self, documents: beam.PCollection) -> Outcome:
        found = documents | "FindSnippets" >> beam.ParDo(
            _FindSnippets(self._settings)
        ).with_outputs(_DROPPED, main="kept")
        unique = found.kept | "Deduplicate" >> Deduplicate(_content, Candidate.drop)
        clean = unique.kept | "Decontaminate" >> Decontaminate(
            self._benchmarks, _source, Candidate.drop
        )
        proved = clean.kept | "Doctests" >> PassingDoctests(
            self._sandbox_workers, self._allow_unisolated
        )
        dropped = {
            "cut out": found[_DROPPED],
            "unique": unique.dropped,
            "decontaminated": clean.dropped,
            "proved": proved.dropped,
        }
        candidates = (found.kept, found[_DROPPED]) | "Candidates" >> beam.Flatten()
        return Outcome(candidates, proved.kept, dropped)


class _FindSnippets(beam.DoFn):
    def __init__(self, settings: SnippetSettings) -> None:
        super().__init__()
        self._settings = settings

    def process(self, document: Document) -> Iterator[Any]:
        for found in find_snippets(document, self._settings):
            yield found if isinstance(found, Candidate) else TaggedOutput(_DROPPED, found)


def find_snippets(document: Document, settings: SnippetSettings) -> Iterator[Candidate | Drop]:
    """A candidate, or the reason why it is none, for each doctested definition of a file."""
    if ">>> " not in document.text:
        return
    for candidate, module, definition in candidates(document, "snippet", has_doctest):
        try:
            snippet = module.extract(definition, settings.allowed_imports, settings.max_lines)
        except ExtractionError as error:
            yield candidate.drop(error.reason, error.detail)
        else:
            yield dataclasses.replace(
                candidate, source=snippet.source, definition=snippet.definition
            )


def candidates(
    document: Document, kind: str, wanted: Callable[[Definition], bool]
) -> Iterator[tuple[Candidate, SourceModule, Definition]]:
    """The definitions at the top level of a Python file that are wanted; none of another file.

    Each comes with its module, to cut it out, and as a candidate whose `source` is still
    empty. `kind` keeps the ids of different uses of one definition apart.
    """
    if document.language != "python":
        return
    try:
        module = SourceModule(document.text, document.path)
    except ExtractionError:
        # Of another Python version, or cut short: no definition of it can be told.
        return
    for definition in filter(wanted, module.definitions()):
        candidate = Candidate(
            id=document_id(kind, document.repo, f"{document.path}::{definition.name}"),
            repo=document.repo,
            path=document.path,
            licence=document.licence,
            stars=document.stars,
            commit_time=document.commit_time,
            name=definition.name,
            source="",
            definition=module.source_of(definition),
        )
        yield candidate, module, definition


def _content(candidate: Candidate) -> str:
    return candidate.content_sha256


def _source(candidate: Candidate) -> str:
    return candidate.source
