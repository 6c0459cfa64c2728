"""Go's standard library, compiled once for all programs.

Since Go 1.20 installations bring the library as sources only: without a cache each program
would compile what it imports anew (18 s for a line of text, measured; 0.3 s with it). The
cache is made on the host, before the first program, kept in the user's cache folder, and
programs see it read-only. Where it cannot be made, Go works without, slowly.
"""

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

_BUILD_SECONDS = 900
# What short programs import, and what a test is linked with.
_PACKAGES = """
    bufio bytes container/heap container/list container/ring context encoding/json errors fmt io
    math math/big math/bits math/cmplx math/rand os reflect regexp runtime sort strconv strings
    sync sync/atomic testing testing/internal/testdeps text/template time unicode unicode/utf8
"""
_lock = threading.Lock()


def environment(root: str) -> dict[str, str]:
    """What the compiler is told, here and inside: another setting is another cache."""
    return {"GOROOT": root, "GO111MODULE": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}


def folder(root: str) -> str | None:
    """The cache of the Go that is installed in `root`, made if need be.

    Returns:
      Its path; None where Go brings its library compiled, or where it cannot be made.
    """
    with _lock:
        return _folder(root)


@functools.cache
def _folder(root: str) -> str | None:
    if (Path(root) / "pkg" / "linux_amd64" / "fmt.a").exists():
        return None
    version = (Path(root) / "VERSION").read_bytes()
    key = hashlib.sha256(version + root.encode() + _PACKAGES.encode()).hexdigest()[:16]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "opencoder_jax"
    library = base / f"go-{key}"
    if base.is_relative_to("/tmp"):
        # Where programs have a folder of their own.
        return None
    if not library.exists():
        try:
            base.mkdir(parents=True, exist_ok=True)
            _make(root, library)
        except (OSError, subprocess.SubprocessError):
            return None
    return str(library)


def _make(root: str, library: Path) -> None:
    made = Path(tempfile.mkdtemp(prefix="go-", dir=library.parent))
    try:
        subprocess.run(
            [f"{root}/bin/go", "build", *_PACKAGES.split()],
            env={**environment(root), "GOCACHE": str(made), "GOPATH": "/nonexistent", "PATH": ""},
            cwd="/",
            capture_output=True,
            timeout=_BUILD_SECONDS,
            check=True,
        )
        # Programs are another user.
        made.chmod(0o755)
        if not library.exists():
            made.rename(library)
    finally:
        shutil.rmtree(made, ignore_errors=True)
