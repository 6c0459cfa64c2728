"""What `pip install .` gives: every file of the packages, and commands that run from it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("beam_pipelines", "gin_configs", "opencoder_jax")
METADATA = ("pyproject.toml", "setup.cfg", "README.md", "LICENSE", "NOTICE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tree / package, ignore=ignored)
    for name in METADATA:
        shutil.copyfile(ROOT / name, tree / name)
    program = "import sys, setuptools.build_meta as b; b.build_wheel(sys.argv[1])"
    output = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-c", program, str(output)]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)
    (path,) = output.glob("*.whl")
    return path


def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    packed = {name for name in names if name.partition("/")[0] in PACKAGES}
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*"))
    there = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == there


def test_a_command_runs_from_the_wheel_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    command = [sys.executable, "-m", "beam_pipelines.refinecode", "--dry_run"]
    command += ["--gin_file=refinecode/paper.gin", "--gin.SOURCE_DIR=in", "--gin.OUTPUT_DIR=out"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert "refinecode.bands = 16" in done.stdout
