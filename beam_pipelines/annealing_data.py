"""The two annealing sets that come from the corpus itself (paper §2.2, Table 3).

`algorithmic_corpus`: files with keywords such as "leetcode" or "def solution".
`code_snippets`: self-contained functions with tests that pass when they are executed.
The paper lets a strong model write both from algorithmic seeds; here, without one, they
are functions of the corpus whose own doctests pass in the sandbox. Both sets are kept
clean of the benchmarks and keep each document's repository, for the held-out split.
Reads `documents-*` of `beam_pipelines.refinecode`; `docs/synthetic_data.md` explains.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.accounting import drop_document
from beam_pipelines.synthesis.doctests import Candidate
from beam_pipelines.synthesis.inputs import DocumentFolder
from beam_pipelines.synthesis.job import Job, make_sets
from beam_pipelines.synthesis.sets import Outcome
from beam_pipelines.synthesis.snippets import ProvedSnippets, SnippetSettings
from beam_pipelines.transforms.decontamination import (
    Decontaminate,
    KeptOut,
    document_text,
    drop_contaminated,
    kept_out,
)
from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document, decode_document, encode_document

ALGORITHMIC, SNIPPETS = "algorithmic_corpus", "code_snippets"
_DROPPED = "dropped"
_PROVENANCE = {ALGORITHMIC: "algorithmic-corpus", SNIPPETS: "doctested-snippet"}


def _provenance(record: bytes) -> str:
    return decode_document(record).provenance


JOB = Job(
    name="annealing_data",
    title="look for algorithms and doctests",
    sets=(ALGORITHMIC, SNIPPETS),
    records="documents",
    encode=encode_document,
    count_by=_provenance,
)


def annealing_data(
    input_dir: str,
    output_dir: str,
    keywords: Sequence[str],
    snippets: SnippetSettings,
    benchmarks: Sequence[str] | None,
    num_shards: int,
    benchmark_data: str = "",
    sandbox_workers: int = 2,
    allow_unisolated: bool = False,
    pipeline_args: Sequence[str] = (),
) -> dict[str, dict[str, Any]]:
    """Makes the algorithmic corpus and the executed code snippets from a corpus.

    Args:
      input_dir: finished folder with `documents-*` shards.
      output_dir: gets `algorithmic_corpus/` and `code_snippets/`, each with `documents-*`,
        `dropped/` and `manifest.json`.
      keywords: a code file with one of them, in any case, is algorithmic.
      snippets: what may become a snippet.
      benchmarks: to keep out, by the names of the evaluator's tasks; None: all whose files are in
        `benchmark_data`, and those that need none.
      num_shards: of each set.
      benchmark_data: folder with the benchmarks' published files; empty: none.
      sandbox_workers: programs at a time in each Beam worker.
      allow_unisolated: execute code of strangers even where this machine cannot isolate it.
      pipeline_args: Beam's own flags.

    Returns:
      The manifest of each set.

    Raises:
      InputError: the corpus is missing or unfinished, the output was made with other
        settings, or the machine cannot isolate programs.
    """
    if not keywords or not all(keywords):
        raise InputError(f"keywords is {list(keywords)!r}, expected texts to look for")
    kept = kept_out(benchmarks, benchmark_data, pipeline_args)
    settings = {"keywords": keywords, "snippets": snippets}

    def make(documents: beam.PCollection) -> dict[str, Outcome]:
        algorithmic = documents | ALGORITHMIC >> AlgorithmicCorpus(keywords, kept)
        proved = documents | SNIPPETS >> ProvedSnippets(
            snippets, kept, sandbox_workers, allow_unisolated
        )
        return {
            ALGORITHMIC: algorithmic,
            SNIPPETS: proved._replace(
                kept=proved.kept | "ToDocuments" >> beam.Map(snippet_document)
            ),
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


class AlgorithmicCorpus(beam.PTransform):
    """PCollection[Document] to an `Outcome`: code files with a keyword, free of benchmarks.

    Reasons: `not_code`, `no_keyword`, and those of `Decontaminate`.
    """

    def __init__(self, keywords: Sequence[str], benchmarks: KeptOut) -> None:
        super().__init__()
        self._keywords = tuple(keyword.lower() for keyword in keywords)
        self._benchmarks = benchmarks

    def expand(self, documents: beam.PCollection) -> Outcome:
        chosen = documents | "FindKeywords" >> beam.ParDo(
            _FindKeywords(self._keywords)
        ).with_outputs(_DROPPED, main="kept")
        clean = chosen.kept | "Decontaminate" >> Decontaminate(
            self._benchmarks, document_text, drop_contaminated
        )
        dropped = {"chosen": chosen[_DROPPED], "decontaminated": clean.dropped}
        return Outcome(documents, clean.kept, dropped)


class _FindKeywords(beam.DoFn):
    def __init__(self, keywords: tuple[str, ...]) -> None:
        super().__init__()
        self._keywords = keywords

    def process(self, document: Document) -> Iterator[Any]:
        if document.doc_type != "code":
            yield TaggedOutput(_DROPPED, drop_document(document, "not_code"))
            return
        text = document.text.lower()
        keyword = next((k for k in self._keywords if k in text), None)
        if keyword is None:
            yield TaggedOutput(_DROPPED, drop_document(document, "no_keyword"))
        else:
            yield document.replace(provenance=f"{_PROVENANCE[ALGORITHMIC]}: {keyword}")


def snippet_document(candidate: Candidate) -> Document:
    """The document of a proved snippet; it belongs to the repository that it came from."""
    return Document(
        id=candidate.id,
        text=candidate.source,
        repo=candidate.repo,
        path=f"{candidate.path}::{candidate.name}",
        language="python",
        doc_type="code",
        licence=candidate.licence,
        stars=candidate.stars,
        commit_time=candidate.commit_time,
        provenance=_PROVENANCE[SNIPPETS],
        content_sha256=candidate.content_sha256,
        duplicate_cluster=candidate.id,
    )


if __name__ == "__main__":
    sys.exit(
        configuration.main(
            annealing_data,
            default_gin_files=["annealing_data/demo.gin"],
            pass_through="pipeline_args",
            incidental=("sandbox_workers", "allow_unisolated"),
        )
    )
