"""Export and import: every bit comes back, transformers runs the result, damage is named."""

import json
import shutil

import jax
import numpy as np
import pytest

from opencoder_jax import configuration
from opencoder_jax.decoding.generation import generate
from opencoder_jax.decoding.sampling import SamplingSettings
from opencoder_jax.errors import InputError
from opencoder_jax.export_hf import export_hf
from opencoder_jax.formats.manifest import read_manifest
from opencoder_jax.huggingface.folder import HuggingFaceFolder, write_folder
from opencoder_jax.huggingface.tensors import HuggingFaceError
from opencoder_jax.import_hf import import_hf
from opencoder_jax.model.loading import load_model
from opencoder_jax.model.transformer import logits
from tests.opencoder_jax.model.small_models import (
    GROUPED,
    TIED_MULTI_HEAD,
    make_model_directory,
    model_of_file,
    params_of,
)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("models") / "model"


@pytest.fixture(scope="module")
def model(model_dir):
    return make_model_directory(model_dir)


@pytest.fixture(scope="module")
def exported(model, model_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "float32"
    export_hf(str(model_dir), str(folder), max_shard_bytes=50_000, verify=False)
    return folder


def assert_same_bits(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def reading(params):
    def read(path, blocks):
        array = params
        for key in path:
            array = array[key]
        for block in blocks:
            yield np.asarray(array[block.index])

    return read


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("config", [GROUPED, TIED_MULTI_HEAD], ids=["grouped", "tied"])
def test_parameters_come_back_bit_for_bit(model, tmp_path, config, dtype):
    params = jax.tree.map(lambda array: array.astype(dtype), params_of(config))

    write_folder(
        tmp_path,
        config,
        reading(params),
        model.tokenizer,
        dtype=dtype,
        max_shard_bytes=30_000,
    )
    source = HuggingFaceFolder(tmp_path)

    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
    assert source.read_config() == config.replace(dtype=dtype, param_dtype=dtype)
    assert_same_bits(source.read_params(), params)


def test_an_exported_model_loads_as_the_model_directory_does(model, model_dir, exported):
    from_directory, from_export = load_model(model_dir), load_model(exported)

    assert from_directory.step == 3
    assert_same_bits(from_directory.params, model.params)
    assert_same_bits(from_export.params, model.params)
    assert from_export.config == from_directory.config == model.config
    assert from_export.tokenizer.fingerprint == model.tokenizer.fingerprint
    assert from_export.eos_ids == from_directory.eos_ids == model.eos_ids


def test_export_then_import_gives_the_model_directory_back(model, exported, tmp_path):
    imported_dir = tmp_path / "imported"

    import_hf(str(exported), str(imported_dir), step=7, dtype="float32")
    imported = load_model(imported_dir)

    assert imported.step == 7
    assert configured_model_of(imported_dir / "model.gin") == model.config
    assert imported.config == model.config
    assert_same_bits(imported.params, model.params)
    text = "def f():\n    ▁ x\n"
    assert imported.prompt_ids(text) == model.prompt_ids(text)


def configured_model_of(gin_file):
    bindings = ["model_of_file.model = %MODEL"]
    return configuration.configure(model_of_file, gin_files=[str(gin_file)], bindings=bindings)()


def test_transformers_gives_the_same_logits_and_greedy_text(model, exported):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.set_num_threads(1)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32)
    assert type(theirs).__name__ == "LlamaForCausalLM"
    prompt = model.prompt_ids("class A:\n    def")
    tokens = np.array([prompt])

    with torch.no_grad():
        expected = theirs(torch.from_numpy(tokens)).logits.numpy()
        continued = theirs.generate(torch.from_numpy(tokens), max_new_tokens=20)
    ours = logits(
        model.config, model.params, tokens, np.ones_like(tokens), np.arange(len(prompt))[None]
    )
    (generation,) = generate(model, [prompt], SamplingSettings(max_new_tokens=20))

    np.testing.assert_allclose(ours, expected, atol=5e-5)
    added = [i for i in continued[0, len(prompt) :].tolist() if i not in model.eos_ids]
    assert added == list(generation.ids)


def test_a_llama_of_another_family_can_run(tmp_path, exported, model):
    transformers = pytest.importorskip("transformers")
    values = transformers.LlamaConfig(
        vocab_size=700,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        intermediate_size=48,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        rope_theta=50_000.0,
        eos_token_id=9,
    )
    transformers.LlamaForCausalLM(values).save_pretrained(tmp_path)
    # Its own tokenizer: tokenizer.json alone.
    shutil.copy(exported / "tokenizer.json", tmp_path)

    loaded = load_model(tmp_path)

    assert (loaded.config.num_kv_heads, loaded.config.rope_theta) == (1, 50_000.0)
    assert loaded.config.tie_embeddings
    assert loaded.eos_ids == (9,)
    assert loaded.prompt_ids("x = 1") == [1, *model.tokenizer.encode("x = 1")]
    imported = tmp_path / "imported"
    import_hf(str(tmp_path), str(imported), dtype="float32")
    assert_same_bits(load_model(imported).params, loaded.params)
    assert load_model(imported).eos_ids == (9,)
    # Out again, with the tokenizer and the special ids that it came in with.
    again = tmp_path / "again"
    export_hf(str(imported), str(again), verify=False)
    assert_same_bits(load_model(again).params, loaded.params)
    assert (again / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()
    assert not (again / "tokenizer.model").exists()
    generation = transformers.GenerationConfig.from_pretrained(again)
    assert (
        generation.eos_token_id == json.loads((again / "config.json").read_text())["eos_token_id"]
    )
    assert generation.eos_token_id == 9


def test_the_command_verifies_its_work_and_does_it_once(model_dir, model, tmp_path, capsys):
    arguments = [f"--gin.MODEL_DIR={model_dir}", f"--gin.OUTPUT_DIR={tmp_path}/export"]

    def run(*more: str) -> int:
        return configuration.main(
            export_hf, [*arguments, *more], default_gin_files=["export/demo.gin"]
        )

    assert run() == 0
    assert "same parameters, bit for bit" in capsys.readouterr().out
    manifest = read_manifest(tmp_path / "export")
    assert set(manifest["files"]) >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert manifest["counts"]["parameters"] == model.config.parameter_count()
    assert run() == 0
    assert "nothing to do" in capsys.readouterr().err
    assert run("--gin.export_hf.dtype=bfloat16") == 2
    assert "dtype: there 'float32', here 'bfloat16'" in capsys.readouterr().err
    assert read_manifest(tmp_path / "export") == manifest


def test_a_folder_that_is_not_ours_is_left_alone(model_dir, model, tmp_path):
    (tmp_path / "model.safetensors").write_text("precious")

    with pytest.raises(InputError, match="is not empty and has no manifest"):
        export_hf(str(model_dir), str(tmp_path))

    assert (tmp_path / "model.safetensors").read_text() == "precious"


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "copy")


def test_a_file_cut_short_is_named(copy):
    path = sorted(copy.glob("model-*.safetensors"))[0]
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(HuggingFaceError, match=f"{path.name} is missing or damaged"):
        load_model(copy)


def test_a_missing_shard_is_named(copy):
    path = sorted(copy.glob("model-*.safetensors"))[1]
    path.unlink()

    with pytest.raises(HuggingFaceError, match=f"{path.name} is missing or damaged"):
        load_model(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2'; only llama"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "rope_scaling.*llama3"),
        ({"attention_bias": True}, "attention_bias"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config"),
        ({"rope_theta": "ten"}, "a value of another type.*ten"),
        ({"hidden_size": 32}, "shape .640, 24., config.json says .640, 32."),
        ({"num_hidden_layers": 3}, "no tensor 'model.layers.2"),
        ({"num_hidden_layers": 1}, "tensors of no parameter.*model.layers.1"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(copy, changes, message):
    values = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**values, **changes}))

    with pytest.raises(InputError, match=message):
        load_model(copy)


def test_a_tokenizer_of_another_model_is_refused(model_dir, model, tmp_path):
    changed = shutil.copytree(model_dir, tmp_path / "changed")
    shutil.copy(model.tokenizer.path, changed / "tokenizer" / "tokenizer.model")
    other = bytearray(model.tokenizer.path.read_bytes())
    place = other.rindex(b"import") if b"import" in other else other.rindex(b"the")
    other[place] = ord("I")
    (changed / "tokenizer" / "tokenizer.model").write_bytes(bytes(other))

    with pytest.raises(InputError, match="is not the tokenizer that the model was trained with"):
        load_model(changed)


def test_a_step_that_is_not_there_is_refused_with_those_that_are(model_dir, model):
    with pytest.raises(InputError, match=r"no checkpoint_4; it has steps \[3\]"):
        load_model(model_dir, step=4)
