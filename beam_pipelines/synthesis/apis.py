"""What the public functions and classes of installed packages are called, take and say.

Read by introspection in a process of its own, with the interpreter that has the packages, so
that signatures and documentation are those of the very versions installed, and importing them
touches no job. Run as a program it prints one JSON object a line.
"""

import contextlib
import dataclasses
import importlib
import importlib.metadata
import inspect
import json
import keyword
import os
import pkgutil
import re
import subprocess
import sys
import types
import warnings
from collections.abc import Iterator, Sequence

_SECONDS_A_PACKAGE = 120
_DEPTH = 3
_LONGEST_DOCUMENTATION = 4_000
# Behind the last line: a package may leave with exit code 0.
_END = "end"
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_KINDS = (type, types.FunctionType, types.BuiltinFunctionType)


@dataclasses.dataclass(frozen=True, slots=True)
class Api:
    """A public function or class.

    Attributes:
      package: that it was asked for by.
      version: of the distribution.
      name: as it is written after `import package`, e.g. `numpy.linalg.norm`.
      signature: with parentheses; empty where Python cannot tell.
      documentation: its docstring, cut where it is very long.
    """

    package: str
    version: str
    name: str
    signature: str
    documentation: str


class IntrospectionError(Exception):
    """A package cannot be looked into; the message says why."""


def introspect(package: str, python: str = sys.executable) -> list[Api]:
    """The documented public functions and classes of a package, by name.

    Args:
      package: as it is imported.
      python: the interpreter that has it.

    Raises:
      IntrospectionError: it is not installed there, fails, or takes too long.
    """
    try:
        done = subprocess.run(
            [python, "-I", __file__, package],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS_A_PACKAGE,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise IntrospectionError(f"{package}: {error}") from error
    if done.returncode:
        last = done.stderr.strip().rsplit("\n", 1)[-1]
        raise IntrospectionError(f"{package}: {last or f'exit code {done.returncode}'}")
    *lines, end = done.stdout.split("\n")
    if end != _END:
        raise IntrospectionError(f"{package}: ends the process that imports it")
    return [Api(**json.loads(line)) for line in lines]


def _public(package: str) -> Iterator[Api]:
    module = importlib.import_module(package)
    version = _version(package, module)
    seen: set[int] = set()
    waiting: list[tuple[str, types.ModuleType, int]] = [(package, module, 1)]
    # Breadth first: of two names for one thing the shorter is the one to be taught.
    for prefix, holder, depth in waiting:
        for name in _names(holder):
            # Lazy attributes import modules, which may leave.
            with contextlib.suppress(Exception, SystemExit):
                value = getattr(holder, name)
                if id(value) in seen:
                    continue
                if isinstance(value, types.ModuleType):
                    if depth < _DEPTH and value.__name__.startswith(f"{package}."):
                        seen.add(id(value))
                        waiting.append((f"{prefix}.{name}", value, depth + 1))
                    continue
                if not _is_api(value, package):
                    continue
                seen.add(id(value))
                documentation = _encodable(inspect.getdoc(value) or "")
                if documentation:
                    yield Api(
                        package,
                        version,
                        f"{prefix}.{name}",
                        _signature(value),
                        documentation[:_LONGEST_DOCUMENTATION],
                    )


def _names(holder: types.ModuleType) -> Sequence[str]:
    """Public names of a module, and of the modules in its folder that are no tests."""
    listed = {n for n in getattr(holder, "__all__", None) or dir(holder) if isinstance(n, str)}
    for found in pkgutil.iter_modules(getattr(holder, "__path__", [])):
        if not found.name.startswith(("_", "test", "conftest")) and found.name not in listed:
            # What a missing extra or a message of farewell costs is this module only.
            with contextlib.suppress(Exception, SystemExit):
                importlib.import_module(f"{holder.__name__}.{found.name}")
                listed.add(found.name)
    return sorted(
        name
        for name in listed
        if name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("_")
    )


def _is_api(value: object, package: str) -> bool:
    """A function or class of this package, not one that it has imported."""
    if not isinstance(value, _KINDS) and not callable(value):
        return False
    return str(getattr(value, "__module__", "") or "").split(".")[0] == package.split(".")[0]


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _signature(value: object) -> str:
    """Without the addresses of defaults, which differ from run to run."""
    try:
        return _encodable(_ADDRESS.sub("", str(inspect.signature(value))))  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return ""


def _version(package: str, module: types.ModuleType) -> str:
    distributions = importlib.metadata.packages_distributions().get(package.split(".")[0], [])
    if distributions:
        return importlib.metadata.version(distributions[0])
    return str(getattr(module, "__version__", "")) or ".".join(map(str, sys.version_info[:3]))


def _main(package: str) -> None:
    warnings.simplefilter("ignore")
    # What a package prints is none of the lines, written by Python or by an extension.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with lines:
        for api in list(_public(package)):
            lines.write(json.dumps(dataclasses.asdict(api)) + "\n")
        lines.write(_END)


if __name__ == "__main__":
    _main(sys.argv[1])
