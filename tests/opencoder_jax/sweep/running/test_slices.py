"""Hosts of a group agree through the records on what to start, also when one begins anew."""

import threading

import pytest

from opencoder_jax.sweep.running import leases
from opencoder_jax.sweep.running.records import open_records
from opencoder_jax.sweep.running.slices import Follower, Leader, Slice

COUNT = 3


class Host:
    """A follower in a thread, with what it was told to start."""

    def __init__(self, records, index):
        self.started = []
        self.status = None
        self.follower = Follower(records, Slice("one", index, COUNT))
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        self.status = self.follower.run(lambda followed: self.started.append(followed.number))

    def stop(self):
        self.follower.stop()
        self.thread.join()


@pytest.fixture
def records(tmp_path):
    return open_records(str(tmp_path))


@pytest.fixture
def hosts(records):
    found = [Host(records, index) for index in range(1, COUNT)]
    yield found
    for host in found:
        host.stop()


def begun(records, leader, number):
    lease = leases.take(records, "train-1", number, "one", 60)
    return leader.assign(lease, threading.Event())


def test_all_hosts_start_each_assignment_and_end_as_they_are_told(records, hosts):
    leader = Leader(records, Slice("one", 0, COUNT))
    for number in (1, 2):
        assert begun(records, leader, number)
        leader.end()
    leader.dismiss(1)
    for host in hosts:
        host.thread.join()

    assert [host.started for host in hosts] == [[1, 2], [1, 2]]
    assert [host.status for host in hosts] == [1, 1]


def test_a_leader_that_begins_anew_is_followed_and_what_it_left_is_not(records, hosts):
    assert begun(records, Leader(records, Slice("one", 0, COUNT)), 1)
    leader = Leader(records, Slice("one", 0, COUNT))
    assert begun(records, leader, 2)
    leader.dismiss(0)
    for host in hosts:
        host.thread.join()
    late = Host(records, 1)
    late.stop()

    assert [host.started for host in hosts] == [[1, 2], [1, 2]]
    assert (late.started, late.status) == ([], None)


def test_nothing_begins_before_all_are_there(records):
    leader = Leader(records, Slice("one", 0, COUNT))
    host = Host(records, 1)
    lease = leases.take(records, "train-1", 1, "one", 60)
    stopping = threading.Event()
    threading.Timer(1.5, stopping.set).start()
    assert not leader.assign(lease, stopping)
    host.stop()

    assert host.started == []


def test_a_leader_that_lost_its_lease_does_not_wait_any_longer(records):
    leader = Leader(records, Slice("one", 0, COUNT))
    lease = leases.take(records, "train-1", 1, "one", 3)
    leases.take(records, "train-1", 2, "two", 3)

    assert not leader.assign(lease, threading.Event())


def test_words_of_a_host_have_its_numbers():
    group = Slice("one", 2, COUNT, ("--gin.PROCESS_INDEX={index}", "--n={count}", "{x}"))
    assert group.host_words() == ["--gin.PROCESS_INDEX=2", "--n=3", "{x}"]
