"""What is wrong with every call ends the job with one error; what was answered is kept."""

import itertools
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipelines.teacher.ask import check_workers
from beam_pipelines.teacher.client import TeacherStoppedError
from beam_pipelines.teacher.ledger import total_spent
from beam_pipelines.teacher.settings import Teacher
from opencoder_jax.errors import InputError
from tests.beam_pipelines.teacher.asking import ask, teacher_at
from tests.beam_pipelines.teacher.odd_server import OddServer

PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
PROMPTS = [f"echo {i}" for i in range(40)]


@pytest.fixture
def server() -> Iterator[OddServer]:
    with OddServer() as running:
        yield running


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("unauthorized", r"401: bad key.*environment variable TEACHER_API_KEY"),
        ("forbidden", r"403: forbidden.*environment variable TEACHER_API_KEY"),
        ("unknown-model", "404: no such model.*--teacher_model"),
        ("quota", "429: You exceeded your current quota"),
    ],
)
def test_a_refusal_of_every_call_ends_the_job(server: OddServer, tmp_path, kind, told) -> None:
    teacher = teacher_at(server.url, tmp_path, parallel=1)
    with pytest.raises(TeacherStoppedError, match=told) as error:
        ask(teacher, [f"{kind} {i}" for i in range(20)])
    assert "Completed calls are kept" in str(error.value)
    assert "while running" not in str(error.value)
    assert len(server.asked) == 1


def test_an_outage_ends_the_job_and_drops_nothing(server: OddServer, tmp_path) -> None:
    teacher = teacher_at(server.url, tmp_path, parallel=4, attempts=2, failures_to_stop=10)
    assert len(ask(teacher, PROMPTS[:20]).kept) == 20
    server.status = 500
    with pytest.raises(TeacherStoppedError, match="the last 10 calls failed and none succeeded"):
        ask(teacher, PROMPTS)
    assert len(server.asked) <= 20 + 2 * (10 + 4)
    server.status = 200
    found = ask(teacher, PROMPTS)
    assert found.texts == {f"echo {i}": str(i) for i in range(40)}
    assert found.usage["total"]["cached"] == 20
    assert sorted(server.completed) == sorted(PROMPTS)


def test_calls_that_are_all_refused_are_an_outage_too(server: OddServer, tmp_path) -> None:
    teacher = teacher_at(server.url, tmp_path, parallel=2, failures_to_stop=10)
    with pytest.raises(TeacherStoppedError, match=r"refused_request .400: maximum context"):
        ask(teacher, [f"too-long {i}" for i in range(1000)])
    assert len(server.asked) <= 12


def test_nobody_there_is_told_at_once_and_in_the_end(tmp_path, caplog) -> None:
    teacher = teacher_at("http://127.0.0.1:9/v1", tmp_path)
    # No drop, even where there is only one call to fail.
    for prompts in (PROMPTS, PROMPTS[:1]):
        with pytest.raises(TeacherStoppedError, match=r"127.0.0.1:9.*ConnectError"):
            ask(teacher, prompts)
    assert "127.0.0.1:9" in caplog.text
    assert "(attempt 1 of 3); asking again" in caplog.text


def test_an_endpoint_that_goes_in_the_middle_drops_nothing(tmp_path) -> None:
    with OddServer() as server:
        teacher = teacher_at(server.url, tmp_path, parallel=2)
        assert len(ask(teacher, PROMPTS[:3]).kept) == 3
    with pytest.raises(TeacherStoppedError, match="the same command goes on"):
        ask(teacher, PROMPTS[:5])
    assert total_spent(teacher.cache_dir).calls == 3


def test_a_busy_server_is_waited_for_however_long(server: OddServer, tmp_path) -> None:
    server.refuse_above = 2
    teacher = teacher_at(server.url, tmp_path, parallel=16, attempts=2, longest_wait_seconds=0.05)
    server.seconds = 0.01
    found = ask(teacher, PROMPTS)
    assert len(found.kept) == 40
    assert len(server.asked) > 40
    assert found.usage["total"]["failed_attempts"] == len(server.asked) - 40


def test_a_server_that_is_only_busy_ends_the_job(server: OddServer, tmp_path) -> None:
    server.status, server.retry_after = 429, "0"
    teacher = teacher_at(server.url, tmp_path, failures_to_stop=5)
    with pytest.raises(TeacherStoppedError, match=r"the last 5 calls failed.*429"):
        ask(teacher, PROMPTS)


def test_retry_after_is_honoured_by_all_calls(server: OddServer, tmp_path) -> None:
    server.status, server.retry_after = 503, "1"
    server.recover_after = 8
    teacher = teacher_at(server.url, tmp_path, parallel=8, first_wait_seconds=0.0)
    assert len(ask(teacher, PROMPTS).kept) == 40
    # Those that were in flight were refused; nobody asked in the second after.
    refused = sorted(server.times)[: len(server.asked) - 40]
    assert len(refused) == 8
    gaps = [later - time for time, later in itertools.pairwise(sorted(server.times))]
    assert max(gaps) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), PROCESSES], ids=["here", "processes"])
def test_a_budget_of_calls_stops_the_job_and_a_larger_one_goes_on(
    server: OddServer, tmp_path, flags
) -> None:
    def teacher(calls: int) -> Teacher:
        return teacher_at(server.url, tmp_path, parallel=4, budget_calls=calls)

    with pytest.raises(InputError, match=r"budget \(15 calls\) has no room") as error:
        ask(teacher(15), PROMPTS, flags)
    told = str(error.value)
    assert "They are kept: with a larger budget (--teacher_budget_usd" in told
    assert "\n" not in told
    assert len(server.completed) == 15
    assert total_spent(teacher(15).cache_dir).calls == len(server.completed)
    before = len(server.asked)
    with pytest.raises(InputError, match="has no room"):
        ask(teacher(15), PROMPTS, flags)
    assert len(server.asked) == before
    found = ask(teacher(40), PROMPTS, flags)
    assert len(found.kept) == 40
    assert sorted(server.completed) == sorted(PROMPTS)


