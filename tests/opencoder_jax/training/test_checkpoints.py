"""What a checkpoint gives back, on any mesh, and what happens to damaged ones."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest

from opencoder_jax.training import checkpoints, step
from opencoder_jax.training.checkpoints import CheckpointError, CheckpointMetadata
from opencoder_jax.training.checkpoints.metadata import COMMIT_MARKER
from tests.opencoder_jax.training import small

WHERE = small.placement(fsdp=2)
ELSEWHERE = small.placement(data=2, fsdp=2, tensor=2)


def _metadata(number: int) -> CheckpointMetadata:
    return CheckpointMetadata(
        step=number,
        tokens_by_source={"refinecode": 100 * number},
        model=small.MODEL.to_json(),
        tokenizer_fingerprint="t",
        data={"seed": 0},
        phases=[],
    )


def _filled(number: int) -> step.TrainState:
    """A state whose every number is different, without compiling an initializer."""
    leaves, tree = jax.tree.flatten(step.abstract_state(small.CONFIG, WHERE))
    generator = np.random.default_rng(number)
    filled = [
        jax.device_put(generator.normal(size=leaf.shape).astype(leaf.dtype), leaf.sharding)
        for leaf in leaves
    ]
    return tree.unflatten(filled)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints") / "model"
    with checkpoints.CheckpointWriter(folder) as writer:
        for number in (1, 2, 3):
            state = _filled(number)
            writer.save(state.params, state.opt_state, _metadata(number))
    return folder


@pytest.fixture
def model_dir(written, tmp_path):
    return shutil.copytree(written, tmp_path / "model")


def _save(model_dir, number):
    with checkpoints.CheckpointWriter(model_dir) as writer:
        state = _filled(number)
        writer.save(state.params, state.opt_state, _metadata(number))


def _restore_latest(model_dir):
    abstract = step.abstract_state(small.CONFIG, WHERE)
    return checkpoints.restore_latest(model_dir, abstract.params, abstract.opt_state)


def _largest_file(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def _assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(one), jax.device_get(other))


def test_a_checkpoint_of_one_mesh_is_the_same_numbers_on_another(model_dir):
    abstract = step.abstract_state(small.CONFIG, ELSEWHERE)
    restored = checkpoints.restore(model_dir, None, abstract.params, abstract.opt_state)
    _assert_same(restored.params, _filled(3).params)
    _assert_same(restored.opt_state, _filled(3).opt_state)
    assert restored.metadata == _metadata(3)
    for leaf, wanted in zip(
        jax.tree.leaves(restored.params), jax.tree.leaves(abstract.params), strict=True
    ):
        assert leaf.sharding == wanted.sharding


def test_parameters_are_restored_without_optimizer_from_any_step(model_dir):
    params, metadata = checkpoints.restore_params(model_dir, step=2)
    _assert_same(params, _filled(2).params)
    assert metadata.step == 2


def test_reading_logs_nothing(model_dir, caplog):
    checkpoints.restore_params(model_dir)
    assert caplog.records == []


@pytest.mark.parametrize("item", ["params", "opt_state", "metadata"])
def test_a_checkpoint_cut_short_is_passed_over_and_kept_aside(model_dir, capsys, item):
    damaged = _largest_file(model_dir / "checkpoint_3" / item)
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    restored = _restore_latest(model_dir)
    assert restored.metadata.step == 2
    _assert_same(restored.params, _filled(2).params)
    assert "checkpoint_3 is damaged" in capsys.readouterr().err
    assert (model_dir / "damaged_checkpoint_3").is_dir()
    _save(model_dir, 3)
    assert _restore_latest(model_dir).metadata.step == 3


def test_one_flipped_bit_is_noticed(model_dir, capsys):
    damaged = _largest_file(model_dir / "checkpoint_3" / "params")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert _restore_latest(model_dir).metadata.step == 2
    assert "checkpoint_3 is damaged" in capsys.readouterr().err


def test_the_checksum_sees_any_single_element_and_no_mesh():
    params = _filled(0).params
    before = checkpoints.checksum(params)
    moved = jax.device_put(params, step.state_shardings(small.CONFIG, ELSEWHERE).params)
    assert checkpoints.checksum(moved) == before
    scale = params["final_norm"]["scale"]
    params["final_norm"]["scale"] = scale.at[3].set(np.nextafter(scale[3], np.float32(9)))
    after = checkpoints.checksum(params)
    assert [name for name in before if before[name] != after[name]] == ["['final_norm']['scale']"]


def test_where_every_checkpoint_is_damaged_the_run_is_refused_and_nothing_moved(model_dir):
    for folder in model_dir.glob("checkpoint_*"):
        _largest_file(folder / "params").write_bytes(b"")
    with pytest.raises(CheckpointError, match="no sound checkpoint among steps"):
        checkpoints.restore_params(model_dir)
    for _ in range(2):  # Nor at the second try.
        with pytest.raises(CheckpointError, match="none of them is sound"):
            _restore_latest(model_dir)
    assert checkpoints.steps(model_dir) == [1, 2, 3]


def test_a_new_directory_has_nothing_to_restore(tmp_path):
    assert _restore_latest(tmp_path) is None


@pytest.mark.parametrize("missing", ["marker", "arrays too"])
def test_an_incomplete_checkpoint_is_never_taken_and_hides_no_later_save(
    model_dir, capsys, missing
):
    """What other trainers did: google/maxtext#5260."""
    latest = model_dir / "checkpoint_3"
    (latest / COMMIT_MARKER).unlink()
    if missing == "arrays too":
        shutil.rmtree(latest / "params")
    assert checkpoints.steps(model_dir) == [1, 2]
    assert checkpoints.read_metadata(model_dir).step == 2
    with pytest.raises(CheckpointError, match="has no checkpoint_3"):
        checkpoints.restore_params(model_dir, step=3)
    assert _restore_latest(model_dir).metadata.step == 2
    assert "checkpoint_3 is incomplete" in capsys.readouterr().err
    _save(model_dir, 3)
    assert _restore_latest(model_dir).metadata.step == 3
    _assert_same(_restore_latest(model_dir).params, _filled(3).params)


