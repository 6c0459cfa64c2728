"""Beam's vLLM handler, unchanged, with our server in vLLM's place and a real small model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.beam_pipelines.teacher import vllm_job
from tests.opencoder_jax.huggingface import smollm2

ROOT = Path(__file__).parents[3]
STAND_IN = Path(__file__).parent / "stand_in"


def run(folder: Path, *words: str) -> dict:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(STAND_IN))),
        "JAX_PLATFORMS": "cpu",
    }
    model = str(smollm2.folder())
    command = [sys.executable, "-m", vllm_job.__name__, model, str(folder), *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "found.json").read_text())


@pytest.mark.slow
def test_the_workers_run_their_teacher_and_start_it_again(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    found = run(tmp_path, "kill")
    assert found["texts"].keys() == set(vllm_job.PROMPTS)
    assert all(text.strip() for text in found["texts"].values())
    assert found["total"]["asked"] == 12
    assert found["total"]["failed_attempts"] >= 1
    assert found["total"]["counts_estimated"] == 0
    # The job's end is the server's.
    assert found["servers"]
    assert not any(Path(f"/proc/{process}").exists() for process in found["servers"])
    # What is in the cache needs no server.
    again = run(tmp_path)
    assert again["texts"] == found["texts"]
    assert again["total"]["cached"] == 12
    assert again["servers"] == []
