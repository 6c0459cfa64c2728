"""Looks into gin files without configuring anything by them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gin

from opencoder_jax.command_flags import ConfigurationError
from opencoder_jax.configuration.parsing import CONFIG_FOLDER


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


def read_gin(
    path: str | os.PathLike,
    search_paths: Sequence[str | os.PathLike] = (),
    includes: bool = True,
) -> Written:
    """A gin file and those that it includes, without configuring anything by them.

    So one command can look into the gin files of another.

    Args:
      path: of the file.
      search_paths: where included files are looked for first.
      includes: False: what stands in the file itself.

    Raises:
      ConfigurationError: it is missing, or no gin.
    """
    read = Written({}, {}, {})
    folders = [*search_paths, CONFIG_FOLDER] if includes else None
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


def _read_gin(path: Path, folders: Sequence[str | os.PathLike] | None, read: Written) -> None:
    try:
        statements = list(gin.config_parser.ConfigParser(path.read_text("utf-8"), _Names()))
    except (OSError, SyntaxError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    for statement in statements:
        if isinstance(statement, gin.config_parser.IncludeStatement):
            if folders is None:
                continue
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
