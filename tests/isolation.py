"""Which tests a machine without namespaces cannot run: told without asking the sandbox."""

import shutil
import subprocess

import pytest

_UNSHARE = "unshare --user --map-root-user --net --mount --pid --ipc --uts --fork true"


def require_isolation() -> None:
    """Skips where this user may not make namespaces; a sandbox that fails elsewhere is broken."""
    command = _UNSHARE.split()
    if shutil.which(command[0]) is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip(f"this machine does not allow: {_UNSHARE}")
