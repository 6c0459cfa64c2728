"""What becomes of a checkpoint that the storage does not take, and of those before it."""

import contextlib
import gc
import logging
import resource
import time

import pytest

from opencoder_jax.errors import StorageError, is_storage_failure
from opencoder_jax.training import checkpoints
from tests.opencoder_jax.training.test_checkpoints import (
    _assert_same,
    _filled,
    _metadata,
    _restore_latest,
)


@contextlib.contextmanager
def _no_file_above(size: int):
    """The system refuses this process larger files, as it refuses all on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _save(writer, number):
    state = _filled(number)
    writer.save(state.params, state.opt_state, _metadata(number))


# Of the metadata and all arrays; of all arrays, each of which fails; of some.
@pytest.mark.parametrize("size", [100, 500, 6000])
def test_a_failure_in_the_background_is_said_at_once_and_harms_no_other_checkpoint(
    tmp_path, caplog, size
):
    with checkpoints.CheckpointWriter(tmp_path) as writer:
        _save(writer, 1)
        writer.wait()
        with _no_file_above(size), pytest.raises(StorageError) as failure:  # noqa: PT012
            _save(writer, 2)
            for _ in range(1000):
                writer.check()
                time.sleep(0.01)
    assert "checkpoint_2 could not be written" in str(failure.value)
    assert "File too large" in str(failure.value)
    # The limit is gone when the writer is left: what failed first may have been mended by then.
    last = checkpoints.steps(tmp_path)[-1]
    assert ("at first" in str(failure.value)) == (last == 2)
    assert f"the last good checkpoint_{last} is" in str(failure.value)
    assert is_storage_failure(failure.value)
    # Python complains of errors that nobody asked for when it frees them.
    failure = None
    gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []

    assert checkpoints.steps(tmp_path) == list(range(1, last + 1))
    _assert_same(_restore_latest(tmp_path).params, _filled(last).params)
    with checkpoints.CheckpointWriter(tmp_path) as writer:
        _save(writer, 3)
    names = {f"checkpoint_{step}" for step in (*range(1, last + 1), 3)}
    assert {path.name for path in tmp_path.iterdir()} == names


@pytest.mark.parametrize("noticed", ["at the next save", "at the end"])
def test_nobody_who_forgets_to_check_takes_the_run_for_saved(tmp_path, noticed):
    failure = pytest.raises(StorageError, match="checkpoint_1 could not be written")
    with failure, checkpoints.CheckpointWriter(tmp_path) as writer, _no_file_above(100):
        _save(writer, 1)
        time.sleep(0.5)
        if noticed == "at the next save":
            _save(writer, 2)
        else:
            writer.__exit__(None, None, None)
    assert checkpoints.steps(tmp_path) == []
