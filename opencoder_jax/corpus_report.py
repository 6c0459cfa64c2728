"""Writes the report page of a cleaned corpus: what was dropped, by which rule, and how it looks.

    python -m opencoder_jax.corpus_report --corpus_dir=CORPUS [--output=FILE] \\
      [--ppl_checkpoint=MODEL_DIR]

Takes any finished folder of `beam_pipelines.refinecode` and reads its `statistics.json`;
with a model it scores a hash sample of the documents too, and only then is JAX loaded.
docs/report.md explains the page. Next: `report/corpus_page.py` lays it out.
"""

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from opencoder_jax import configuration
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.report import page_file
from opencoder_jax.report.corpus_page import key_figures, read_cleaning_job, render_corpus

_COPY = {"gs": "gcloud storage cp -r", "s3": "aws s3 cp --recursive"}


def corpus_report(
    corpus_dir: str | os.PathLike,
    ppl_documents: int,
    ppl_languages: int,
    ppl_scanned: int,
    ppl_max_bytes: int,
    ppl_extremes: int,
    ppl_batch_size: int,
    output: str | os.PathLike | None = None,
    ppl_checkpoint: str | os.PathLike | None = None,
) -> Path:
    """Writes one HTML file about a cleaning job and prints its key figures.

    Args:
      corpus_dir: finished folder of the cleaning job.
      ppl_documents: documents of each language that are scored, at most.
      ppl_languages: the languages with most documents that are scored.
      ppl_scanned: documents read to draw the sample from.
      ppl_max_bytes: of a document that are scored.
      ppl_extremes: documents shown at each end of perplexity.
      ppl_batch_size: rows a step of the model.
      output: the file to write; None: `<corpus_dir>/report.html`. Replaced if it is there.
      ppl_checkpoint: model directory or Hugging Face folder; None: no perplexities.

    Returns:
      The file's path.

    Raises:
      InputError: the folder is unfinished, damaged or in a store, `ppl_checkpoint` holds no
        model, or `output` is a folder.
    """
    _require_local(os.fspath(corpus_dir), "" if output is None else os.fspath(output))
    require_at_least(
        1,
        ppl_documents=ppl_documents,
        ppl_languages=ppl_languages,
        ppl_scanned=ppl_scanned,
        ppl_max_bytes=ppl_max_bytes,
        ppl_extremes=ppl_extremes,
        ppl_batch_size=ppl_batch_size,
    )
    job = read_cleaning_job(Path(corpus_dir))
    perplexities = None
    if ppl_checkpoint is not None:
        # The page itself needs no JAX, and a machine that cleans has none.
        from opencoder_jax.report import perplexity

        sampling = perplexity.Sampling(
            per_language=ppl_documents,
            languages=ppl_languages,
            scanned=ppl_scanned,
            max_bytes=ppl_max_bytes,
            extremes=ppl_extremes,
            batch_size=ppl_batch_size,
        )
        perplexities = perplexity.measure(Path(corpus_dir), ppl_checkpoint, sampling)
    page = render_corpus(job, perplexities)
    path = Path(output) if output else Path(corpus_dir) / "report.html"
    page_file.write(path, page)
    table = Table(box=None, show_header=False)
    for figure in key_figures(job.corpus):
        table.add_row(figure.title, f"[bold]{escape(figure.value)}[/bold]", escape(figure.note))
    Console().print(table)
    print(f"report: {path}")
    return path


def _require_local(corpus_dir: str, output: str) -> None:
    """Raises: InputError: one is a url; says how the corpus comes here."""
    if "://" in corpus_dir:
        command = _COPY.get(corpus_dir.partition("://")[0], "")
        how = f" (`{command} {corpus_dir} FOLDER`)" if command else ""
        raise InputError(
            f"{corpus_dir} is in a store, and the report reads local folders: copy it first{how}; "
            "manifest.json, statistics.json and config.gin are enough, with ppl_checkpoint "
            "documents-* too"
        )
    if "://" in output:
        raise InputError(f"output {output} is in a store; write a local file and copy that")


if __name__ == "__main__":
    sys.exit(
        configuration.main(
            corpus_report,
            base_gin_files=["report/corpus.gin"],
            flags={
                "corpus_dir": "CORPUS_DIR",
                "output": "corpus_report.output",
                "ppl_checkpoint": "PPL_CHECKPOINT",
            },
        )
    )
