"""T5X trains our decoder as our own trainer does, where T5X is importable (docs/t5x.md)."""

import functools
import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from opencoder_jax.decoding.generation import generate
from opencoder_jax.decoding.sampling import SamplingSettings
from opencoder_jax.errors import InputError
from opencoder_jax.formats.packed import BATCH_KEYS
from opencoder_jax.formats.sentencepiece_tokenizer import BOS, EOS
from opencoder_jax.model import transformer
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.loading import LoadedModel, load_model
from opencoder_jax.sharding import MeshConfig, make_mesh, param_shardings
from opencoder_jax.training import step
from opencoder_jax.training.optimizers import AdamW
from opencoder_jax.training.schedules import WarmupStable
from tests import packed_example

ROOT = Path(__file__).parents[2]
HAS_T5X = importlib.util.find_spec("t5x") is not None
with_t5x = pytest.mark.skipif(not HAS_T5X, reason="T5X is not on PYTHONPATH: docs/t5x.md")
without_t5x = pytest.mark.skipif(HAS_T5X, reason="T5X is importable")

CONFIG = TransformerConfig(
    vocab_size=768,
    num_layers=2,
    emb_dim=32,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    mlp_dim=64,
    rope_theta=1e4,
    max_length=packed_example.SEQUENCE_LENGTH,
    dtype="float32",
)
SCHEDULE = WarmupStable(peak=1e-2, warmup_steps=2)
B, S, STEPS = 4, packed_example.SEQUENCE_LENGTH, 4


@without_t5x
def test_the_import_without_t5x_says_where_to_get_what() -> None:
    with pytest.raises(InputError) as error:
        importlib.import_module("opencoder_jax.t5x_adapter")
    assert isinstance(error.value, ImportError)
    docs = (ROOT / "docs" / "t5x.md").read_text()
    for repository, commit in (
        ("google-research/t5x", "cc342d4"),
        ("google/airio", "69897df"),
        ("google-research/jestimator", "326824a"),
    ):
        assert f"{repository} at {commit}" in str(error.value)
        assert repository in docs
        assert commit in docs


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A model directory that `python -m t5x.train` left, on two virtual devices."""
    model_dir = tmp_path_factory.mktemp("t5x") / "run"
    bindings = {
        "MODEL_DIR": str(model_dir),
        "PACKED_DIR": str(packed_example.packed_dir()),
        "TOKENIZER_MODEL": str(packed_example.tokenizer_dir() / "tokenizer.model"),
        "TASK_FEATURE_LENGTHS": {"targets": S},
        "BATCH_SIZE": B,
        "TRAIN_STEPS": STEPS,
        "train.stats_period": 1,
        "schedules.WarmupStable.peak": SCHEDULE.peak,
        "schedules.WarmupStable.warmup_steps": SCHEDULE.warmup_steps,
        **{f"config.TransformerConfig.{k}": v for k, v in CONFIG.to_json().items()},
    }
    command = [
        *(sys.executable, "-m", "t5x.train", "--gin_search_paths=gin_configs"),
        *("--gin_file=t5x/pretrain.gin", "--gin_file=models/demo.gin"),
        *(f"--gin.{name}={value!r}" for name, value in bindings.items()),
    ]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return model_dir


def first_batches() -> list[dict[str, np.ndarray]]:
    """What T5X reads first with the seed of the gin file."""
    import seqio
    from t5x import utils

    from opencoder_jax import t5x_adapter

    dataset = utils.get_dataset_inner(
        utils.DatasetConfig(
            mixture_or_task_name=t5x_adapter.packed_mixture(
                "refinecode", str(packed_example.packed_dir())
            ),
            task_feature_lengths={"targets": S},
            split="train",
            batch_size=B,
            shuffle=True,
            seed=0,
        ),
        seqio.ShardInfo(index=0, num_shards=1),
        t5x_adapter.PackedFeatureConverter,
        seed=0,
    )
    return list(dataset.take(STEPS).as_numpy_iterator())


def our_losses(params: dict, batches: list[dict[str, np.ndarray]]) -> tuple[list[float], dict]:
    """Loss of each step of `opencoder_jax.train`'s own step, and the parameters after them."""
    placement = step.Placement(make_mesh(MeshConfig(data=2, fsdp=2, tensor=2)))
    config = step.StepConfig(model=CONFIG, optimizer=AdamW(), schedule=SCHEDULE)
    with placement.activate():
        train_step = step.make_train_step(config, placement)
        placed = jax.device_put(params, param_shardings(CONFIG, *placement))
        state = step.fresh_state(config, placement, placed)
        losses = []
        for batch in batches:
            state, metrics = train_step(state, step.put_batch(placement, batch))
            losses.append(float(metrics["loss_per_nonpadding_target_token"]))
    return losses, jax.device_get(state.params)


