"""Parses gin for a command and checks it."""

import contextlib
import logging
import os
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import gin
import gin.resource_reader

from opencoder_jax.command_flags import ConfigurationError
from opencoder_jax.configuration.checks import (
    bindings_without_effect,
    mistyped_bindings,
    unset_requirements,
)

CONFIG_FOLDER = Path(__file__).resolve().parent.parent.parent / "gin_configs"
# Commands that were configured in this process.
_COMMANDS: list[Any] = []
_PARSER = gin.config_parser.ConfigParser
_GIN_CONTAINER, _GIN_ITEM = _PARSER._maybe_parse_container, _PARSER._parse_dict_item
_GIN_RAISES_WITH = gin.utils.augment_exception_message_and_reraise.__qualname__


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
    package_files = gin.resource_reader.system_path_reader, _is_package_file
    gin.config._FILE_READERS[:] = [(open, os.path.isfile), package_files]
    with as_main_module(module), gin.unlock_config():
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
                f"these gin bindings never take effect on {function.__name__} "
                "(nothing that it uses reads them, or scoped ones cover them): " + ", ".join(idle)
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


def _is_package_file(path: str) -> bool:
    """Whether gin finds the file in an importable package.

    gin 0.5 raises a TypeError where the "package" is a folder without `__init__.py`, e.g. results
    in `./sft_data` where `sft_data/demo.gin` is looked for.
    """
    try:
        return gin.resource_reader.system_path_file_exists(path)
    except TypeError:
        return False


def search_paths() -> list[str]:
    """Those of the command that was configured last, beside the project's own folder."""
    return [path for path in gin.config._LOCATION_PREFIXES if path not in ("", str(CONFIG_FOLDER))]


def without_gin[E: Exception](error: E) -> E:
    """The error that was raised, where gin raised another in its place.

    gin's has "In call to configurable ..." lines, of no use to a user, and lacks what an
    exception keeps beside its `__dict__`, e.g. the `errno` of an OSError.
    """
    while type(error).__init__.__qualname__.startswith(_GIN_RAISES_WITH):
        error = typing.cast(E, error.__context__)
    return error


@contextlib.contextmanager
def as_main_module(module: ModuleType) -> Iterator[None]:
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


def _parse(parser: Callable[[str], Any], what: str, prefix: str) -> None:
    try:
        parser(what)
    except Exception as error:
        text = str(error).strip() or type(error).__name__
        message = " ".join(line.strip() for line in text.splitlines() if line.strip())
        raise ConfigurationError(prefix + message) from error


@contextlib.contextmanager
def forgotten_after() -> Iterator[None]:
    """Takes back what gin files register while the body runs.

    So names in a later configuration mean what they mean in a process of its own.
    """
    registry, of_objects = gin.config._REGISTRY, gin.config._INVERSE_REGISTRY
    before = set(of_objects)
    try:
        yield
    finally:
        for registered in set(of_objects) - before:
            registry.pop(of_objects.pop(registered).selector)


def _container(parser: Any) -> tuple[bool, Any]:
    """As gin parses one, but knowing which keys it has so far."""
    parser.__dict__.setdefault("keys_so_far", []).append([])
    try:
        return _GIN_CONTAINER(parser)
    finally:
        parser.keys_so_far.pop()


def _item(parser: Any) -> tuple[Any, Any]:
    """As gin parses one of a dictionary; of a key that is there twice gin keeps the last one."""
    location = parser._current_location()
    key, value = _GIN_ITEM(parser)
    if key in parser.keys_so_far[-1]:
        parser._raise_syntax_error(f"The key {key!r} is in one dictionary twice.", location)
    parser.keys_so_far[-1].append(key)
    return key, value


_PARSER._maybe_parse_container, _PARSER._parse_dict_item = _container, _item
