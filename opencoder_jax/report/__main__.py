"""Writes the report page of a run.

    python -m opencoder_jax.report --gin_file=report/demo.gin --gin.RUN_DIR=runs/demo

Reads what is there and may be run at any time, also while a run goes on: a stage that
has not finished is said to be missing. docs/report.md explains the page.
"""

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from opencoder_jax import configuration
from opencoder_jax.report import page_file
from opencoder_jax.report.collect import Run, collect
from opencoder_jax.report.page import key_figures, render


def report(run_dir: str | os.PathLike, output: str | os.PathLike | None = None) -> Path:
    """Writes one HTML file about a run and prints its key figures.

    Args:
      run_dir: the run's folder, as docs/architecture.md lays it out.
      output: the file to write; None: `<run_dir>/report.html`. Replaced if it is there.

    Returns:
      The file's path.

    Raises:
      InputError: the folder is missing, a file in it is damaged, or `output` is a folder.
    """
    path = Path(output) if output else Path(run_dir) / "report.html"
    run = collect(Path(run_dir))
    page = render(run)
    page_file.write(path, page)
    _print_key_figures(run)
    print(f"report: {path}")
    return path


def _print_key_figures(run: Run) -> None:
    table = Table(box=None, show_header=False)
    for figure in key_figures(run):
        table.add_row(figure.title, f"[bold]{escape(figure.value)}[/bold]", escape(figure.note))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(configuration.main(report, default_gin_files=["report/demo.gin"]))
