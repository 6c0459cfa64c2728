"""A killed synthesis job asks nothing twice that was answered, and ends as one that was not."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from opencoder_jax.formats.manifest import read_manifest
from tests.beam_pipelines.corpora import write_corpus
from tests.beam_pipelines.synthesis.making import conversations
from tests.beam_pipelines.synthesis.scripted_teacher import ScriptedTeacher
from tests.isolation import require_isolation

SEEDS = 60
PARALLEL = 4
ANSWERED_BEFORE_THE_KILL = 25


def test_a_killed_job_goes_on_with_the_calls_that_it_had(tmp_path: Path) -> None:
    require_isolation()
    texts = [("repo", f"{i}.py", f"def seed_{i}():\n    return {i}\n") for i in range(SEEDS)]
    write_corpus(tmp_path / "corpus", texts)
    enough, go_on = threading.Event(), threading.Event()
    lock = threading.Lock()
    answered: Counter[str] = Counter()

    def answer(prompt: str) -> str:
        number = re.search(r"seed_(\d+)", prompt)[1]
        with lock:
            answered[number] += 1
            late = answered.total() > ANSWERED_BEFORE_THE_KILL
        if late and not go_on.is_set():
            enough.set()
            go_on.wait(60)
        return (
            f"### Task\nWrite f{number}.\n### Solution\n```\ndef f{number}():\n    return 1\n```\n"
            f"### Tests\n```\nassert f{number}() == 1\n```"
        )

    with ScriptedTeacher(answer) as server:
        url = server.settings(tmp_path / "calls").url
        job = start(tmp_path, url, "out")
        assert enough.wait(120)
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        go_on.set()
        before = answered.copy()
        assert not (tmp_path / "out" / "educational").exists()
        assert start(tmp_path, url, "out").wait(300) == 0
        # What was in flight when it was killed had no answer yet.
        again = [number for number, count in answered.items() if count > 1]
        assert len(again) <= PARALLEL
        assert set(answered) == {str(number) for number in range(SEEDS)}
        assert before.total() < SEEDS
        total = answered.total()
        assert start(tmp_path, url, "undisturbed").wait(300) == 0
        assert answered.total() == total
    made, undisturbed = (tmp_path / name / "educational" for name in ("out", "undisturbed"))
    assert len(conversations(made)) == SEEDS
    assert read_manifest(made) == read_manifest(undisturbed)


def start(root: Path, url: str, output: str) -> subprocess.Popen:
    """The command as a user starts it, in a process group of its own."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "beam_pipelines.synthesize"),
            "--gin_file=synthesis/educational.gin",
            f"--gin.INPUT_DIR={root / 'corpus'}",
            f"--gin.OUTPUT_DIR={root / output}",
            "--gin.MIN_SCORE=None",
            "--gin.seeds.SeedSettings.min_lines=1",
            "--gin.BENCHMARKS=['humaneval']",
            f"--teacher_url={url}",
            "--teacher_model=scripted",
            f"--teacher_cache_dir={root / 'calls'}",
            f"--teacher_parallel={PARALLEL}",
        ],
        start_new_session=True,
    )
