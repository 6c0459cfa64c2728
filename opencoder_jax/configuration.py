"""Gin and flags as T5X has them, stricter: a binding without effect is an error.

Every command is one function, configured by gin files and flags:

    python -m opencoder_jax.train --gin_file=pretrain/demo.gin --gin.MODEL_DIR=runs/x

T5X's surface: repeated `--gin_file`, `--gin.X=Y`, `--gin_search_paths`, `--dry_run`.
Two things differ. `--gin.MODEL_DIR=runs/x` needs no inner quotes. And a binding that
names nothing, or that the command would never read, stops the run before it starts:
gin itself ignores the second kind, the commonest silent mistake in sweeps.

Gin binds only the function of the command and what its gin file imports; the library
below takes plain arguments and imports no gin.
"""

import contextlib
import dataclasses
import inspect
import logging
import os
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import gin

from opencoder_jax import command_flags
from opencoder_jax.command_flags import ConfigurationError
from opencoder_jax.errors import (
    INTERRUPTED_EXIT_STATUS,
    STORAGE_EXIT_STATUS,
    InputError,
    is_storage_failure,
)

CONFIG_FOLDER = Path(__file__).resolve().parent.parent / "gin_configs"
# Commands that were configured in this process.
_COMMANDS: list[Any] = []
_GIN_RAISES_WITH = gin.utils.augment_exception_message_and_reraise.__qualname__


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
) -> int:
    """Runs one command: reads flags and gin, checks them, calls `function`.

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

    Returns:
      0; 2 after a message about bad input; 74 after one about storage that failed; 130 after an
      interrupt.
    """
    parser = command_flags.argument_parser(
        function, default_gin_files, base_gin_files, pass_through, words, dry_run
    )
    parser.epilog = "\n\n".join(filter(None, (parser.epilog, notes)))
    short = command_flags.add_flags(parser, function, flags or {}, settings)
    arguments = sys.argv[1:] if argv is None else list(argv)
    last_words: list[str] = []
    if words and "--" in arguments:
        end = arguments.index("--")
        # Flags among them are not ours.
        arguments, last_words = arguments[:end], arguments[end + 1 :]
    try:
        # Intermixed: words may stand before, between and after flags.
        parse = parser.parse_known_intermixed_args if words else parser.parse_known_args
        options, unknown = parse(command_flags.as_gin_bindings(arguments))
        if unknown and pass_through is None:
            parser.error(f"unknown flags: {' '.join(unknown)} (bindings are written --gin.X=Y)")
        given = {name: getattr(options, name) for name in short}
        configured = configure(
            function,
            gin_files=[*base_gin_files, *(options.gin_file or default_gin_files)],
            bindings=[
                *options.gin_bindings,
                *(f"{short[n]} = {value!r}" for n, value in given.items() if value is not None),
            ],
            search_paths=options.gin_search_paths,
            unread_macros=unread_macros,
        )
        if options.dry_run:
            print(gin.config_str())
            if not dry_run:
                return 0
        arguments_given: dict[str, Any] = {pass_through: unknown} if pass_through else {}
        if dry_run and options.dry_run:
            arguments_given[dry_run] = True
        if words:
            arguments_given[words] = [*getattr(options, words), *last_words]
        configured(**arguments_given)
    except InputError as error:
        print(f"error: {_without_gin(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        raised = _without_gin(error)
        # A full disk, a folder that cannot be written: the machine's state, not a defect.
        print(f"error: cannot read or write: {raised}", file=sys.stderr)
        return STORAGE_EXIT_STATUS if is_storage_failure(raised) else 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED_EXIT_STATUS
    return 0


def configure(
    function: Callable[..., Any],
    *,
    gin_files: Sequence[str | os.PathLike] = (),
    bindings: Sequence[str] = (),
    search_paths: Sequence[str | os.PathLike] = (),
    unread_macros: Sequence[str] = (),
) -> Callable[..., Any]:
    """Parses gin for `function` and returns it with its bindings supplied.

    Gin files name the command's module `__main__` (`import __main__ as train_script`), as
    T5X's do; while they are parsed that name stands for `function`'s module, so a test
    or a notebook can do what the command line does.

    A command that shares another's gin files may have no use for some of their macros:
    `unread_macros` need not be set, and are empty strings whatever they are set to.

    Raises:
      ConfigurationError: a file is missing, a binding names nothing, never takes effect,
        or a required value is unset.
    """
    module = sys.modules[function.__module__]
    gin.clear_config()
    prefixes = gin.config._LOCATION_PREFIXES
    prefixes[:] = ["", *(f"{os.fspath(p)}" for p in search_paths), str(CONFIG_FOLDER)]
    with _as_main_module(module), gin.unlock_config():
        configured = _register(function)
        # gin logs every search path it tries; the one error below says it all.
        logging.disable(logging.ERROR)
        try:
            for file in gin_files:
                _parse(gin.parse_config_file, os.fspath(file), "")
            for binding in bindings:
                _parse(gin.parse_config, binding, f"--gin.{binding}: ")
        finally:
            logging.disable(logging.NOTSET)
        mistyped = mistyped_bindings(configured)
        if mistyped:
            raise ConfigurationError("wrong type of value: " + "; ".join(mistyped))
        idle = bindings_without_effect(configured)
        if idle:
            raise ConfigurationError(
                "these gin bindings never take effect on "
                f"{function.__name__} (nothing that it uses reads them): {', '.join(idle)}"
            )
        unset = [name for name in unset_requirements(configured) if name not in unread_macros]
        if unset:
            raise ConfigurationError(
                "these values are required and unset: "
                + ", ".join(unset)
                + ". Set each with --gin.NAME=VALUE or in a gin file"
            )
        for name in unread_macros:
            if (name, "gin.macro") in gin.config._CONFIG:
                gin.bind_parameter(f"{name}/gin.macro.value", "")
    return configured


def bindings_without_effect(function: Callable[..., Any]) -> list[str]:
    """Bindings that no call reachable from `function` reads, as `scope/name.parameter`."""
    reached: set[tuple[str, str]] = set()
    for scope, selector, _ in _reachable(function):
        reached.update(
            (partial, selector)
            for partial in _partial_scopes(scope)
            if (partial, selector) in gin.config._CONFIG
        )
    idle = []
    for (scope, selector), parameters in gin.config._CONFIG.items():
        if (scope, selector) in reached:
            continue
        if selector == "gin.macro":
            idle.append(scope)
        else:
            name = f"{scope}/{selector}" if scope else selector
            idle.extend(f"{name}.{parameter}" for parameter in parameters)
    return sorted(idle)


def unset_requirements(function: Callable[..., Any]) -> list[str]:
    """Macros and parameters left at `%gin.REQUIRED` that `function` would read."""
    unset = set()
    for scope, selector, parameters in _reachable(function):
        for name, value in parameters.items():
            if value is gin.REQUIRED or _is_required_constant(value):
                unset.add(scope if selector == "gin.macro" else f"{selector}.{name}")
    root = function.__wrapped__  # type: ignore[attr-defined]
    bound = gin.config._CONFIG.get(("", gin.config._inverse_lookup(root).selector), {})
    unset.update(
        f"{function.__name__}.{parameter.name}"
        for parameter in inspect.signature(root).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and parameter.name not in bound
    )
    return sorted(unset)


def mistyped_bindings(function: Callable[..., Any]) -> list[str]:
    """Bindings that `function` would read and whose value is not what the parameter takes."""
    wrong = set()
    for _, selector, parameters in _reachable(function):
        hints = _type_hints(gin.config._REGISTRY[selector].wrapped)
        for name, bound in parameters.items():
            value, source = _without_macros(bound, f"{selector}.{name}")
            if name in hints and not _fits(value, hints[name]):
                wrong.add(f"{source} = {value!r}, expected {_type_name(hints[name])}")
    return sorted(wrong)


class Reference(NamedTuple):
    """`@name()` in a gin file, with its scopes."""

    name: str


class Written(NamedTuple):
    """What stands in a gin file.

    Attributes:
      imports: name in the file to module.
      macros: name to value.
      bindings: (scope, selector) to parameters; macros are replaced by their values.
    """

    imports: dict[str, str]
    macros: dict[str, Any]
    bindings: dict[tuple[str, str], dict[str, Any]]


def read_gin(path: str | os.PathLike, search_paths: Sequence[str | os.PathLike] = ()) -> Written:
    """A gin file and those that it includes, without configuring anything by them.

    So one command can look into the gin files of another.

    Raises:
      ConfigurationError: it is missing, or no gin.
    """
    read = Written({}, {}, {})
    folders = [*search_paths, CONFIG_FOLDER]
    _read_gin(Path(path), folders, read)
    for parameters in read.bindings.values():
        for name, value in parameters.items():
            while isinstance(value, _Macro):
                value = read.macros.get(value.name)
            parameters[name] = value
    return read


class _Macro(NamedTuple):
    name: str


class _Names(gin.config_parser.ParserDelegate):
    """Leaves references and macros as their names."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        return Reference(scoped_configurable_name)

    def macro(self, macro_name: str) -> _Macro:
        return _Macro(macro_name)


def _read_gin(path: Path, folders: Sequence[str | os.PathLike], read: Written) -> None:
    try:
        statements = list(gin.config_parser.ConfigParser(path.read_text("utf-8"), _Names()))
    except (OSError, SyntaxError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    for statement in statements:
        if isinstance(statement, gin.config_parser.IncludeStatement):
            included = [Path(folder, statement.filename) for folder in folders]
            _read_gin(next(filter(Path.is_file, included), included[-1]), folders, read)
        elif isinstance(statement, gin.config_parser.ImportStatement):
            read.imports[statement.bound_name()] = statement.module
        elif isinstance(statement, gin.config_parser.BindingStatement):
            if statement.arg_name:
                key = statement.scope, statement.selector
                read.bindings.setdefault(key, {})[statement.arg_name] = statement.value
            else:
                read.macros[statement.selector] = statement.value


def config_gin() -> str:
    """The parsed configuration as a gin file that gives the same run again."""
    return gin.config_str()


def write_config_gin(folder: str | os.PathLike) -> None:
    """Writes `config.gin` beside the outputs, as T5X does in its `model_dir`."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / "config.gin").write_text(config_gin())


def canonical(value: Any) -> Any:
    """`value` as JSON that is equal for equal configurations, for manifests.

    Dataclasses become objects with their type's name, functions their qualified names,
    paths strings.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: canonical(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    raise TypeError(f"{type(value).__name__} has no canonical form")


def _without_gin[E: Exception](error: E) -> E:
    """The error that was raised, where gin raised another in its place.

    gin's has "In call to configurable ..." lines, of no use to a user, and lacks what an
    exception keeps beside its `__dict__`, e.g. the `errno` of an OSError.
    """
    while type(error).__init__.__qualname__.startswith(_GIN_RAISES_WITH):
        error = typing.cast(E, error.__context__)
    return error


@contextlib.contextmanager
def _as_main_module(module: ModuleType) -> Iterator[None]:
    before = sys.modules["__main__"]
    sys.modules["__main__"] = module
    try:
        yield
    finally:
        sys.modules["__main__"] = before


def _register(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` wrapped by gin, once a process.

    A test or a notebook may configure several commands; of two with one name, gin knows the one
    that is configured now, or `train.x` would be either's.
    """
    known = gin.config._inverse_lookup(function)
    wrapper = known.wrapper if known else gin.configurable(function)
    command = gin.config._inverse_lookup(function)
    registry = gin.config._REGISTRY
    for other in _COMMANDS:
        if other.name == command.name and other.selector in registry:
            registry.pop(other.selector)
    if command.selector not in registry:
        registry[command.selector] = command
    if command not in _COMMANDS:
        _COMMANDS.append(command)
    return wrapper


def _reachable(
    function: Callable[..., Any],
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(scope, selector, bound parameters) of every call that `function`'s bindings lead to."""
    root = gin.config._inverse_lookup(function.__wrapped__)  # type: ignore[attr-defined]
    pending: list[tuple[tuple[str, ...], str]] = [((), root.selector)]
    seen = set()
    while pending:
        scopes, selector = pending.pop()
        if (scopes, selector) in seen:
            continue
        seen.add((scopes, selector))
        scope = "/".join(scopes)
        parameters: dict[str, Any] = {}
        for partial in _partial_scopes(scope):
            parameters.update(gin.config._CONFIG.get((partial, selector), {}))
        yield scope, selector, parameters
        for value in gin.config._iterate_flattened_values(parameters):
            if _is_reference(value):
                # As gin calls it: the reference's own scope, where it has one, replaces the
                # scope that it is reached in.
                pending.append((tuple(value.scopes) or scopes, value.configurable.selector))


def _partial_scopes(scope: str) -> list[str]:
    parts = scope.split("/") if scope else []
    return ["/".join(parts[:i]) for i in range(len(parts) + 1)]


def _is_required_constant(value: Any) -> bool:
    return (
        _is_reference(value)
        and value.configurable.selector == "gin.constant"
        and list(value.scopes) == ["gin.REQUIRED"]
    )


def _type_hints(configurable: Callable[..., Any]) -> Mapping[str, Any]:
    """Parameter to annotation; empty where one cannot be evaluated."""
    called = configurable.__init__ if isinstance(configurable, type) else configurable  # type: ignore[misc]
    try:
        return typing.get_type_hints(called)
    except (NameError, TypeError):
        return {}


def _without_macros(value: Any, source: str) -> tuple[Any, str]:
    """What `%X` stands for, and the name that it was bound under."""
    while _is_reference(value) and value.configurable.selector == "gin.macro":
        name = "/".join(value.scopes)
        bound = gin.config._CONFIG.get((name, "gin.macro"))
        if bound is None:
            raise ConfigurationError(f"{source} is %{name}, which nothing sets")
        value, source = bound["value"], name
    return value, source


def _fits(value: Any, hint: Any) -> bool:
    """Whether a literal of gin can be an argument annotated `hint`; in doubt it can.

    References (`@f()`) are not looked into, they have types only when called.
    """
    value, _ = _without_macros(value, "")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if _is_reference(value) or hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin in (list, tuple, Sequence):
        item_hint = Any if origin is tuple and Ellipsis not in arguments else arguments[0]
        return isinstance(value, list | tuple) and all(_fits(item, item_hint) for item in value)
    if origin is Mapping or origin is dict:
        return isinstance(value, Mapping) and all(
            _fits(key, arguments[0]) and _fits(item, arguments[1]) for key, item in value.items()
        )
    if hint in (int, float):
        numbers = (int, float) if hint is float else (int,)
        return isinstance(value, numbers) and not isinstance(value, bool)
    if hint in (str, bool, type(None)) or dataclasses.is_dataclass(hint):
        return isinstance(value, hint)
    return True


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("collections.abc.", "")


def _is_reference(value: Any) -> bool:
    return isinstance(value, gin.config.ConfigurableReference)


def _parse(parser: Callable[[str], Any], what: str, prefix: str) -> None:
    try:
        parser(what)
    except Exception as error:
        text = str(error).strip() or type(error).__name__
        message = " ".join(line.strip() for line in text.splitlines() if line.strip())
        raise ConfigurationError(prefix + message) from error
