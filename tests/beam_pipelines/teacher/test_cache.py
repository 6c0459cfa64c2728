"""No completed call is asked again: after a kill, by another process, or from a store."""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_pipelines.teacher.cache import CallCache, call_key, request_of
from beam_pipelines.teacher.ledger import total_spent
from beam_pipelines.teacher.prompt import Prompt, Sampling
from beam_pipelines.teacher.settings import Teacher
from tests.beam_pipelines.object_store import Store
from tests.beam_pipelines.teacher.asking import ask, teacher_at, word
from tests.beam_pipelines.teacher.odd_server import OddServer

ROOT = Path(__file__).parents[3]
PROMPTS = [f"count {i}" for i in range(60)]
PARALLEL = 8
PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")


@pytest.fixture
def server() -> Iterator[OddServer]:
    with OddServer() as running:
        yield running


def entries(teacher: Teacher) -> dict[str, Path]:
    """Prompt to the file of its call."""
    found = Path(teacher.cache_dir).glob("calls/*/*.json")
    return {json.loads(p.read_bytes())["request"]["messages"][-1][1]: p for p in found}


def start(server: OddServer, folder: Path, flags: tuple[str, ...] = ()) -> subprocess.Popen:
    """A job in a process group of its own; it prints the answers."""
    program = (
        "import json\n"
        "from pathlib import Path\n"
        "from tests.beam_pipelines.teacher.asking import ask, teacher_at\n"
        f"teacher = teacher_at({server.url!r}, Path({str(folder)!r}), parallel={PARALLEL})\n"
        f"print(json.dumps(ask(teacher, {PROMPTS!r}, {flags!r}).texts))\n"
    )
    script = folder / "job.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"if __name__ == '__main__':\n    exec({program!r})\n")
    return subprocess.Popen(
        [sys.executable, str(script)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), PROCESSES], ids=["here", "processes"])
def test_a_job_that_is_killed_again_and_again_repeats_no_completed_call(
    server: OddServer, tmp_path: Path, flags
) -> None:
    server.seconds = 0.02
    teacher = teacher_at(server.url, tmp_path, parallel=PARALLEL)
    moments = random.Random(1)
    in_flight = PARALLEL * (2 if flags else 1)
    kills, before = 0, (0, set())
    for more in (5, 12, 20):
        job = start(server, tmp_path, flags)
        enough = len(server.completed) + more + moments.randrange(5)
        while len(server.completed) < enough and job.poll() is None:
            time.sleep(moments.random() / 200)
        os.killpg(job.pid, signal.SIGKILL)
        job.communicate()
        kills += 1
        kept = entries(teacher)
        asked = len(server.asked)
        before = (asked, set(kept))
    job = start(server, tmp_path, flags)
    printed, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors
    asked, kept_before = before
    assert len(kept_before) >= 15
    assert not kept_before & set(server.asked[asked:])
    # What the server had sent and nobody had read or kept was in flight.
    assert len(server.completed) <= len(PROMPTS) + kills * in_flight
    texts = json.loads(printed)
    assert texts.keys() == set(PROMPTS)
    assert texts == ask(teacher, PROMPTS).texts


def test_equal_prompts_are_one_call(server: OddServer, tmp_path: Path) -> None:
    server.seconds = 0.05
    teacher = teacher_at(server.url, tmp_path)
    found = ask(teacher, ["count 1"] + [f"echo {i}" for i in range(5)])
    assert found.usage["total"]["asked"] == 6
    from beam_pipelines.teacher.client import client_of

    futures = [client_of(teacher).submit(word("count 2")) for _ in range(10)]
    assert len({future.result().reply.text for future in futures}) == 1
    assert server.asked.count("count 2") == 1


def test_two_jobs_at_one_time_agree(server: OddServer, tmp_path: Path) -> None:
    server.seconds = 0.05
    folder = tmp_path / "shared"
    (folder / "cache").mkdir(parents=True)
    for name in "cd":
        (tmp_path / name).mkdir()
        (tmp_path / name / "cache").symlink_to(folder / "cache")
    jobs = [start(server, tmp_path / name) for name in "cd"]
    texts = []
    for job in jobs:
        printed, errors = job.communicate(timeout=120)
        assert job.returncode == 0, errors
        texts.append(json.loads(printed))
    assert texts[0] == texts[1]
    assert texts[0].keys() == set(PROMPTS)