def test_a_budget_of_money_reckons_calls_in_flight_at_their_most(server: OddServer, tmp_path):
    # 3 + 8 tokens of a prompt as reckoned, 20 of an answer at most: 31 + 20 x 2 = 51 millionths.
    teacher = teacher_at(
        server.url, tmp_path, parallel=8, prompt_price=1.0, completion_price=2.0, budget_usd=0.0002
    )
    with pytest.raises(TeacherStoppedError, match=r"budget \(0.0002 USD\)"):
        ask(teacher, PROMPTS)
    spent = total_spent(teacher.cache_dir)
    # A call took 10 + 5 x 2 = 20 millionths; the last begins while 51 are left.
    assert spent.usd == pytest.approx(8 * 20e-6)
    assert spent.calls == 8
    assert server.most_in_flight <= 3


def test_a_budget_of_tokens_stops(server: OddServer, tmp_path) -> None:
    teacher = teacher_at(server.url, tmp_path, budget_tokens=100)
    with pytest.raises(TeacherStoppedError, match=r"budget \(100 tokens\)"):
        ask(teacher, PROMPTS)
    assert total_spent(teacher.cache_dir).tokens <= 100


def test_cached_calls_need_no_budget(server: OddServer, tmp_path) -> None:
    ask(teacher_at(server.url, tmp_path), PROMPTS)
    found = ask(teacher_at(server.url, tmp_path, budget_calls=0), PROMPTS)
    assert len(found.kept) == found.usage["total"]["cached"] == 40
    assert found.usage["total"]["usd"] == 0


def test_a_worker_process_tells_its_reason_in_one_line(server: OddServer, tmp_path) -> None:
    server.status = 401
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from opencoder_jax import configuration\n"
        "from tests.beam_pipelines.teacher.asking import ask, teacher_at\n"
        "def job():\n"
        f"    teacher = teacher_at({server.url!r}, Path({str(tmp_path)!r}))\n"
        f"    ask(teacher, {PROMPTS!r}, {PROCESSES!r})\n"
        "if __name__ == '__main__':\n"
        "    sys.exit(configuration.main(job, []))\n"
    )
    script = tmp_path / "job.py"
    script.write_text(program)
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=root,
        env={"PYTHONPATH": str(root)},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert line.startswith(f"error: {server.url} refuses every call of teacher (401: as told)")


def test_the_key_is_sent_and_shown_nowhere(server: OddServer, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", " sk-very-secret\n")
    teacher = teacher_at(server.url, tmp_path)
    found = ask(teacher, PROMPTS[:2])
    assert server.headers["Authorization"] == "Bearer sk-very-secret"
    server.status = 403
    with pytest.raises(TeacherStoppedError) as error:
        ask(teacher, PROMPTS)
    everything = [repr(teacher), pickle.dumps(teacher), repr(found), str(error.value)]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any("very-secret" in str(thing) for thing in [*everything, *files])


def test_the_key_may_stand_in_a_file(server: OddServer, tmp_path) -> None:
    (tmp_path / "key").write_text("from-a-file\n")
    ask(teacher_at(server.url, tmp_path, api_key_file=str(tmp_path / "key")), PROMPTS[:1])
    assert server.headers["Authorization"] == "Bearer from-a-file"
    with pytest.raises(InputError, match="key cannot be read"):
        ask(teacher_at(server.url, tmp_path, api_key_file=str(tmp_path / "none")), PROMPTS[:1])
    (tmp_path / "odd").write_text("schlüssel")
    with pytest.raises(InputError, match="characters that no HTTP header can have"):
        ask(teacher_at(server.url, tmp_path, api_key_file=str(tmp_path / "odd")), PROMPTS[:1])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"url": "ftp://host/v1"}, "expected http"),
        ({"url": "https://me:secret@host/v1"}, r"//\.\.\.@host/v1: it may hold no password"),
        ({"url": "http://host:99999999/v1"}, "Port out of range"),
        ({"model": ""}, "model is not set"),
        ({"cache_dir": ""}, "cache_dir is not set"),
        ({"parallel": 0}, "parallel is 0, expected at least 1"),
        ({"timeout_seconds": 0.0}, "timeout_seconds is 0.0, expected more than 0"),
        ({"budget_usd": 1.0}, "budget_usd needs prices"),
        ({"extra": {"seed": 1}}, "extra has seed"),
        ({"vllm_flags": {"dtype": "half"}}, "vllm_flags are for vLLM"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, told) -> None:
    with pytest.raises(InputError, match=told) as error:
        Teacher(**{"url": "http://h/v1", "model": "m", "cache_dir": "c", **settings})
    assert "secret" not in str(error.value)


def test_workers_elsewhere_need_the_cache_and_the_key(tmp_path, monkeypatch) -> None:
    dataflow = SimpleNamespace(options=PipelineOptions(["--runner=DataflowRunner"]))
    with pytest.raises(InputError, match=r"do not see this machine's teacher_cache_dir"):
        check_workers(dataflow, teacher_at("http://h/v1", tmp_path))
    there = teacher_at("http://h/v1", tmp_path, cache_dir="gs://b/calls")
    check_workers(dataflow, there)
    monkeypatch.setenv("TEACHER_API_KEY", "secret")
    with pytest.raises(InputError, match="--teacher_api_key_file=gs://BUCKET/KEY") as error:
        check_workers(dataflow, there)
    assert "secret" not in str(error.value)
