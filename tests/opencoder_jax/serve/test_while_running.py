"""A command that runs while a model is served: what it finds, what it leaves."""

import os
import signal
import subprocess
import sys

import pytest

from opencoder_jax import configuration
from opencoder_jax.serve.__main__ import serve
from tests.opencoder_jax.serve.server_process import ROOT

ASKS = """
import json, sys, urllib.request
with urllib.request.urlopen(sys.argv[1] + "/v1/models") as answer:
    print(json.load(answer)["data"][0]["id"], sys.argv[2])
sys.exit(7)
"""
# One that does not end by itself, and says when it runs.
STAYS = "import os, signal; print(os.getpid(), flush=True); signal.pause()"


def start(model_dir, *words: str) -> subprocess.Popen:
    """In a process group of its own, as a shell starts it."""
    flags = [f"--model={model_dir}", "--port=0", "--slots=2", "--skip_warm_up"]
    return subprocess.Popen(
        [sys.executable, "-m", "opencoder_jax.serve", *flags, "--", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def test_a_command_finds_the_server_ready_and_its_status_is_the_servers(model, model_dir):
    # A flag of the command's, of a name that the server has too.
    with start(model_dir, sys.executable, "-c", ASKS, "{url}", "--gin.MODEL_DIR=x") as server:
        out, errors = server.communicate(timeout=300)
    assert server.returncode == 7, errors
    assert out == f"{model_dir.name} --gin.MODEL_DIR=x\n"
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("send", "status"), [(os.killpg, 128 + signal.SIGINT), (os.kill, 128 + signal.SIGTERM)]
)
def test_a_signal_ends_both(model, model_dir, send, status):
    """Ctrl-C goes to all processes of a terminal, a supervisor's SIGTERM to the server alone."""
    with start(model_dir, sys.executable, "-c", STAYS) as server:
        pid = int(server.stdout.readline())
        send(server.pid, signal.SIGINT if send is os.killpg else signal.SIGTERM)
        _, errors = server.communicate(timeout=60)
    assert server.returncode == status, errors
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_file_that_is_no_program_ends_the_server(model, model_dir, tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"\x00")
    program.chmod(0o755)
    with start(model_dir, str(program)) as server:
        _, errors = server.communicate(timeout=300)
    assert server.returncode == 2
    assert f"error: {program} cannot be run: " in errors.splitlines()[-1]


def test_a_command_that_is_not_there_is_told_of_before_the_model_is_loaded(capsys):
    flags = ["--model=/nowhere", "--port=0", "--", "no-such-program"]
    status = configuration.main(
        serve,
        flags,
        default_gin_files=["serve/base.gin"],
        flags={"model": "MODEL_DIR", "port": "serve.port"},
        words="command",
    )
    assert status == 2
    assert "no-such-program: no such command" in capsys.readouterr().err