@pytest.mark.parametrize("damage", ["cut", "empty", "changed", "of another call", "no JSON"])
def test_a_damaged_entry_is_asked_again_and_told(
    server: OddServer, tmp_path: Path, damage: str, caplog
) -> None:
    teacher = teacher_at(server.url, tmp_path)
    before = ask(teacher, PROMPTS[:5])
    files = entries(teacher)
    path = files["count 3"]
    content = path.read_bytes()
    text = before.texts["count 3"]
    path.write_bytes(
        {
            "cut": content[:-20],
            "empty": b"",
            "changed": content.replace(f'"text":"{text}"'.encode(), b'"text":"evil"'),
            "of another call": files["count 1"].read_bytes(),
            "no JSON": b"[" * 100_000,
        }[damage]
    )
    with caplog.at_level(logging.WARNING):
        found = ask(teacher, PROMPTS[:5])
    assert path.name in caplog.text
    assert found.usage["total"]["damaged_entries"] == found.usage["total"]["asked"] == 1
    assert server.asked.count("count 3") == 2
    assert found.texts["count 3"] == "6"
    assert ask(teacher, PROMPTS[:5]).texts == found.texts
    assert len(server.asked) == 6


def test_an_answer_that_cannot_be_used_was_paid_for(server: OddServer, tmp_path: Path) -> None:
    teacher = teacher_at(server.url, tmp_path)
    prompts = [f"{kind} x" for kind in ("empty", "refusal", "long", "surrogate", "nul")]
    first = ask(teacher, prompts)
    again = ask(teacher, prompts)
    assert again.dropped == first.dropped
    assert again.usage["total"]["cached"] == len(server.asked) == 5


def test_a_key_is_all_that_an_answer_depends_on() -> None:
    def key(teacher: Teacher, prompt: Prompt) -> str:
        return call_key(request_of(teacher, prompt))

    teacher = Teacher("http://a/v1", "m", "c")
    plain = Sampling(0.5, 10)
    messages = (("user", "a"),)
    base = key(teacher, Prompt("t", messages, plain))
    assert base == key(teacher, Prompt("another template", messages, plain))
    elsewhere = Teacher("https://b/v1", "m", "d", parallel=1, prompt_price=3.0, budget_calls=9)
    assert base == key(elsewhere, Prompt("t", messages, plain))
    others = [
        key(Teacher("http://a/v1", "n", "c"), Prompt("t", messages, plain)),
        key(Teacher("http://a/v1", "m", "c", extra={"top_k": 1}), Prompt("t", messages, plain)),
        key(teacher, Prompt("t", (("user", "b"),), plain)),
        key(teacher, Prompt("t", (("system", "a"),), plain)),
        key(teacher, Prompt("t", (("user", "a"), ("user", "")), plain)),
        *(
            key(teacher, Prompt("t", messages, sampling))
            for sampling in (
                Sampling(0.6, 10),
                Sampling(0.5, 11),
                Sampling(0.5, 10, 0.9),
                Sampling(0.5, 10, 1.0, 1),
            )
        ),
    ]
    assert len({base, *others}) == 1 + len(others)


def test_a_cache_that_cannot_be_written_ends_the_job(server: OddServer, tmp_path: Path) -> None:
    teacher = teacher_at(server.url, tmp_path)
    (tmp_path / "cache").write_text("a file, no folder")
    with pytest.raises(ValueError, match="the teacher's cache cannot be used"):
        ask(teacher, PROMPTS)
    assert len(server.asked) <= PARALLEL * 4


@pytest.mark.slow
def test_calls_are_kept_in_a_store(server: OddServer, tmp_path: Path, store: Store) -> None:
    teacher = teacher_at(server.url, tmp_path, cache_dir=f"{store.root}/calls/here")
    found = ask(teacher, PROMPTS, store.flags, folder=tmp_path)
    assert len(server.asked) == 60
    assert len(store.names(f"{store.root}/calls/here/calls")) == 60
    again = ask(teacher, PROMPTS, store.flags, folder=tmp_path)
    assert again.texts == found.texts
    assert len(server.asked) == 60
    assert again.usage["cache_dir_total"]["calls"] == total_spent(teacher.cache_dir).calls == 60
    request = request_of(teacher, word("count 3"))
    key = call_key(request)
    store.put(CallCache(teacher.cache_dir).place(key), b"{")
    assert ask(teacher, PROMPTS, store.flags, folder=tmp_path).texts["count 3"] == "61"
    assert CallCache(teacher.cache_dir).get(key, request).text == "61"


@pytest.mark.slow
def test_no_call_begins_faster_than_the_rates(server: OddServer, tmp_path: Path) -> None:
    ask(teacher_at(server.url, tmp_path, requests_per_minute=1200), PROMPTS[:50])
    # 20 a second, after those of the first: 1.4 s, less what the first took to arrive.
    times = sorted(server.times)
    assert times[-1] - times[0] >= 1.2
    # A call is reckoned at 12 + 20 tokens and takes 15: 4 begin a second, then 8.
    prompts = [f"echo {i}" for i in range(30)]
    ask(teacher_at(server.url, tmp_path, tokens_per_minute=128 * 60), prompts)
    times = sorted(server.times)[50:]
    # 30 x 15 tokens are 3.5 s of the rate, one of them saved up.
    assert times[-1] - times[0] >= 2.0
