"""Writes one HTML page of what models answered to code benchmarks, side by side.

    python -m opencoder_jax.compare runs/a/sft_stage2 runs/b/evaluation --output=page.html

Each word is a model directory or a folder that `opencoder_jax.evaluate` wrote; `evaluate` itself
writes such a page of one model. Next: `report/comparison.py`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.report import page_file
from opencoder_jax.report.comparison import Evaluated, read_evaluated, render_comparison
from opencoder_jax.report.formatting import shortest_ends


def compare(folders: Sequence[str] = (), output: str = "comparison.html") -> Path:
    """Writes the page of some evaluations.

    Args:
      folders: model directories or evaluation folders.
      output: the file to write; replaced if it is there.

    Returns:
      The file's path.

    Raises:
      InputError: a folder has no finished code benchmark, or `output` is a folder.
    """
    if not folders:
        raise InputError("which evaluations? Give one or more folders")
    titles = titles_of([Path(folder) for folder in folders])
    pairs = zip(folders, titles, strict=True)
    return write_page([read_evaluated(Path(f), title) for f, title in pairs], Path(output))


def write_page(models: Sequence[Evaluated], path: Path) -> Path:
    """Raises: InputError: `path` is a folder."""
    page_file.write(path, render_comparison(models))
    print(f"page: {path}")
    return path


def titles_of(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    parts = [p[:-1] if p[-1] == "evaluation" and len(p) > 1 else p for p in parts]
    return shortest_ends(parts)


if __name__ == "__main__":
    sys.exit(configuration.main(compare, flags={"output": "compare.output"}, words="folders"))