def t5x_losses(model_dir: Path) -> list[float]:
    """`loss_per_nonpadding_target_token` of each step, from T5X's TensorBoard events."""
    from tensorboard.backend.event_processing import event_accumulator
    from tensorboard.util import tensor_util

    events = event_accumulator.EventAccumulator(str(model_dir / "train"))
    events.Reload()
    return [
        float(tensor_util.make_ndarray(event.tensor_proto))
        for event in events.Tensors("loss_per_nonpadding_target_token")
    ]


@with_t5x
def test_t5x_trains_to_the_losses_and_parameters_of_our_trainer(run: Path) -> None:
    from opencoder_jax.import_t5x import read_t5x_params

    batches = first_batches()
    assert set(batches[0]) == set(BATCH_KEYS)
    first = read_t5x_params(run / "checkpoint_0", CONFIG)
    losses, last = our_losses(first, batches)
    np.testing.assert_allclose(t5x_losses(run), losses, rtol=1e-5)
    assert losses[-1] < losses[0] - 0.1
    trained = read_t5x_params(run / f"checkpoint_{STEPS}", CONFIG)
    for ours, theirs in zip(jax.tree.leaves(last), jax.tree.leaves(trained), strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-4)


@with_t5x
def test_an_imported_checkpoint_is_the_model_that_t5x_trained(run: Path, tmp_path: Path) -> None:
    from opencoder_jax.import_t5x import import_t5x, read_t5x_params

    tokenizer_dir = str(packed_example.tokenizer_dir())
    folder = run / f"checkpoint_{STEPS}"
    import_t5x(str(folder), tokenizer_dir, str(tmp_path / "model"), CONFIG)
    model = load_model(tmp_path / "model")
    assert model.step == STEPS
    assert model.config == CONFIG
    trained = read_t5x_params(folder, CONFIG)
    jax.tree.map(np.testing.assert_array_equal, model.params, trained)
    other = CONFIG.replace(mlp_dim=96, tie_embeddings=True)
    with pytest.raises(InputError, match="of another model") as error:
        read_t5x_params(folder, other)
    assert "layers/mlp/down/kernel: checkpoint (2, 64, 32), model (2, 96, 32)" in str(error.value)
    assert "unembedding/kernel: checkpoint (32, 768), model None" in str(error.value)


def test_a_folder_that_t5x_did_not_write_is_refused(tmp_path: Path) -> None:
    from opencoder_jax.import_t5x import read_t5x_params

    with pytest.raises(InputError, match="no T5X checkpoint"):
        read_t5x_params(tmp_path / "checkpoint_3", CONFIG)


def adapted_model(**settings):
    """The adapter, decoding greedily."""
    import seqio
    from t5x import decoding

    from opencoder_jax import t5x_adapter

    vocabulary = seqio.SentencePieceVocabulary(
        str(packed_example.tokenizer_dir() / "tokenizer.model")
    )
    return t5x_adapter.OpenCoderModel(
        config=CONFIG,
        vocabulary=vocabulary,
        optimizer_def=t5x_adapter.adamw(AdamW(), SCHEDULE, CONFIG),
        decode_fn=functools.partial(decoding.temperature_sample, temperature=0.0, topk=1),
        **settings,
    )


