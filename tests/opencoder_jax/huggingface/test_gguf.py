"""GGUF files in: every number and every id as the file means them, and what is refused."""

import json

import gguf
import numpy as np
import pytest

from opencoder_jax import configuration
from opencoder_jax.formats.tokenizer import open_tokenizer
from opencoder_jax.huggingface.folder import HuggingFaceFolder
from opencoder_jax.import_gguf import import_gguf
from tests.opencoder_jax.huggingface import gguf_example
from tests.opencoder_jax.huggingface.gguf_example import MODEL, SPECIAL
from tests.opencoder_jax.model.small_models import GROUPED, params_of


def imported(tmp_path, **kwargs):
    """The folder of an example file."""
    file = gguf_example.write(tmp_path / "model.gguf", **kwargs)
    folder = tmp_path / "folder"
    import_gguf(str(file), str(folder), dtype="float32")
    return folder


def test_the_numbers_are_those_that_were_written(tmp_path):
    source = HuggingFaceFolder(imported(tmp_path))
    assert source.read_config() == MODEL.replace(init_std=0.02)
    found, expected = source.read_params(), params_of(MODEL)
    quantized = 0
    for path, blocks in gguf_example.by_parameter(MODEL):
        ours, theirs = found, expected
        for key in path:
            ours, theirs = ours[key], theirs[key]
        for block in blocks:
            want = np.asarray(theirs[block.index])
            if block.name == "model.layers.1.mlp.gate_proj.weight":
                rows = gguf.quantize(np.ascontiguousarray(block.to_torch(want)), 8)
                want = block.from_torch(gguf.dequantize(rows, 8))
                quantized += 1
            np.testing.assert_array_equal(np.asarray(ours[block.index]), want, block.name)
    assert quantized == 1


def test_an_untied_model_whose_heads_are_wider_than_it_is(tmp_path):
    config = GROUPED.replace(vocab_size=MODEL.vocab_size, emb_dim=32, head_dim=16)
    source = HuggingFaceFolder(imported(tmp_path, config=config.replace(mlp_dim=64)))
    found = source.read_config()
    assert (found.tie_embeddings, found.head_dim, found.num_kv_heads) == (False, 16, 2)
    expected = params_of(config.replace(mlp_dim=64))["unembedding"]["kernel"]
    np.testing.assert_array_equal(source.read_params()["unembedding"]["kernel"], expected)


@pytest.mark.parametrize(
    ("pre", "pieces"),
    [
        ("gpt-2", ["x", "y", "z", "1234", "Ġ", "Ġ", "123"]),
        # A digit is a token of its own, and the spaces before it are a word of theirs.
        ("smollm", ["x", "y", "z", "1", "2", "3", "4", "ĠĠ", "1", "2", "3"]),
        # Three digits are; a word that is a token stays whole.
        ("llama-bpe", ["xyz", "123", "4", "Ġ", "Ġ", "123"]),
    ],
)
def test_texts_are_split_as_the_file_names_it(tmp_path, pre, pieces):
    tokenizer = open_tokenizer(imported(tmp_path, values={"tokenizer.ggml.pre": pre}))
    assert [tokenizer.piece(i) for i in tokenizer.encode("xyz1234  123")] == pieces
    assert tokenizer.bos_ids == ((1,) if pre == "llama-bpe" else ())


