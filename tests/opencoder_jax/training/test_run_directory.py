"""A directory belongs to one run; what says which is there twice."""

import dataclasses

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.training import checkpoints, run_directory
from tests.opencoder_jax.training.test_checkpoints import _filled, _metadata

IDENTITY = {"config": {"schedule.peak": 0.1}, "inputs": {"data": "d"}}
OTHER = {"config": {"schedule.peak": 0.2}, "inputs": {"data": "d"}}


def _save(model_dir, phases):
    state = _filled(1)
    metadata = dataclasses.replace(_metadata(1), phases=phases)
    with checkpoints.CheckpointWriter(model_dir) as writer:
        writer.save(state.params, state.opt_state, metadata)


@pytest.mark.parametrize("content", [None, b"", b'{"config": {', b"\xff\xfe", b"[]", b"{}"])
def test_a_lost_or_damaged_record_is_made_again_from_the_latest_checkpoint(tmp_path, content):
    run_directory.claim(tmp_path, IDENTITY)
    _save(tmp_path, [IDENTITY])
    record = tmp_path / "run.json"
    before = record.read_bytes()
    record.unlink() if content is None else record.write_bytes(content)
    with pytest.raises(InputError, match=r"schedule.peak: there 0.1, here 0.2"):
        run_directory.claim(tmp_path, OTHER)
    assert run_directory.claim(tmp_path, IDENTITY) is False
    assert record.read_bytes() == before


def test_checkpoints_that_no_training_has_made_are_not_trained_on(tmp_path):
    _save(tmp_path, [{"phase": "import"}])
    with pytest.raises(InputError, match="holds checkpoints of no training"):
        run_directory.claim(tmp_path, IDENTITY)


def test_a_damaged_record_of_a_run_without_checkpoints_is_written_anew(tmp_path):
    (tmp_path / "run.json").write_bytes(b"{")
    assert run_directory.claim(tmp_path, IDENTITY) is False
    run_directory.claim(tmp_path, IDENTITY)
