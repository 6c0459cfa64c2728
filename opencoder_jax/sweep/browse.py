"""Writes one HTML page over folders of runs: `python -m opencoder_jax.sweep browse runs`.

Any folder below which model directories lie will do, and several of them; of a sweep's folder
the page shows the stages of its plan. Next: `report/run_folders.py` reads, `report/run_browser.py`
lays out.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from opencoder_jax import configuration
from opencoder_jax.compare import titles_of
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.report import page_file
from opencoder_jax.report.run_browser import render_runs
from opencoder_jax.report.run_folders import read_runs


def browse(folders: Sequence[str] = (), output: str = "runs.html", answers: int = 8) -> Path:
    """Writes the page of all runs below some folders.

    Args:
      folders: where model directories or plans of sweeps lie, at any depth.
      output: the file to write; replaced if it is there.
      answers: of each benchmark, how many are on the page: the first ones, and as many of the
        others that passed.

    Returns:
      The file's path.

    Raises:
      InputError: a folder is missing or in a store, there is no run in any, or `output` is a
        folder.
    """
    require_at_least(0, answers=answers)
    if not folders:
        raise InputError("which runs? Give one or more folders, e.g. runs")
    for folder in folders:
        if "://" in folder:
            raise InputError(
                f"{folder} is in a store, and the page reads local folders: copy it first; "
                "checkpoint_* may stay behind"
            )
        if not Path(folder).is_dir():
            raise InputError(f"{folder}: no such folder; give one with runs, e.g. runs/demo")
    if "://" in output:
        raise InputError(f"output {output} is in a store; write a local file and copy that")
    paths = [Path(folder) for folder in dict.fromkeys(folders)]
    titles = titles_of(paths)
    found = read_runs(
        list(zip(titles if len(paths) > 1 else [""], paths, strict=True)), answers=answers
    )
    if not found.runs:
        raise InputError(
            f"{', '.join(folders)}: no run there (no folder with run.json or train/metrics.jsonl)"
        )
    path = Path(output)
    page_file.write(path, render_runs(found, " · ".join(titles), path))
    for note in found.notes:
        print(note, file=sys.stderr)
    print(f"{len(found.runs)} runs: {path}")
    return path


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    return configuration.main(
        browse,
        list(arguments),
        flags={"output": "browse.output", "answers": "browse.answers"},
        words="folders",
    )
