"""Third-party packages inside: seen, read-only, and warm where they are preloaded."""

import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.sandbox import Limits, Sandbox
from tests.isolation import require_isolation

PACKAGES = sysconfig.get_path("purelib")
LIMITS = Limits(wall_seconds=20.0, memory_bytes=512 << 20)


@pytest.fixture(scope="module")
def warm() -> Iterator[Sandbox]:
    require_isolation()
    with Sandbox(LIMITS, packages=PACKAGES, preload=("numpy",)) as sandbox:
        yield sandbox


def test_packages_can_be_imported_and_not_written() -> None:
    require_isolation()
    program = """
import os, numpy
assert numpy.linalg.inv(numpy.eye(2)).sum() == 2
try:
    open(os.path.join(os.path.dirname(numpy.__file__), "x"), "w")
except OSError as error:
    print(error.strerror)
"""
    with Sandbox(LIMITS, packages=PACKAGES) as sandbox:
        result = sandbox.run(program)
        assert (result.verdict, result.stdout) == ("passed", "Read-only file system\n"), result
        assert "numpy" not in sandbox.run("import sys; print(*sys.modules)").stdout.split()
        # Programs of other languages have no use for them.
        looking = sandbox.run("[[ ! -e /packages ]]", language="bash")
        assert looking.verdict in ("passed", "skipped"), looking


def test_a_package_that_is_not_there_is_an_ordinary_failure(warm: Sandbox) -> None:
    result = warm.run("import no_such_package")
    assert (result.verdict, result.reason) == (
        "failed",
        "ModuleNotFoundError: No module named 'no_such_package'",
    )


def test_preloaded_packages_are_there_before_the_program(warm: Sandbox) -> None:
    assert warm.run("import sys; assert 'numpy' in sys.modules").verdict == "passed"


def test_each_program_has_a_random_state_of_its_own(warm: Sandbox) -> None:
    program = "import numpy; print(numpy.random.random())"
    assert warm.run(program).stdout != warm.run(program).stdout


def test_a_change_to_a_preloaded_package_ends_with_its_program(warm: Sandbox) -> None:
    assert warm.run("import numpy; numpy.array = None").verdict == "passed"
    assert warm.run("import numpy; numpy.array([1])").verdict == "passed"


def test_memory_counts_from_what_is_preloaded(warm: Sandbox) -> None:
    fits = "import numpy; x = numpy.ones(LIMIT // 2, dtype=numpy.int8)"
    assert warm.run(fits.replace("LIMIT", str(LIMITS.memory_bytes))).verdict == "passed"
    too_much = "import numpy; x = numpy.ones(LIMIT + (1 << 20), dtype=numpy.int8)"
    assert warm.run(too_much.replace("LIMIT", str(LIMITS.memory_bytes))).verdict == "memory"


def test_what_cannot_be_preloaded_is_one_clear_error(tmp_path: Path) -> None:
    require_isolation()
    (tmp_path / "threaded.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    for name, expected in (
        ("threaded", "preload='threaded' starts threads"),
        ("no_such", "preload='no_such': ModuleNotFoundError: No module named 'no_such'"),
    ):
        with (
            Sandbox(LIMITS, packages=tmp_path, preload=(name,)) as sandbox,
            pytest.raises(InputError, match=expected),
        ):
            sandbox.run("pass")
    with pytest.raises(InputError, match="expected a site-packages folder"):
        Sandbox(packages=tmp_path / "none")


def test_a_package_is_preloaded_behind_the_walls(tmp_path: Path) -> None:
    require_isolation()
    outside = tmp_path / "outside"
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "nosy.py").write_text(
        "import os\n"
        f"seen = os.path.exists('/etc/passwd') or os.path.exists({str(outside.parent / 'x')!r})\n"
        f"try:\n    open({str(outside)!r}, 'w')\nexcept OSError:\n    pass\n"
        "open('/tmp/cache', 'w').close()\n"
    )
    with Sandbox(LIMITS, packages=packages, preload=("nosy",)) as sandbox:
        program = "import nosy, os; assert not nosy.seen; assert not os.path.exists('/tmp/cache')"
        result = sandbox.run(program)
    assert result.verdict == "passed", result
    assert not outside.exists()
