"""The configuration as files and manifests hold it."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gin


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
