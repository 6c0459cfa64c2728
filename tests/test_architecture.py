"""The rooms keep to docs/architecture.md: who may import what, also through others.

What a module imports when it is imported is seen in a fresh process, `sys.modules` and
all; what its functions import later is read from its source.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ACCELERATOR = {"jax", "flax", "optax", "orbax", "grain", "tensorflow", "seqio"}
# The canary and the drivers are programs that the sandbox runs; the adapter imports T5X, which is
# no dependency (its test says what happens without). Nobody imports them.
PROGRAMS = {
    "opencoder_jax.sandbox.canary",
    "opencoder_jax.t5x_adapter",
    "opencoder_jax.evaluation.drivers.evalplus",
    "opencoder_jax.evaluation.drivers.function_case",
}

# What carries the project between the two packages: any machine can import it.
SHARED = (
    *("formats", "sandbox", "configuration", "command_flags", "errors", "progress", "timing"),
    "openai_api",
)
# `pip install opencoder-jax[inference]` has neither TensorFlow nor a data pipeline.
INFERENCE = (
    "decoding",
    "evaluation",
    "huggingface",
    "model",
    "compare",
    "evaluate",
    "generate",
    "export_hf",
    "import_hf",
    "serve",
    "sharding",
)

GROUPS = {
    "a Beam worker": (["beam_pipelines"], {*ACCELERATOR, "torch", "transformers"}),
    "what both packages share": (
        [f"opencoder_jax.{name}" for name in SHARED],
        {*ACCELERATOR, "apache_beam", "beam_pipelines"},
    ),
    "inference": (
        [f"opencoder_jax.{name}" for name in INFERENCE],
        {"tensorflow", "seqio", "grain", "optax", "apache_beam", "torch", "transformers"},
    ),
    "the model side": (["opencoder_jax"], {"apache_beam", "beam_pipelines"}),
}


def modules(*prefixes: str) -> list[str]:
    """All modules that are one of `prefixes` or below it."""
    names = (_module_name(path) for path in _sources())
    return sorted(
        name
        for name in names
        if name not in PROGRAMS and any(f"{name}.".startswith(f"{p}.") for p in prefixes)
    )


def imported_names(path: Path) -> Iterator[str]:
    """Modules that a file's import statements name, wherever in the file they stand."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_does_not_load_what_its_machines_lack(group: str) -> None:
    prefixes, forbidden = GROUPS[group]
    names = modules(*prefixes)
    program = (
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        f"    found = sorted({forbidden}.intersection(sys.modules))\n"
        "    if found:\n"
        "        sys.exit(f'importing {name} loads {found}')\n"
    )
    assert names
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_function_imports_across_the_packages_either() -> None:
    forbidden = {
        "beam_pipelines": {*ACCELERATOR, "torch", "transformers"},
        "opencoder_jax": {"apache_beam", "beam_pipelines"},
    }
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in _sources()
        for name in imported_names(path)
        if name.split(".")[0] in forbidden[path.relative_to(ROOT).parts[0]]
    ]
    assert wrong == []


def test_only_the_configuration_knows_gin() -> None:
    files = [path.relative_to(ROOT) for path in _sources() if _imports_gin(path)]
    assert {path.parent.as_posix() for path in files} == {"opencoder_jax/configuration"}


def _sources() -> list[Path]:
    return [
        path for top in ("beam_pipelines", "opencoder_jax") for path in ROOT.glob(f"{top}/**/*.py")
    ]


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports_gin(path: Path) -> bool:
    return any(name.split(".")[0] == "gin" for name in imported_names(path))
