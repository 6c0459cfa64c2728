import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opencoder_jax import configuration
from opencoder_jax import generate as generate_command
from opencoder_jax.decoding import native
from opencoder_jax.decoding.engine import EngineConfig
from opencoder_jax.decoding.generation import Generation, generate
from opencoder_jax.decoding.sampling import SamplingSettings
from opencoder_jax.errors import InputError
from opencoder_jax.model import transformer
from tests.opencoder_jax.model.small_models import make_model_directory

SETTINGS = SamplingSettings(max_new_tokens=24)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("models") / "model"


@pytest.fixture(scope="module")
def model(model_dir):
    return make_model_directory(model_dir)


@pytest.fixture(scope="module")
def prompts(model):
    texts = ["def f(x):\n    return", "import os", "class A:\n" + "    pass\n" * 20, "x", "if a"]
    return [model.prompt_ids(text) for text in texts]


@pytest.fixture(scope="module", params=["native", "xla"])
def kernels(request):
    if request.param == "native" and not native.available():
        pytest.skip("no C++ compiler")
    return EngineConfig(slots=3, kernels=request.param)


@pytest.fixture(scope="module")
def greedy(model, prompts, kernels):
    return generate(model, prompts, SETTINGS, engine=kernels)


def continue_by_full_forward_passes(model, prompt, count) -> list[int]:
    """Greedy decoding without a cache."""
    run = jax.jit(transformer.logits, static_argnums=0)
    tokens = np.zeros((1, 128), np.int32)
    tokens[0, : len(prompt)] = prompt
    segments = np.ones_like(tokens)
    for place in range(len(prompt), len(prompt) + count):
        logits = run(model.config, model.params, tokens, segments, np.arange(128)[None])
        tokens[0, place] = int(jnp.argmax(logits[0, place - 1]))
        if tokens[0, place] in model.eos_ids:
            return tokens[0, len(prompt) : place].tolist()
    return tokens[0, len(prompt) : len(prompt) + count].tolist()


def test_decoding_with_a_cache_equals_full_forward_passes(model, prompts, greedy):
    assert max(len(prompt) for prompt in prompts) > 64
    for prompt, generation in zip(prompts, greedy, strict=True):
        expected = continue_by_full_forward_passes(model, prompt, SETTINGS.max_new_tokens)
        assert list(generation.ids) == expected
        assert generation.text == model.tokenizer.decode(expected)
        assert generation.finish_reason == ("length" if len(expected) == 24 else "eos")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_prompt_gives_the_same_text_alone_and_in_a_batch(model, prompts, kernels, temperature):
    settings = SamplingSettings(max_new_tokens=24, temperature=temperature, logprobs=2)

    together = generate(model, prompts, settings, engine=kernels)

    # To the last bit of every log-probability, on the native kernels.
    alone = generate(model, prompts[:1], settings, engine=kernels)
    two = generate(model, prompts[:2], settings, engine=kernels)
    if kernels.kernels == "native":
        assert (alone, two) == (together[:1], together[:2])
    assert [g.text for g in (*alone, *two)] == [g.text for g in (*together[:1], *together[:2])]
    assert len({result.text for result in together}) == len(prompts)


def test_samples_of_one_prompt_differ_and_come_again_with_the_seed(model, prompts):
    settings = SamplingSettings(max_new_tokens=24, temperature=1.0, seed=5)

    first = generate(model, [prompts[0]] * 3, settings, engine=EngineConfig(slots=3))

    assert len({result.ids for result in first}) == 3
    assert generate(model, [prompts[0]] * 3, settings, engine=EngineConfig(slots=3)) == first


def test_a_stop_text_that_spans_tokens_ends_the_text_before_it(model, prompts, kernels, greedy):
    result = greedy[0]
    borders = np.cumsum([len(model.tokenizer.decode([i])) for i in result.ids])
    around = (result.text[max(0, m - 2) : m + 2] for m in borders[4:].tolist())
    # What may still become a character is no text yet.
    stop = next(text for text in around if "\ufffd" not in text)
    first = result.text.index(stop)
    settings = SamplingSettings(max_new_tokens=24, stop=("no such text", stop))

    (stopped,) = generate(model, prompts[:1], settings, engine=kernels)

    assert stopped.finish_reason == "stop"
    assert stopped.text == result.text[:first]
    assert stopped.ids == result.ids[: len(stopped.ids)]
    assert stop in model.tokenizer.decode(stopped.ids)
    assert stop not in model.tokenizer.decode(stopped.ids[:-1])


def test_a_stop_id_ends_a_row_and_leaves_the_others(model, prompts, kernels, greedy):
    stop_id = greedy[0].ids[5]
    stopping = type(model)(**{**vars(model), "eos_ids": (stop_id, stop_id)})

    stopped = generate(stopping, prompts[:3], SETTINGS, engine=kernels)

    place = greedy[0].ids.index(stop_id)
    assert stopped[0] == Generation(
        greedy[0].ids[:place], model.tokenizer.decode(greedy[0].ids[:place]), "eos"
    )
    assert all(stop_id not in result.ids for result in stopped)
    assert max(len(result.ids) for result in stopped) > place


def test_the_context_bounds_a_continuation(model):
    longest = model.config.max_length
    nearly_full, full = [5] * (longest - 3), [5] * longest

    first, second = generate(model, [nearly_full, full], SETTINGS)

    assert first.finish_reason in ("length", "eos")
    assert len(first.ids) <= 3
    assert second == Generation((), "", "prompt_too_long")


@pytest.mark.parametrize(
    ("prompt", "message"), [([], "prompt 1 is empty"), ([3, 9999], "prompt 1 has ids .9999.")]
)
def test_a_prompt_that_is_no_prompt_is_refused(model, prompt, message):
    with pytest.raises(InputError, match=message):
        generate(model, [[1], prompt], SETTINGS)


def test_the_command_prints_prompt_and_continuation(model, model_dir, prompts, capsys):
    arguments = [f"--gin.MODEL_DIR={model_dir}", "--gin.PROMPT=import os"]
    arguments += ["--gin.SamplingSettings.max_new_tokens=24"]
    arguments += ["--gin.generate.slots=3"]

    status = configuration.main(
        generate_command.generate, arguments, default_gin_files=["generate/greedy.gin"]
    )

    assert status == 0
    expected = generate(model, prompts[1:2], SETTINGS)[0].text
    assert capsys.readouterr().out == "import os" + expected + "\n"


def test_a_folder_without_a_model_is_one_clear_error(tmp_path, capsys):
    arguments = [f"--gin.MODEL_DIR={tmp_path}", "--gin.PROMPT=x"]

    status = configuration.main(
        generate_command.generate, arguments, default_gin_files=["generate/greedy.gin"]
    )

    assert status == 2
    assert "no checkpoint_N folder" in capsys.readouterr().err


def test_generating_and_exporting_import_no_tensorflow():
    program = (
        "import sys, opencoder_jax.generate, opencoder_jax.export_hf, opencoder_jax.import_hf\n"
        "heavy = {'tensorflow', 'seqio', 'apache_beam', 'torch', 'transformers'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
