"""Names of tasks on the command line: each is a gin file.

`--tasks=humaneval,mbpp` reads `evaluate/tasks/humaneval.gin` and `evaluate/tasks/mbpp.gin`, each
of which sets a macro of its own name (`HUMANEVAL = @...`), and runs what those macros name. A
new benchmark is therefore a module and a gin file, and one of yours can lie in any folder of
`--gin_search_paths`.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path

from opencoder_jax.configuration import CONFIG_FOLDER
from opencoder_jax.errors import InputError

_FOLDER = "evaluate/tasks"
_FLAG = "--tasks"


def task_names(search_paths: Sequence[str] = ()) -> dict[str, str]:
    """Name to the first line of its gin file, in order."""
    found: dict[str, str] = {}
    for folder in [*search_paths, str(CONFIG_FOLDER)]:
        for path in Path(folder, _FOLDER).glob("*.gin"):
            line = path.read_text(encoding="utf-8").split("\n", 1)[0]
            found.setdefault(path.stem, line.lstrip("# "))
    return dict(sorted(found.items()))


def task_file(name: str, search_paths: Sequence[str] = ()) -> Path:
    """The gin file of a task.

    Raises:
      InputError: there is none; says which there are.
    """
    for folder in [*search_paths, str(CONFIG_FOLDER)]:
        path = Path(folder, _FOLDER, f"{name}.gin")
        if path.is_file():
            return path
    known = ", ".join(task_names(search_paths))
    raise InputError(f"no benchmark {name!r}; known: {known}")


def gin_flags(arguments: Sequence[str]) -> list[str]:
    """The command line with `--tasks=a,b` as the gin files and bindings that it stands for.

    Raises:
      InputError: a name is unknown.
    """
    names: list[str] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        flag, separator, value = argument.partition("=")
        if flag != _FLAG:
            rest.append(argument)
            continue
        text = value if separator else next(remaining, "")
        names += [name.strip() for name in text.split(",") if name.strip()]
        if not names:
            raise InputError(f"{_FLAG} names no task; see --help")
    if not names:
        return rest
    known = task_names(_search_paths(rest))
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            near = f"; did you mean {' or '.join(close)}?" if close else ""
            raise InputError(f"no task {name!r}{near} Known: {', '.join(known)}")
    files = [f"--gin_file={_FOLDER}/{name}.gin" for name in dict.fromkeys(names)]
    macros = ", ".join(f"%{name.upper()}" for name in dict.fromkeys(names))
    # In front, so that the user's own files and bindings come over them.
    return [*files, f"--gin_bindings=evaluate.tasks = [{macros}]", *rest]


def _search_paths(arguments: Sequence[str]) -> list[str]:
    for position, argument in enumerate(arguments):
        flag, separator, value = argument.partition("=")
        if flag == "--gin_search_paths":
            text = value if separator else "".join(arguments[position + 1 : position + 2])
            return text.split(",")
    return []


TASKS_HELP = "tasks that --tasks=NAME,NAME takes:\n" + "\n".join(
    f"  {name:<24} {line}" for name, line in task_names().items()
)
