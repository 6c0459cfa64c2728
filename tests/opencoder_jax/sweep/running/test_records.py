"""One of many wins, in folders and in servers of object stores; leases lapse by being silent."""

import os
import threading
from pathlib import Path

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.sweep.running import leases, records
from opencoder_jax.sweep.running.board import Board
from opencoder_jax.sweep.running.records import open_records
from tests.beam_pipelines.object_store import running_store_of
from tests.opencoder_jax.sweep.small_sweep import branching, start_worker, work

PLACES = ["local", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("s3", "gs"))]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Makes the url of a folder in a running server of `s3` or `gs`."""
    with pytest.MonkeyPatch.context() as patch:
        opened = {}

        def url(kind: str) -> str:
            if kind not in opened:
                running = running_store_of(kind, tmp_path_factory.mktemp("store"))
                opened[kind] = running, running.__enter__()
            store = opened[kind][1]
            folder = f"sweep-{next(numbers)}"
            if kind == "gs":
                patch.setenv("TENSORSTORE_GCS_HTTP_URL", os.environ["STORAGE_EMULATOR_HOST"])
                patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "token")
                return f"{store.root}/{folder}"
            patch.setenv("AWS_ACCESS_KEY_ID", "key")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
            patch.setenv("AWS_REGION", "us-east-1")
            patch.setenv("AWS_ENDPOINT_URL", store.flags[0].partition("=")[2])
            return f"{store.root}/{folder}"

        numbers = iter(range(1000))
        yield url
        for running, _ in opened.values():
            running.__exit__(None, None, None)


@pytest.fixture(params=PLACES)
def place(request, tmp_path):
    if request.param == "local":
        return str(tmp_path / "records")
    return request.getfixturevalue("stores")(request.param)


def test_of_many_that_create_a_file_one_does(place):
    for attempt in range(5):
        barrier = threading.Barrier(8)
        won = []

        def create(number, attempt=attempt, barrier=barrier, won=won):
            own = open_records(place)
            barrier.wait()
            if own.create(f"stage/lease-{attempt}", b"%d" % number):
                won.append(b"%d" % number)

        threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won == [open_records(place).read(f"stage/lease-{attempt}")]


def test_files_are_written_read_listed_and_removed(place):
    found = open_records(place)
    assert found.read("a-1/x") is None
    assert found.names(["a-1", "b-2"]) == {"a-1": frozenset(), "b-2": frozenset()}
    found.write("a-1/x", b"old")
    found.write("a-1/x", b"new")
    assert not found.create("a-1/x", b"other")
    # Tried again after an answer that was lost.
    assert found.create("a-1/x", b"new")
    found.create("a-1/y", b"y")
    found.create("a-10/z", b"z")
    found.create("b-2/w", b"w")

    assert found.read("a-1/x") == b"new"
    assert found.names(["b-2", "a-1"]) == {"a-1": {"x", "y"}, "b-2": {"w"}}
    found.remove("a-1/x")
    found.remove("a-1/x")
    assert found.names(["a-1"]) == {"a-1": {"y"}}
    assert found.names([]) == {}


def test_a_file_system_without_links_is_told(tmp_path, monkeypatch):
    def no_links(*arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(records.os, "link", no_links)
    with pytest.raises(InputError, match="without hard links"):
        open_records(str(tmp_path)).create("a", b"")
    assert os.listdir(tmp_path) == []


def test_a_lease_is_alive_while_it_changes_and_lapses_by_the_looking_clock(place, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(leases.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(leases, "_kernel", lambda: f"of its own {now[0]}")
    found = open_records(place)
    lease = leases.take(found, "train-1", 1, "one", 30)
    observer = leases.Observer(found)
    alive = []
    for time, renewed in [(100, 0), (129, 1), (140, 0), (169, 0), (171, 0), (180, 1), (181, 0)]:
        now[0] = time
        if renewed:
            assert lease.renew()
        alive.append(observer.look("train-1", 1)[1])

    assert alive == [True, True, True, False, False, True, True][: len(alive)]
    assert leases.take(found, "train-1", 1, "two", 30) is None
    second = leases.take(found, "train-1", 2, "two", 30)
    assert second is not None
    assert not lease.renew()
    assert second.finish("v")
    # Tried again: the first time may have failed half way.
    assert second.finish("w")
    assert not lease.finish("v")
    assert leases.read_json(found, "train-1/done.json")["worker"] == "two"


def test_what_failed_is_told_once_and_counted_anew_when_retried(place):
    found = open_records(place)
    lease = leases.take(found, "train-1", 1, "one", 30)
    lease.fail(1, "the log", "why")
    lease.end("failed", 1)

    assert leases.attempts(found.names(["train-1"])["train-1"]).ended == {1: "failed"}
    assert leases.retry(found, ["train-1", "train-2"]) == ["train-1"]
    assert leases.read_json(found, "train-1/retry.json") == {"after": 1}
    assert leases.read_json(found, "train-1/failed.json") is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_two_workers_agree_through_a_store(kind, stores, tmp_path):
    url = stores(kind)
    plan = branching(tmp_path, branches=2, places={"records": url})
    # No lease lapses here, however busy the machine is.
    workers = [start_worker(plan, "--workers=2", "--lease_seconds=60") for _ in range(2)]
    told = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], told

    states = Board(plan).look()
    assert {(state.status, state.attempts) for state in states.values()} == {("done", 1)}
    journals = [
        Path(plan.stage_folder(key), "journal").read_text().split("\n") for key in plan.stages
    ]
    assert journals == [["start 0", "end", ""]] * 6
    log = open_records(url).read("pretrain-0/log-000001.txt")
    assert log == b"pretrain-0 begins with step 0\n"
    assert work(plan)[0] == 0


def test_a_store_that_cannot_be_used_is_a_failure_of_storage():
    with pytest.raises(OSError, match="no such store cannot be read or written"):
        open_records("nothing://no such store")
