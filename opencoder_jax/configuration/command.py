"""A command's last line: reads its flags and gin, checks them, runs it or says what it would be."""

import dataclasses
import inspect
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gin

from opencoder_jax import command_flags
from opencoder_jax.configuration.operative import operative
from opencoder_jax.configuration.parsing import configure, forgotten_after, without_gin
from opencoder_jax.configuration.reached import value_of
from opencoder_jax.errors import (
    INTERRUPTED_EXIT_STATUS,
    STORAGE_EXIT_STATUS,
    InputError,
    is_storage_failure,
)

REQUESTS_NAME, ANSWERS_NAME = "requests.json", "answers.json"
_RESOLVE = "--resolve="


def main(
    function: Callable[..., Any],
    argv: Sequence[str] | None = None,
    *,
    default_gin_files: Sequence[str] = (),
    base_gin_files: Sequence[str] = (),
    pass_through: str | None = None,
    flags: Mapping[str, str] | None = None,
    settings: Sequence[type] | Mapping[str, type] = (),
    words: str | None = None,
    unread_macros: Sequence[str] = (),
    dry_run: str | None = None,
    notes: str = "",
    rewrite: Callable[[Sequence[str]], list[str]] | None = None,
    incidental: Collection[str] = (),
    facts: Callable[..., Mapping[str, Any]] | None = None,
) -> int:
    """Runs one command: reads flags and gin, checks them, calls `function`.

    `--resolve=FOLDER`, alone, is for programs: it reads `requests.json`, a list of command lines
    (lists of words), and writes `answers.json`, for each of them `{"error": ...}` or what it would
    be: `{"bindings": ..., "incidental": ..., "facts": ...}`.

    Args:
      function: the command; its docstring is the help text, its parameters what gin binds.
      argv: without the program's name; None takes `sys.argv`.
      default_gin_files: parsed where no `--gin_file` is given.
      base_gin_files: parsed in any case, before them; what the user's files change.
      pass_through: the parameter of `function` that takes the flags that are not known
        here (a Beam job's pipeline options); None refuses such flags.
      flags: parameter of `function`, or field of `settings`, to the binding (a macro, or
        `function.parameter`) that `--parameter=VALUE` sets too, for people who do not know gin;
        of a bool, `--parameter`.
      settings: dataclasses that the gin files bind, each field of which is a flag too:
        `--field=VALUE` is `--gin.Class.field=VALUE`; by what the flags' names begin with, where
        it is a mapping: `{"teacher_": Teacher}` gives `--teacher_field=VALUE`.
      words: the parameter that takes the words which are no flags, e.g. file names, and all that
        follows `--`; None refuses them.
      unread_macros: see `configure`.
      dry_run: the parameter of `function` that `--dry_run` sets, after the configuration is
        printed; None: then nothing is run.
      notes: end the help text.
      rewrite: makes other arguments of the user's, before they are read.
      incidental: what changes nothing about the result, see `operative`.
      facts: says of a configuration what it would take to run it, e.g. tokens; its parameters are
        some of `function`'s. For `--resolve`.

    Returns:
      0; 2 after a message about bad input; 74 after one about storage that failed; 130 after an
      interrupt.
    """
    command = _Command(
        function,
        default_gin_files=default_gin_files,
        base_gin_files=base_gin_files,
        pass_through=pass_through,
        flags=flags or {},
        settings=settings,
        words=words,
        unread_macros=unread_macros,
        dry_run=dry_run,
        notes=notes,
        rewrite=rewrite,
    )
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        if len(arguments) == 1 and arguments[0].startswith(_RESOLVE):
            _resolve(command, Path(arguments[0].removeprefix(_RESOLVE)), incidental, facts)
            return 0
        call = command.read(arguments)
        if call.dry_run:
            print(gin.config_str())
            if not dry_run:
                return 0
        call.function(**call.arguments)
    except InputError as error:
        print(f"error: {without_gin(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        raised = without_gin(error)
        # A full disk, a folder that cannot be written: the machine's state, not a defect.
        print(f"error: cannot read or write: {raised}", file=sys.stderr)
        return STORAGE_EXIT_STATUS if is_storage_failure(raised) else 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED_EXIT_STATUS
    return 0


class _Call(NamedTuple):
    """A command line that was read: what to call, with which arguments beside gin's."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    dry_run: bool


@dataclasses.dataclass(frozen=True)
class _Command:
    """What `main` was called with; its attributes are explained there."""

    function: Callable[..., Any]
    default_gin_files: Sequence[str]
    base_gin_files: Sequence[str]
    pass_through: str | None
    flags: Mapping[str, str]
    settings: Sequence[type] | Mapping[str, type]
    words: str | None
    unread_macros: Sequence[str]
    dry_run: str | None
    notes: str
    rewrite: Callable[[Sequence[str]], list[str]] | None

    def read(self, arguments: Sequence[str]) -> _Call:
        """Reads flags and gin and checks them.

        Raises:
          InputError: a flag, file or binding cannot be used.
        """
        parser = command_flags.argument_parser(
            self.function,
            self.default_gin_files,
            self.base_gin_files,
            self.pass_through,
            self.words,
            self.dry_run,
        )
        parser.epilog = "\n\n".join(filter(None, (parser.epilog, self.notes)))
        short = command_flags.add_flags(parser, self.function, self.flags, self.settings)
        arguments = self.rewrite(arguments) if self.rewrite else list(arguments)
        last_words: list[str] = []
        if self.words and "--" in arguments:
            end = arguments.index("--")
            # Flags among them are not ours.
            arguments, last_words = arguments[:end], arguments[end + 1 :]
        # Intermixed: words may stand before, between and after flags.
        parse = parser.parse_known_intermixed_args if self.words else parser.parse_known_args
        options, unknown = parse(command_flags.as_gin_bindings(arguments))
        if unknown and self.pass_through is None:
            parser.error(f"unknown flags: {' '.join(unknown)} (bindings are written --gin.X=Y)")
        given = {name: getattr(options, name) for name in short}
        configured = configure(
            self.function,
            gin_files=[*self.base_gin_files, *(options.gin_file or self.default_gin_files)],
            bindings=[
                *options.gin_bindings,
                *(f"{short[n]} = {value!r}" for n, value in given.items() if value is not None),
            ],
            search_paths=options.gin_search_paths,
            unread_macros=self.unread_macros,
        )
        filled: dict[str, Any] = {self.pass_through: unknown} if self.pass_through else {}
        if self.dry_run and options.dry_run:
            filled[self.dry_run] = True
        if self.words:
            filled[self.words] = [*getattr(options, self.words), *last_words]
        return _Call(configured, filled, options.dry_run)


def _resolve(
    command: _Command,
    folder: Path,
    incidental: Collection[str],
    facts: Callable[..., Mapping[str, Any]] | None,
) -> None:
    """Answers the requests in `folder`, each as if it were the first that this process reads."""
    requests = json.loads((folder / REQUESTS_NAME).read_text("utf-8"))
    answers = []
    for request in requests:
        with forgotten_after():
            answers.append(_answer(command, request, incidental, facts))
    (folder / ANSWERS_NAME).write_text(json.dumps(answers), "utf-8")


def _answer(
    command: _Command,
    request: Sequence[str],
    incidental: Collection[str],
    facts: Callable[..., Mapping[str, Any]] | None,
) -> dict[str, Any]:
    given = [n for n in (command.pass_through, command.words, command.dry_run) if n]
    try:
        call = command.read(request)
        found = operative(call.function, incidental, given)
        about: Mapping[str, Any] = {}
        if facts:
            names = inspect.signature(facts).parameters
            about = facts(**{name: value_of(call.function, name) for name in names})
    except InputError as error:
        return {"error": str(without_gin(error))}
    except Exception as error:  # A defect, which should not hide what the other requests are.
        raised = without_gin(error)
        return {"error": f"{type(raised).__name__}: {raised}"}
    return {"bindings": found.bindings, "incidental": found.incidental, "facts": dict(about)}
