"""One HTML page over folders of runs: a table to filter and sort, curves, one run or two opened.

Rows stand in the page as JSON; curves, configurations and answers as deflated JSON, which the
browser takes apart: 200 runs are a few megabytes. Text goes in as text, never as HTML: it comes
from models and data. Next: `run_browser.html.j2`, then `run_browser.js`.
"""

import base64
import dataclasses
import hashlib
import json
import os
import urllib.parse
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opencoder_jax.report import formatting
from opencoder_jax.report.environment import template
from opencoder_jax.report.run_folders import Found, RunFolder
from opencoder_jax.report.run_results import Results, finite

_FOLDER = Path(__file__).parent
_SCRIPTS = (
    "line_diff.js",
    "run_browser.js",
    "run_browser_curves.js",
    "run_browser_run.js",
    "run_browser_start.js",
)
# Columns that a page begins with, of each group at most; a reader chooses others.
_MOST_SETTINGS = 6
_MOST_RESULTS = 4
_SWEEP = ("sweep", "stage", "seed")
_FIGURES = ("step", "tokens", "loss", "heldout_loss", "tokens_per_second", "wall_seconds")


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """A column.

    Attributes:
      name: as in filters.
      group: `run`, `sweep`, `figure`, `result`, `setting` or `input`.
      values: one a run; None where it has none, a list where it has several.
      differs: between runs; those that tell nothing of the group, being damaged, aside.
    """

    name: str
    group: str
    values: Sequence[Any]
    differs: bool

    @property
    def is_number(self) -> bool:
        known = [v for value in self.values for v in _several(value)]
        return bool(known) and all(isinstance(v, int | float) for v in known)


def render_runs(found: Found, title: str, output: Path) -> str:
    """The page as HTML; `output` is where it will lie, for its links to folders."""
    runs = found.runs
    fields = fields_of(runs)
    ids = _ids(runs)
    names = names_of(runs)
    rows = {
        "fields": [
            {"name": f.name, "group": f.group, "number": f.is_number, "differs": f.differs}
            for f in fields
        ],
        "shown": shown_at_first(fields),
        "runs": [
            {
                "id": ids[number],
                "title": names[number],
                "state": run.state,
                "problems": run.problems,
                "values": [field.values[number] for field in fields],
            }
            for number, run in enumerate(runs)
        ],
    }
    return template("run_browser.html.j2").render(
        title=title,
        count=len(runs),
        states=formatting.most_first(_counted(run.state for run in runs)),
        damaged=sum(bool(run.problems) for run in runs),
        notes=found.notes,
        rows=formatting.json_for_script(rows),
        details=_deflated(_details(runs, output.resolve().parent)),
        style=(_FOLDER / "style.css").read_text() + (_FOLDER / "run_browser.css").read_text(),
        script="\n".join((_FOLDER / name).read_text() for name in _SCRIPTS),
    )


def fields_of(runs: Sequence[RunFolder]) -> list[Field]:
    """All columns, those of one group together."""
    parts: Sequence[tuple[str, Sequence[Mapping[str, Any]]]] = (
        ("run", [_of_run(run) for run in runs]),
        ("sweep", [_of_sweep(run) for run in runs]),
        ("figure", [run.figures for run in runs]),
        ("result", [figures_of(run.results) for run in runs]),
        ("setting", [run.settings for run in runs]),
        ("input", [run.inputs for run in runs]),
    )
    fields: list[Field] = []
    taken: set[str] = set()
    for group, values in parts:
        names = dict.fromkeys(name for one in values for name in one)
        for name in names:
            # A setting may be called like a figure.
            shown = f"{group}.{name}" if name in taken else name
            taken.add(shown)
            column = [_plain(one.get(name)) for one in values]
            telling = [value for value, one in zip(column, values, strict=True) if one]
            differs = any(value != telling[0] for value in telling)
            fields.append(Field(shown, group, column, differs))
    return fields


def _of_run(run: RunFolder) -> dict[str, str]:
    return {"state": run.state, "folder": run.title, "written": run.written}


def _of_sweep(run: RunFolder) -> dict[str, list[Any]]:
    """Lists: several arms may share a run."""
    columns: dict[str, list[Any]]
    columns = {"sweep": run.sweeps, "stage": run.stages, "arm": run.arms, "seed": run.seeds}
    columns["changes"] = run.changes
    return {name: values for name, values in columns.items() if values}


def names_of(runs: Sequence[RunFolder]) -> list[str]:
    """What a reader calls them: stage, arm and seed in a sweep, else the path."""
    several = len({tuple(run.sweeps) for run in runs if run.sweeps}) > 1
    names = [_name_in_sweep(run, several) if run.arms else run.title for run in runs]
    return _told_apart(names, [run.folder for run in runs], "{} ({})")


