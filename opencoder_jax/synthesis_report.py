"""Writes the page of made sets: yield, rejections, lengths, sources, and how different they are.

    python -m opencoder_jax.synthesis_report sets/educational sets/packages --output=page.html

Each word is a finished folder of `annealing_data`, `sft_data`, `synthesize` or
`import_instructions`. Numbers are counted from the records and compared with the manifests.
docs/report.md explains the page. Next: `report/made_sets.py` reads, `report/made_sets_page.py`
lays it out.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from opencoder_jax import configuration
from opencoder_jax.compare import titles_of
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.formats.chat import encode_chat
from opencoder_jax.formats.tokenizer import open_tokenizer
from opencoder_jax.report import page_file
from opencoder_jax.report.diversity import measure_diversity
from opencoder_jax.report.made_sets import Record, read_made_set
from opencoder_jax.report.made_sets_page import key_figures, render_made_sets
from opencoder_jax.report.mixture import read_mixture


def synthesis_report(
    sampled_records: int,
    rejected_samples: int,
    map_points: int,
    clusters: int,
    folders: Sequence[str] = (),
    output: str = "synthesis.html",
    tokenizer_dir: str | None = None,
    mixture_dir: str | None = None,
) -> Path:
    """Writes one HTML file about made sets and prints its key figures.

    Args:
      sampled_records: of each set, a hash sample that tokens and diversity are measured on.
      rejected_samples: shown of each reason.
      map_points: questions on the map, of all sets together.
      clusters: that the questions are divided into.
      folders: finished sets; a folder of several sets stands for all of them.
      output: the file to write; replaced if it is there.
      tokenizer_dir: tokens are counted with it; None: they are not.
      mixture_dir: model directory of a training phase whose mixture is shown; None: none.

    Returns:
      The file's path.

    Raises:
      InputError: a folder is no finished set, or in a store; `output` is a folder.
    """
    require_at_least(0, sampled_records=sampled_records, rejected_samples=rejected_samples)
    require_at_least(1, map_points=map_points, clusters=clusters)
    for place in (*folders, output, *filter(None, (tokenizer_dir, mixture_dir))):
        if "://" in place:
            raise InputError(f"{place} is in a store, and the report works on local files")
    found = [path for folder in folders for path in _sets_in(Path(folder))]
    if not found:
        raise InputError("which sets? Give one or more finished folders")
    count_tokens = _token_counter(tokenizer_dir) if tokenizer_dir else None
    sets = [
        read_made_set(
            folder,
            title,
            sample=sampled_records,
            rejected=rejected_samples,
            count_tokens=count_tokens,
        )
        for folder, title in zip(found, titles_of(found), strict=True)
    ]
    mixture = read_mixture(Path(mixture_dir)) if mixture_dir else None
    diversity = measure_diversity(sets, map_points, clusters)
    page = render_made_sets(sets, diversity, mixture, sampled_records)
    path = Path(output)
    page_file.write(path, page)
    table = Table(box=None, show_header=False)
    for figure in key_figures(sets):
        table.add_row(figure.title, f"[bold]{escape(figure.value)}[/bold]", escape(figure.note))
    Console().print(table)
    print(f"page: {path}")
    return path


def _sets_in(folder: Path) -> list[Path]:
    """The folder itself, or the finished sets right below it."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    if (folder / "manifest.json").exists():
        return [folder]
    below = sorted(path.parent for path in folder.glob("*/manifest.json"))
    if not below:
        raise InputError(f"{folder} has no manifest.json, nor has a folder in it: no finished set")
    return below


def _token_counter(tokenizer_dir: str) -> Callable[[Record], int]:
    tokenizer = open_tokenizer(tokenizer_dir)

    def count(record: Record) -> int:
        if record.messages:
            return len(encode_chat(record.messages, tokenizer).ids)
        return len(tokenizer.encode(record.asked))

    return count


if __name__ == "__main__":
    sys.exit(
        configuration.main(
            synthesis_report,
            base_gin_files=["report/made_sets.gin"],
            flags={
                "output": "synthesis_report.output",
                "tokenizer_dir": "TOKENIZER_DIR",
                "mixture_dir": "MIXTURE_DIR",
            },
            words="folders",
        )
    )
