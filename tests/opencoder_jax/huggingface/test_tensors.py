"""safetensors by offsets: what the format's own library writes and reads, and damage."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from opencoder_jax.huggingface.tensors import (
    INDEX_FILE,
    SINGLE_FILE,
    HuggingFaceError,
    TensorReader,
    TensorSpec,
    TensorWriter,
)

ARRAYS = {
    "wide": np.arange(24, dtype=np.float32).reshape(3, 8),
    "half": np.arange(-4, 4, dtype=np.float16).reshape(8, 1),
    "brain": np.arange(12).astype(ml_dtypes.bfloat16).reshape(2, 3, 2),
    "norm": np.linspace(0, 1, 5, dtype=np.float32),
}


def write(folder, arrays, dtype=np.float32, max_shard_bytes=1 << 30):
    specs = [TensorSpec(name, array.shape) for name, array in arrays.items()]
    with TensorWriter(
        folder, specs, dtype=np.dtype(dtype), max_shard_bytes=max_shard_bytes
    ) as writer:
        for name, array in arrays.items():
            for row in range(len(array)):
                writer.write(name, array[row : row + 1])
    return writer.file_names


def test_what_the_formats_library_writes_is_read(tmp_path):
    save_file(ARRAYS, tmp_path / SINGLE_FILE)
    reader = TensorReader(tmp_path)

    assert reader.names == set(ARRAYS)
    assert reader.dtypes() == {"F32", "F16", "BF16"}
    for name, array in ARRAYS.items():
        assert reader.shape(name) == array.shape
        found = reader.read(name)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
        np.testing.assert_array_equal(reader.read(name, slice(1, 2)), array[1:2])


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_the_formats_library_reads_what_is_written_row_by_row(tmp_path, dtype):
    names = write(tmp_path, ARRAYS, dtype, max_shard_bytes=60)
    index = json.loads((tmp_path / INDEX_FILE).read_text())
    assert len(names) > 1
    assert sorted(set(index["weight_map"].values())) == names

    for name, array in ARRAYS.items():
        found = load_file(tmp_path / index["weight_map"][name])[name]
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, array.astype(dtype))
    assert index["metadata"]["total_size"] == sum(a.size for a in ARRAYS.values()) * found.itemsize


def write_blocks(folder, *blocks):
    specs = [TensorSpec("a", (2, 3)), TensorSpec("b", (1,))]
    with TensorWriter(folder, specs, dtype=np.dtype(np.float32), max_shard_bytes=100) as writer:
        for name, shape in blocks:
            writer.write(name, np.zeros(shape, np.float32))


def test_blocks_out_of_order_or_left_out_are_a_bug(tmp_path):
    with pytest.raises(ValueError, match=r"b: .1,., while writing"):
        write_blocks(tmp_path, ("a", (1, 3)), ("b", 1))
    with pytest.raises(ValueError, match="after a were not written"):
        write_blocks(tmp_path, ("a", (2, 3)))


def replaced_header(folder, change):
    path = folder / SINGLE_FILE
    save_file(ARRAYS, path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header["wide"].update(dtype="F8_E4M3"), "wide is stored as F8_E4M3"),
        (lambda header: header["wide"].update(shape=[3, 9]), "missing or damaged"),
        (lambda header: header["wide"].update(shape=[-3, -8]), "missing or damaged: shape"),
        (lambda header: header["norm"].pop("data_offsets"), "missing or damaged"),
        (lambda header: header.pop("norm"), "missing or damaged"),
    ],
)
def test_a_header_that_does_not_fit_its_file_is_refused(tmp_path, change, message):
    replaced_header(tmp_path, change)

    with pytest.raises(HuggingFaceError, match=message):
        TensorReader(tmp_path)


@pytest.mark.parametrize("size", [0, 5, 40, -1])
def test_a_file_cut_short_anywhere_is_refused(tmp_path, size):
    save_file(ARRAYS, tmp_path / SINGLE_FILE)
    content = (tmp_path / SINGLE_FILE).read_bytes()
    (tmp_path / SINGLE_FILE).write_bytes(content[:size])

    with pytest.raises(HuggingFaceError, match="missing or damaged"):
        TensorReader(tmp_path)


def test_a_length_that_asks_for_all_memory_is_refused(tmp_path):
    (tmp_path / SINGLE_FILE).write_bytes(b"\xff" * 8 + b"{}")

    with pytest.raises(HuggingFaceError, match="a header of"):
        TensorReader(tmp_path)


def test_an_index_that_leads_elsewhere_is_refused(tmp_path):
    (tmp_path / "model").mkdir()
    write(tmp_path, ARRAYS)
    index = {"weight_map": dict.fromkeys(ARRAYS, f"../{SINGLE_FILE}")}
    (tmp_path / "model" / INDEX_FILE).write_text(json.dumps(index))

    with pytest.raises(HuggingFaceError, match="is no file name"):
        TensorReader(tmp_path / "model")


def test_an_index_that_names_a_tensor_of_no_file_is_refused(tmp_path):
    names = write(tmp_path, ARRAYS, max_shard_bytes=60)
    path = tmp_path / INDEX_FILE
    index = json.loads(path.read_text())
    index["weight_map"]["lost"] = names[0]
    path.write_text(json.dumps(index))

    with pytest.raises(HuggingFaceError, match=f"{names[0]} has no tensor 'lost'"):
        TensorReader(tmp_path)
