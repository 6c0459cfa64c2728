"""Packages are looked into whatever they do as they are imported, each time with one result."""

import subprocess
import sys
from pathlib import Path

import pytest

from beam_pipelines.synthesis.apis import IntrospectionError, introspect


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter that has packages which do not behave."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    for name, source in {
        "loud": "import os\nprint('hello')\nos.write(1, b'raw\\n')\nos.write(2, b'\\xff')\n"
        "def f(x):\n    'Doc.'\n",
        "leaves": "import sys\nsys.exit(0)\n",
        "vanishes": "import os\nos._exit(0)\n",
        "lazy": "def f(x):\n    'Doc.'\n__all__ = ['f', 'gone']\n"
        "def __getattr__(name):\n    raise SystemExit(0) if name == 'gone' else AttributeError\n",
        "odd": "def f(x=object(), y=print):\n    'A \\ud800 alone.'\n"
        "globals()['not a name'] = globals()['class'] = type('T', (), {'__doc__': 'Doc.'})\n",
    }.items():
        (site / f"{name}.py").write_text(source)
    return tmp_path / "venv" / "bin" / "python"


@pytest.mark.parametrize("package", ["loud", "lazy"])
def test_what_a_package_prints_or_fails_to_load_is_left_out(package: str, python: Path) -> None:
    assert [api.name for api in introspect(package, str(python))] == [f"{package}.f"]


@pytest.mark.parametrize("package", ["leaves", "vanishes"])
def test_a_package_that_ends_the_process_is_no_empty_one(package: str, python: Path) -> None:
    with pytest.raises(IntrospectionError, match=f"{package}: ends the process"):
        introspect(package, str(python))


def test_signatures_have_no_addresses_and_names_can_be_written(python: Path) -> None:
    (api,) = introspect("odd", str(python))
    assert (api.name, api.signature, api.documentation) == (
        "odd.f",
        "(x=<object object>, y=<built-in function print>)",
        "A ? alone.",
    )
