"""Checkpoints part by part are Orbax's: both read what the other wrote, and see damage."""

import dataclasses

import jax
import numpy as np
import pytest

from opencoder_jax.training import checkpoint_parts, checkpoints
from opencoder_jax.training.checkpoint_parts import Part, PartReader, StreamedArray, part_checksum
from opencoder_jax.training.checkpoints import CheckpointError, CheckpointMetadata
from tests.opencoder_jax.model.small_models import GROUPED, params_of

METADATA = CheckpointMetadata(
    step=4,
    tokens_by_source={"a": 3},
    model=GROUPED.to_json(),
    tokenizer_fingerprint="t",
    data={},
    phases=[],
)


def leaves(tree):
    return {
        tuple(key.key for key in path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def boxes(shape, axis):
    """The whole in two or more parts along one axis."""
    step = max(1, shape[axis] // 2 - 1)
    for start in range(0, shape[axis], step):
        index = [slice(0, size) for size in shape]
        index[axis] = slice(start, min(start + step, shape[axis]))
        yield tuple(index)


def streamed(array, axis=0):
    parts = [Part(index, array[index]) for index in boxes(array.shape, axis)]
    return StreamedArray(array.shape, array.dtype, lambda: iter(parts))


def checksum(array):
    return sum(part_checksum(part, array.shape) for part in streamed(array).parts()) % 2**32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sums_of_parts_are_the_checksum_of_the_array(dtype):
    array = jax.random.normal(jax.random.key(0), (6, 70, 3)).astype(dtype)
    expected = checkpoints.checksum({"a": array})["['a']"]
    array = np.asarray(array)

    for axis in range(3):
        parts = streamed(array, axis).parts()
        assert sum(part_checksum(part, array.shape) for part in parts) % 2**32 == expected


def test_places_beyond_32_bits_wrap_as_on_devices():
    # Only the place matters, so the array itself need not exist.
    shape = (3, 2**31 + 5, 2)
    part = Part((slice(2, 3), slice(2**31, 2**31 + 2), slice(0, 2)), np.full((1, 2, 2), 3, "u4"))
    places = [(2 * shape[1] + row) * 2 + column for row in (2**31, 2**31 + 1) for column in (0, 1)]

    assert part_checksum(part, shape) == sum(3 * (2 * place + 1) for place in places) % 2**32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_written_in_parts_restores_on_a_mesh(tmp_path, dtype):
    config = GROUPED.replace(param_dtype=dtype)
    params = params_of(config)
    arrays = {path: streamed(array) for path, array in leaves(params).items()}
    sums = {path: checksum(array) for path, array in leaves(params).items()}
    metadata = dataclasses.replace(METADATA, model=config.to_json())

    checkpoint_parts.save(tmp_path, arrays, sums, metadata)

    restored, found = checkpoints.restore_params(tmp_path)
    assert found == metadata
    jax.tree.map(np.testing.assert_array_equal, restored, params)
    mesh = jax.make_mesh((2,), ("fsdp",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), params
    )
    on_mesh = checkpoints.restore(tmp_path, 4, abstract).params
    assert all(leaf.sharding == sharding for leaf in jax.tree.leaves(on_mesh))
    jax.tree.map(np.testing.assert_array_equal, on_mesh, params)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    with checkpoints.CheckpointWriter(folder) as writer:
        writer.save(params_of(GROUPED), None, METADATA)
    return folder


@pytest.mark.parametrize("group_bytes", [1, 3_000, 1 << 30])
def test_what_training_saved_is_read_in_parts(saved, group_bytes):
    reader = PartReader(saved, 4, group_bytes)

    assert reader.metadata == METADATA
    for number, (path, array) in enumerate(leaves(params_of(GROUPED)).items()):
        indices = list(boxes(array.shape, -(number % 2) % array.ndim))
        parts = list(reader.read(path, indices))
        assert [part.place for part in parts] == indices
        for part in parts:
            np.testing.assert_array_equal(part.block, array[part.place])


def test_a_changed_number_is_found_once_the_array_is_read(saved):
    reader = PartReader(saved, 4)
    path = ("final_norm", "scale")
    reader.checksums = {**reader.checksums, checkpoint_parts.keystr(path): 1}

    with pytest.raises(CheckpointError, match=r"parameter final_norm.scale is damaged"):
        list(reader.read(path, [(slice(0, 24),)]))


def test_a_source_that_changes_between_its_two_readings_is_no_checkpoint(tmp_path):
    array = np.ones((2, 3), np.float32)

    with pytest.raises(ValueError, match="changed while it was read"):
        checkpoint_parts.save(tmp_path, {("a",): streamed(array)}, {("a",): 5}, METADATA)
    assert checkpoints.steps(tmp_path) == []


def test_what_cannot_be_read_is_named(saved):
    reader = PartReader(saved, 4)

    with pytest.raises(CheckpointError, match=r"parameter nobody.knows cannot be read"):
        list(reader.read(("nobody", "knows"), [(slice(0, 2),)]))
    with pytest.raises(CheckpointError, match=r"has shape .24,., its model .25,"):
        list(reader.read(("final_norm", "scale"), [(slice(0, 25),)]))
    with pytest.raises(CheckpointError, match="checkpoint_5: its metadata cannot be read"):
        PartReader(saved, 5)