def test_a_step_before_those_that_are_there_is_saved_all_the_same(model_dir):
    """Orbax by itself skips it, and says nothing."""
    (model_dir / "checkpoint_2").rename(model_dir / "elsewhere")
    _save(model_dir, 2)
    assert checkpoints.steps(model_dir) == [1, 2, 3]


def test_metadata_that_was_changed_is_noticed(model_dir, capsys):
    path = model_dir / "checkpoint_3" / "metadata" / "metadata"
    assert '"refinecode": 300' in path.read_text()
    path.write_text(path.read_text().replace('"refinecode": 300', '"refinecode": 310'))
    assert _restore_latest(model_dir).metadata.step == 2
    assert "checkpoint_3 is damaged: its metadata has changed" in capsys.readouterr().err


def test_a_checkpoint_renamed_to_another_step_is_noticed(model_dir):
    (model_dir / "checkpoint_3").rename(model_dir / "checkpoint_7")
    assert _restore_latest(model_dir).metadata.step == 2


def test_an_asked_for_step_that_is_missing_is_named(model_dir):
    with pytest.raises(CheckpointError, match=r"no checkpoint_7; it has steps \[1, 2, 3\]"):
        checkpoints.restore_params(model_dir, step=7)
    with pytest.raises(CheckpointError, match="has no checkpoint_N folder"):
        checkpoints.restore_params(model_dir / "nowhere")


def test_parameters_of_another_model_are_refused_and_not_called_damaged(model_dir):
    config = step.StepConfig(
        small.MODEL.replace(num_layers=3), small.CONFIG.optimizer, small.CONFIG.schedule
    )
    abstract = step.abstract_state(config, WHERE)
    with pytest.raises(CheckpointError, match="is of another model"):
        checkpoints.restore_latest(model_dir, abstract.params, abstract.opt_state)
    assert checkpoints.steps(model_dir) == [1, 2, 3]


def test_another_optimizers_state_is_refused_and_not_called_damaged(model_dir):
    abstract = step.abstract_state(small.CONFIG, WHERE)
    other = {"momentum": abstract.params}
    with pytest.raises(CheckpointError, match="another opt_state"):
        checkpoints.restore_latest(model_dir, abstract.params, other)
    assert checkpoints.steps(model_dir) == [1, 2, 3]


@pytest.mark.parametrize("item", ["metadata", "params"])
def test_what_is_no_damage_is_not_taken_for_it(written, item):
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        model_dir = shutil.copytree(written, Path(name) / "model")
        model_dir.chmod(0o777)  # So that it could be moved aside.
        (model_dir / "checkpoint_3" / item).chmod(0)
        with _without_privileges(), pytest.raises(Exception, match=r"(?i)permission.denied"):
            _restore_latest(model_dir)
        (model_dir / "checkpoint_3" / item).chmod(0o755)
        assert checkpoints.steps(model_dir) == [1, 2, 3]


@contextlib.contextmanager
def _without_privileges():
    """Nobody, where this is the superuser, who may read anything."""
    privileged = os.geteuid() == 0
    if privileged:
        os.seteuid(65534)
    try:
        yield
    finally:
        if privileged:
            os.seteuid(0)


def test_the_latest_are_kept_and_every_so_many_for_good(tmp_path):
    with checkpoints.CheckpointWriter(tmp_path, keep=2, keep_period=3) as writer:
        for number in range(1, 8):
            state = _filled(number)
            writer.save(state.params, state.opt_state, _metadata(number))
    assert checkpoints.steps(tmp_path) == [3, 6, 7]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_a_kill_left_half_done_is_removed(tmp_path):
    for name in (".deleted_checkpoint_1", "checkpoint_2.orbax-checkpoint-tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"half")
    _save(tmp_path, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_3"]


def test_a_step_may_take_the_memory_of_what_is_being_saved(tmp_path):
    one_up = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    state = _filled(1)
    with checkpoints.CheckpointWriter(tmp_path) as writer:
        writer.save(state.params, state.opt_state, _metadata(1))
        for _ in range(20):
            state = one_up(state)
    _assert_same(_restore_latest(tmp_path).params, _filled(1).params)