def _told_apart(names: Sequence[str], folders: Sequence[Path], form: str) -> list[str]:
    """Names, and by `form` those that several have with the ends of their folders."""
    told = list(names)
    for name, count in _counted(names).items():
        places = [place for place, one in enumerate(names) if one == name] if count > 1 else []
        ends = formatting.shortest_ends([folders[place].parts for place in places])
        for place, end in zip(places, ends, strict=True):
            told[place] = form.format(name, end)
    return told


def _name_in_sweep(run: RunFolder, several: bool) -> str:
    arms = f"{len(run.arms)} arms" if len(run.arms) > 2 else " & ".join(run.arms)
    seeds = f"{len(run.seeds)} seeds" if len(run.seeds) > 2 else " & ".join(map(str, run.seeds))
    return " ".join([*(run.sweeps if several else ()), *run.stages, f"{arms}/{seeds}"])


def figures_of(results: Sequence[Results]) -> dict[str, float]:
    """Measures of all tasks of a run; of a task that was done twice, with its folder's name."""
    figures: dict[str, float] = {}
    for title, result in zip(_task_titles(results), results, strict=True):
        end = title.removeprefix(result.task)
        figures |= {f"{name}{end}": value for name, value in result.figures.items()}
    return figures


def _task_titles(results: Sequence[Results]) -> list[str]:
    """Names of the tasks; of one that was done twice, with the folder that it lies in."""
    tasks = [result.task for result in results]
    return _told_apart(tasks, [result.folder.parent for result in results], "{}[{}]")


def shown_at_first(fields: Sequence[Field]) -> list[str]:
    """Columns that say what runs are and what came out: settings only if they differ."""
    # Settings that are the sweep's seed say nothing new.
    known = [f.values for f in fields if f.group == "sweep"]
    # A setting that most runs lack is of runs of another kind.
    settings = [
        field
        for field in fields
        if field.group == "setting"
        and field.differs
        and field.values not in known
        and 2 * field.values.count(None) <= len(field.values)
    ]
    settings.sort(key=lambda field: field.values.count(None))
    results = [f.name for f in fields if f.group == "result" and f.name.count("/") == 1]
    return [
        *(f.name for f in fields if f.name == "arm" or (f.name in _SWEEP and f.differs)),
        *(f.name for f in fields if f.name == "state" and f.differs),
        *(f.name for f in settings[:_MOST_SETTINGS]),
        *(f.name for f in fields if f.group == "figure" and f.name in _FIGURES),
        *results[:_MOST_RESULTS],
    ]


def _several(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _plain(value: Any) -> Any:
    """Numbers, text, and lists of several; other values as gin writes them, or JSON."""
    if isinstance(value, str):
        return value or None
    if value is None:
        return None
    if isinstance(value, list) and value and all(map(_is_plain, value)):
        return value[0] if len(value) == 1 else value
    if isinstance(value, bool):
        return repr(value)
    if isinstance(value, int | float):
        return str(value) if finite(value) is None else value
    return json.dumps(value)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str) or finite(value) is not None


def _counted(values: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return counts


def _ids(runs: Sequence[RunFolder]) -> list[str]:
    """Short names for addresses, the same when the page is made again."""
    ids: list[str] = []
    for run in runs:
        digest = hashlib.sha256(run.title.encode("utf-8", "surrogateescape")).hexdigest()
        ids.append(next(digest[:n] for n in range(6, 65) if digest[:n] not in ids))
    return ids


def _details(runs: Sequence[RunFolder], page_folder: Path) -> dict[str, Any]:
    """What is not needed for the table. Texts stand there once, however many runs have them."""
    texts: dict[str, int] = {}

    def text(value: str) -> int:
        return texts.setdefault(value, len(texts))

    starts: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        for step, name in run.checkpoints.items():
            starts.setdefault(name, [number, step])
    return {
        "runs": [
            {
                "folder": str(run.folder),
                "link": _link(run.folder, page_folder),
                "gin": text(run.gin),
                "curves": run.curves,
                "results": [
                    {
                        "task": task,
                        "step": result.step,
                        "figures": result.figures,
                        "intervals": result.intervals,
                        "answers": [
                            list(map(text, dataclasses.astuple(answer)))
                            for answer in result.answers
                        ],
                        "count": result.count,
                    }
                    for task, result in zip(_task_titles(run.results), run.results, strict=True)
                ],
                "parent": starts.get(str(run.inputs.get("initial_checkpoint"))),
                "initial": run.initial,
                "files": run.files,
                "checkpoints": sorted(run.checkpoints),
            }
            for run in runs
        ],
        "texts": list(texts),
    }


def _link(folder: Path, page_folder: Path) -> str:
    """Relative, so that a page that is moved with its runs still leads to them."""
    relative = os.path.relpath(folder.resolve(), page_folder)
    return "./" + urllib.parse.quote(os.fsencode(relative)) + "/"


def _deflated(value: Any) -> str:
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 6)).decode()