@with_t5x
def test_loss_and_gradient_are_those_of_t5x_from_whole_logits() -> None:
    from t5x import models

    model = adapted_model(z_loss=1e-3, loss_chunk_length=32)
    params = transformer.init_params(CONFIG, jax.random.key(1))
    batch = first_batches()[0]

    def ours(params):
        return model.loss_fn(params, batch, None)

    def theirs(params):
        return models.DecoderOnlyModel.loss_fn(model, params, batch, None)

    (loss, metrics), grads = jax.value_and_grad(ours, has_aux=True)(params)
    (expected, expected_metrics), expected_grads = jax.value_and_grad(theirs, has_aux=True)(params)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert loss == pytest.approx(np.log(CONFIG.vocab_size), rel=0.05)
    for got, wanted in zip(jax.tree.leaves(grads), jax.tree.leaves(expected_grads), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)
    assert set(metrics) == set(expected_metrics)
    for name in ("accuracy", "effective_batch_size/decoder", "non_padding_fraction/loss_weights"):
        got, wanted = jax.tree.leaves(metrics[name]), jax.tree.leaves(expected_metrics[name])
        np.testing.assert_allclose(got, wanted, err_msg=name)


@with_t5x
def test_scores_are_those_of_t5x_from_whole_logits() -> None:
    from t5x import models

    model = adapted_model(loss_chunk_length=32)
    params = transformer.init_params(CONFIG, jax.random.key(1))
    batch = first_batches()[0]
    scores = model.score_batch(params, batch)
    assert scores.shape == (B,)
    assert len(set(scores.tolist())) == B
    expected = models.DecoderOnlyModel.score_batch(model, params, batch)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    with pytest.raises(InputError, match="return_intermediates"):
        model.score_batch(params, batch, return_intermediates=True)


@with_t5x
def test_t5x_decodes_to_the_tokens_of_our_own_generation(run: Path) -> None:
    import seqio
    import tensorflow as tf

    from opencoder_jax.import_t5x import read_t5x_params

    model = adapted_model(
        feature_converter_cls=functools.partial(seqio.DecoderFeatureConverter, bos_id=BOS)
    )
    params = read_t5x_params(run / f"checkpoint_{STEPS}", CONFIG)
    tokenizer = packed_example.tokenizer()
    prompts = [tokenizer.encode(text) for text in ("def f(x):\n    return", "import", "class A:")]
    length, new = 16, 24
    examples = tf.data.Dataset.from_generator(
        lambda: ({"inputs": prompt, "targets": [EOS]} for prompt in prompts),
        output_signature=dict.fromkeys(("inputs", "targets"), tf.TensorSpec([None], tf.int32)),
    )
    converter = model.FEATURE_CONVERTER_CLS(pack=False)
    converted = converter(examples, {"inputs": length, "targets": new})
    batch = next(converted.batch(len(prompts)).as_numpy_iterator())

    decoded, aux = model.predict_batch_with_aux(params, batch)

    loaded = LoadedModel(CONFIG, params, tokenizer, STEPS, (BOS,), (EOS,))
    starts = [[BOS, *prompt] for prompt in prompts]
    for row, prompt in enumerate(prompts):
        settings = SamplingSettings(max_new_tokens=length + new - len(prompt))
        (expected,) = generate(loaded, [starts[row]], settings)
        got = np.asarray(decoded[row])[: len(expected.ids)].tolist()
        assert got == list(expected.ids)
        assert len(got) >= new
    assert np.isfinite(aux["scores"]).all()


@with_t5x
def test_settings_that_do_not_fit_packed_sets_are_refused() -> None:
    from opencoder_jax import t5x_adapter

    with pytest.raises(InputError, match=r"DatasetConfig\.pack = False"):
        t5x_adapter.PackedFeatureConverter(pack=True)
    with pytest.raises(InputError, match=r"expected \{.targets.: S\}"):
        t5x_adapter.PackedFeatureConverter()(None, {"inputs": S, "targets": S})