def test_every_byte_comes_back_and_special_tokens_are_found(tmp_path):
    values = {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.eot_token_id": 0}
    tokenizer = open_tokenizer(imported(tmp_path, values=values))
    for text in ("\x00\t \r\n\n  é 漢字 \U0001f600\u00a0", "".join(SPECIAL)):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert tokenizer.byte_lengths[ids].sum() == len(text.encode())
    assert tokenizer.encode("a<think>b")[1] == len(gguf_example.TOKENS) - 1
    assert (tokenizer.bos_ids, tokenizer.eos_ids, tokenizer.pad) == ((1,), (2, 0), 0)
    assert tokenizer.special_ids.keys() == set(SPECIAL)
    assert tokenizer.special_tokens["eos_token"] == "<|im_end|>"


def test_chat_template_and_configuration_stand_beside_it(tmp_path):
    folder = imported(tmp_path)
    values = json.loads((folder / "tokenizer_config.json").read_text())
    assert values["chat_template"] == gguf_example.TEMPLATE
    assert json.loads((folder / "config.json").read_text())["eos_token_id"] == 2


def test_a_file_without_a_chat_template_is_a_base_model(tmp_path):
    folder = imported(tmp_path, values={"tokenizer.chat_template": None})
    assert "chat_template" not in json.loads((folder / "tokenizer_config.json").read_text())


def drop(name):
    return lambda arrays: arrays.pop(name)


def put(name, array):
    return lambda arrays: arrays.update({name: array})


def _k_quantized(arrays):
    """Of a type that only products are computed with: 292 bytes for 256 numbers."""
    arrays["blk.0.ffn_down.weight"] = np.zeros((MODEL.emb_dim, 292), np.uint8)


@pytest.mark.parametrize(
    ("example", "complaint"),
    [
        ({"architecture": "qwen2"}, "architecture is 'qwen2'; only llama"),
        ({"values": {"tokenizer.ggml.pre": "tekken"}}, "split as 'tekken' says"),
        ({"values": {"tokenizer.ggml.pre": None}}, "split as None says"),
        ({"values": {"tokenizer.ggml.model": "llama"}}, "kind 'llama'; only gpt2"),
        ({"values": {"tokenizer.ggml.merges": ["a bc"]}}, "tokenizer is damaged"),
        ({"values": {"tokenizer.ggml.merges": ["a b c"]}}, "tokenizer is damaged"),
        ({"values": {"tokenizer.ggml.token_type": [1, 1]}}, "tokenizer is damaged"),
        ({"values": {"tokenizer.ggml.eos_token_id": 9999}}, "special token is 9999"),
        ({"values": {"tokenizer.ggml.bos_token_id": 9999}}, "special token is 9999"),
        ({"values": {"llama.block_count": None}}, "llama.block_count is None"),
        ({"values": {"llama.block_count": "two"}}, "llama.block_count is 'two'"),
        ({"values": {"llama.block_count": 4_000_000_000}}, "is 4000000000, and there are tensors"),
        ({"values": {"llama.feed_forward_length": 64}}, "has shape (256, 32), the metadata say"),
        ({"values": {"llama.rope.scaling.type": "linear"}}, "'llama.rope.scaling.type': 'linear'"),
        ({"values": {"llama.expert_count": 8}}, "'llama.expert_count': 8"),
        ({"values": {"llama.rope.dimension_count": 4}}, "rope.dimension_count is 4, expected"),
        ({"change": drop("token_embd.weight")}, "no tensor 'token_embd.weight'"),
        ({"change": drop("blk.1.attn_q.weight")}, "no tensor 'blk.1.attn_q.weight'"),
        ({"change": put("rope_freqs.weight", np.ones(4, np.float32))}, "['rope_freqs.weight']"),
        (
            {
                "change": _k_quantized,
                "types": {"blk.0.ffn_down.weight": gguf.GGMLQuantizationType.Q8_K},
            },
            "blk.0.ffn_down.weight is stored as Q8_K, which cannot be read",
        ),
    ],
)
def test_another_kind_of_model_is_one_clear_error(tmp_path, capsys, example, complaint):
    file = gguf_example.write(tmp_path / "model.gguf", **example)
    assert run(file, tmp_path / "folder") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {file}: ")
    assert complaint in error
    assert error.count("\n") == 1
    assert not (tmp_path / "folder").exists()


def test_a_file_cut_anywhere_is_one_clear_error(tmp_path, capsys):
    data = gguf_example.write(tmp_path / "model.gguf").read_bytes()
    file = tmp_path / "cut.gguf"
    header = data.index(b"token_embd.weight")
    lengths = [0, 3, 20, 100, header // 2, header - 1, header + 30, len(data) // 2, len(data) - 1]
    for length in lengths:
        file.write_bytes(data[:length])
        assert run(file, tmp_path / "folder") == 2, length
        error = capsys.readouterr().err
        assert error.startswith(f"error: {file} is no GGUF file that can be read: ")
        assert error.count("\n") == 1
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("content", [b"PK\x03\x04" + bytes(2000), b"GGUF" + b"\xff" * 2000])
def test_another_file_is_one_clear_error(tmp_path, capsys, content):
    (tmp_path / "file").write_bytes(content)
    assert run(tmp_path / "file", tmp_path / "folder") == 2
    assert "is no GGUF file that can be read" in capsys.readouterr().err


def test_a_finished_folder_is_not_made_again(tmp_path, capsys):
    folder = imported(tmp_path)
    assert run(tmp_path / "model.gguf", folder, "--gin.import_gguf.dtype=float32") == 0
    assert "is finished: nothing to do" in capsys.readouterr().err
    assert run(tmp_path / "model.gguf", folder) == 2
    assert "dtype" in capsys.readouterr().err


def run(file, folder, *flags):
    """The command in this process."""
    given = [f"--gin.INPUT_FILE={str(file)!r}", f"--gin.OUTPUT_DIR={str(folder)!r}", *flags]
    return configuration.main(import_gguf, given, default_gin_files=["export/import_gguf.gin"])
