"""The flags of a command: T5X's, and for people who do not know gin one for some bindings.

Everything here is argparse and text; what the bindings do is `configuration`'s.
"""

import argparse
import ast
import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opencoder_jax.errors import InputError

# A path or word; or a text that starts as none of gin's own values does.
_PLAIN_TEXT = re.compile(r"[\w./~:@=+,*?-]+|[A-Za-z#][^@%]*", re.DOTALL)


class ConfigurationError(InputError):
    """A gin file, binding or flag that cannot be used."""


class _Parser(argparse.ArgumentParser):
    """Tells of a wrong flag as of any other bad input, in one line."""

    def error(self, message: str) -> typing.NoReturn:
        raise ConfigurationError(f"{message}; see --help")


def argument_parser(
    function: Callable[..., Any],
    default_gin_files: Sequence[str],
    base_gin_files: Sequence[str],
    pass_through: str | None,
    words: str | None,
    dry_run: str | None = None,
) -> argparse.ArgumentParser:
    module = function.__module__
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    package, _, action = module.rpartition(".")
    if module == "__main__":
        module = spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).stem
    elif spec and spec.name == f"{package}.__main__":
        # One of a package's actions (`python -m opencoder_jax.sweep plan`).
        module = f"{package} {action}"
    parameters = "\n".join(
        f"  {function.__name__}.{p}"
        for p in inspect.signature(function).parameters.values()
        if p.name not in (pass_through, words, dry_run)
    )
    parser = _Parser(
        prog=f"python -m {module}",
        description=inspect.getdoc(function),
        epilog=f"what --gin.X=Y can bind:\n{parameters}\nand every macro of the gin files.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--gin_file",
        action="append",
        metavar="FILE",
        help="gin file, by path or relative to a search path; may be repeated"
        + (f" (default: {', '.join(default_gin_files)})" if default_gin_files else "")
        + (f" (read over {', '.join(base_gin_files)})" if base_gin_files else ""),
    )
    parser.add_argument(
        "--gin_bindings",
        action="append",
        default=[],
        metavar="X=Y",
        help="one binding over the files; --gin.X=Y is the same",
    )
    parser.add_argument(
        "--gin_search_paths",
        type=lambda text: text.split(","),
        default=[],
        metavar="DIRS",
        help="comma-separated folders tried before the project's gin_configs",
    )
    told = "check and print the configuration, run nothing"
    if dry_run:
        told = "check and print the configuration, and foretell what running it would do"
    parser.add_argument("--dry_run", action="store_true", help=told)
    if words:
        parser.add_argument(words, nargs="*", metavar=words.removesuffix("s").upper())
    return parser


def add_flags(
    parser: argparse.ArgumentParser,
    function: Callable[..., Any],
    flags: Mapping[str, str],
    settings: Sequence[type] | Mapping[str, type] = (),
) -> dict[str, str]:
    """`--name` for each of `flags` and each field of `settings`, typed as what it sets is.

    Fields that are mappings get no flag: gin has a way to write them.

    Args:
      parser: that gets them.
      function: the command.
      flags: a parameter of `function`, or a field of `settings`, to the binding that it sets.
      settings: dataclasses, whose docstrings say what their fields are (`Attributes:`), or such by
        what the names of their flags begin with; a field that `flags` does not have sets
        `Class.field`.

    Returns:
      Name of each flag to the binding that it sets.
    """
    prefixed = settings.items() if isinstance(settings, Mapping) else [("", c) for c in settings]
    fields: dict[str, str] = {}
    for prefix, cls in prefixed:
        group = parser.add_argument_group(f"{cls.__name__}, also as --gin.{cls.__name__}.FIELD")
        hints, meanings = typing.get_type_hints(cls), _attributes(cls)
        for field in dataclasses.fields(cls):
            name, hint = f"{prefix}{field.name}", hints[field.name]
            if typing.get_origin(hint) is not Mapping:
                _add_flag(group, name, hint, meanings.get(field.name, ""))
                fields[name] = f"{cls.__name__}.{field.name}"
    hints = typing.get_type_hints(function)
    for name, binding in flags.items():
        if name not in fields:
            _add_flag(parser, name, hints[name], f"the same as --gin.{binding}")
    return fields | dict(flags)


def _add_flag(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, name: str, hint: Any, text: str
) -> None:
    text = text.replace("%", "%%")  # argparse's own directives.
    if hint is bool:
        parser.add_argument(f"--{name}", action="store_true", default=None, help=text)
    else:
        kinds = typing.get_args(hint) or (hint,)
        kind = next((number for number in (int, float) if number in kinds), str)
        parser.add_argument(f"--{name}", type=kind, metavar=name.upper(), help=text)


def _attributes(cls: type) -> dict[str, str]:
    """Name to meaning of what the docstring's `Attributes:` lists."""
    section = (inspect.getdoc(cls) or "").partition("\nAttributes:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^  (\w+): (.*(?:\n    .*)*)", section, re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in found}


def as_gin_bindings(argv: Sequence[str]) -> list[str]:
    """`--gin.X=Y` as `--gin_bindings=X=Y`; a bare word, path or sentence becomes a string."""
    rewritten = []
    for argument in argv:
        if not argument.startswith("--gin."):
            rewritten.append(argument)
            continue
        name, separator, value = argument.removeprefix("--gin.").partition("=")
        if not separator:
            raise ConfigurationError(f"{argument}: write --gin.NAME=VALUE")
        rewritten.append(f"--gin_bindings={name}={_quoted_if_plain(value)}")
    return rewritten


def _quoted_if_plain(value: str) -> str:
    if value.startswith(("@", "%")) or not _PLAIN_TEXT.fullmatch(value):
        return value
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return repr(value)
    return value
