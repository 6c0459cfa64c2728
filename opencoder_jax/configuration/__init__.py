"""Gin and flags as T5X has them, stricter: a binding without effect is an error.

Every command is one function, configured by gin files and flags:

    python -m opencoder_jax.train --gin_file=pretrain/demo.gin --gin.MODEL_DIR=runs/x

T5X's surface: repeated `--gin_file`, `--gin.X=Y`, `--gin_search_paths`, `--dry_run`.
Two things differ. `--gin.MODEL_DIR=runs/x` needs no inner quotes. And a binding that
names nothing, or that the command would never read, stops the run before it starts:
gin itself ignores the second kind, the commonest silent mistake in sweeps.

Gin binds only the function of the command and what its gin file imports; the library
below takes plain arguments and imports no gin.

Next: `command.main` reads a command line, `parsing.configure` makes gin of it and has it
checked by `checks`; `operative` says what a command would be called with.
"""

from opencoder_jax.command_flags import ConfigurationError
from opencoder_jax.configuration.canonical import canonical, config_gin, write_config_gin
from opencoder_jax.configuration.checks import (
    bindings_without_effect,
    mistyped_bindings,
    unset_requirements,
)
from opencoder_jax.configuration.command import main
from opencoder_jax.configuration.parsing import CONFIG_FOLDER, configure, search_paths
from opencoder_jax.configuration.reading import Reference, Written, read_gin

__all__ = [
    "CONFIG_FOLDER",
    "ConfigurationError",
    "Reference",
    "Written",
    "bindings_without_effect",
    "canonical",
    "config_gin",
    "configure",
    "main",
    "mistyped_bindings",
    "read_gin",
    "search_paths",
    "unset_requirements",
    "write_config_gin",
]
