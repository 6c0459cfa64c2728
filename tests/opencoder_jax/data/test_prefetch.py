"""Batches from other processes: the same ones, and no end of a process goes unsaid."""

import collections
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from opencoder_jax.data import mixtures
from opencoder_jax.data.batches import BatchSource, DatasetConfig, DatasetStage
from opencoder_jax.data.prefetch import PrefetchError
from opencoder_jax.errors import InputError
from tests import packed_example
from tests.opencoder_jax.data.test_records import overwrite

RATES = {"refinecode": 3.0, "algorithmic_corpus": 1.0}


def config(rates=RATES, packed_dir=None, batch_size=8):
    lengths = {"targets": packed_example.SEQUENCE_LENGTH}
    folder = str(packed_dir or packed_example.packed_dir())
    return DatasetConfig(rates, folder, lengths, "train", batch_size, 5)


def children():
    """Process ids of this process' children that run, as the kernel has them."""
    path = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
    with open(path) as file:
        return {int(pid) for pid in file.read().split()}


def equal(one, other):
    return all(np.array_equal(one[key], other[key]) for key in other)


@pytest.mark.parametrize("num_processes", [1, 3])
def test_batches_do_not_depend_on_the_number_of_processes(num_processes):
    plan = [DatasetStage(4, config()), DatasetStage(7, config({"refinecode": 1.0}, batch_size=4))]
    source = BatchSource(plan, rows=lambda batch_size: range(1, batch_size, 2))
    before = children()

    made = list(source.iterate(2, num_processes=num_processes))

    assert len(made) == 9
    for k, batch in enumerate(made, start=2):
        assert equal(batch, source.batch(k))
    assert children() == before


def test_a_mixture_that_only_this_process_has_registered_reaches_the_others():
    source = BatchSource(config(mixtures.register_mixture("test_prefetch", RATES)))
    stream = source.iterate(5, num_processes=1)

    assert equal(next(stream), source.batch(5))
    stream.close()


def test_leaving_ends_the_processes_and_leaves_nothing():
    source = BatchSource(config())
    before, files = children(), len(os.listdir("/proc/self/fd"))
    stream = source.iterate(num_processes=2)
    next(stream)
    assert len(children() - before) == 2

    stream.close()

    assert children() == before
    # Others may be closed by the collector meanwhile.
    assert len(os.listdir("/proc/self/fd")) <= files


@pytest.fixture
def copied(tmp_path):
    """The packed sets, to be damaged."""
    for path in packed_example.packed_dir().rglob("*.*"):
        place = tmp_path / path.relative_to(packed_example.packed_dir())
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    return tmp_path


def test_a_process_that_is_killed_is_an_error_that_names_the_batch():
    source = BatchSource(config())
    before = children()
    stream = source.iterate(num_processes=1)
    next(stream)
    (process,) = children() - before
    os.kill(process, signal.SIGKILL)

    with pytest.raises(PrefetchError, match=r"ended with signal 9 at batch \d"):
        collections.deque(stream, 0)
    assert children() == before


def test_a_damaged_record_is_named_from_another_process_too(copied):
    source = BatchSource(config({"refinecode": 1.0}, copied))
    for path in (copied / "refinecode").glob("train-*"):
        overwrite(path, bytes(path.stat().st_size // 2))
    stream = source.iterate(num_processes=1)

    with pytest.raises(InputError, match=r"train-0000\d-of-00003\.arrayrecord: .*damaged"):
        collections.deque(stream, 0)


def test_data_that_is_gone_when_the_processes_open_it_is_an_input_error(copied):
    source = BatchSource(config({"refinecode": 1.0}, copied))
    next((copied / "refinecode").glob("train-00002*")).unlink()

    with pytest.raises(InputError, match="lacks train-00002-of-00003"):
        next(source.iterate(num_processes=1))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_processes_end_with_their_trainer(number):
    program = (
        "import os, time\n"
        "from opencoder_jax.data.batches import BatchSource, DatasetConfig\n"
        f"stream = BatchSource({config()!r}).iterate(num_processes=2)\n"
        "next(stream)\n"
        "print(open(f'/proc/{os.getpid()}/task/{os.getpid()}/children').read(), flush=True)\n"
        "time.sleep(600)\n"
    )
    trainer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    makers = [int(pid) for pid in trainer.stdout.readline().split()]
    assert len(makers) == 2

    trainer.send_signal(number)
    trainer.communicate()

    deadline = time.monotonic() + 60
    while any(map(is_running, makers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_signal_to_the_whole_group_leaves_the_processes_to_their_trainer():
    source = BatchSource(config())
    before = children()
    stream = source.iterate(num_processes=1)
    next(stream)
    (process,) = children() - before

    os.kill(process, signal.SIGTERM)
    os.kill(process, signal.SIGINT)

    assert all(equal(next(stream), source.batch(k)) for k in range(1, 8))
    stream.close()
