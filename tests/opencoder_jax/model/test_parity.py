"""Hugging Face's Llama gives the same float32 logits from the same parameters."""

import functools
import operator

import numpy as np
import pytest

from opencoder_jax.huggingface.llama import blocks, tensor_specs, to_llama_config
from opencoder_jax.model.transformer import logits
from tests.opencoder_jax.model.small_models import GROUPED, TIED_MULTI_HEAD, params_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)


@pytest.mark.parametrize(
    "config",
    [
        GROUPED.replace(num_kv_heads=4),
        GROUPED,
        GROUPED.replace(tie_embeddings=True),
        TIED_MULTI_HEAD.replace(rms_norm_eps=1e-3),
    ],
    ids=["untied-multi-head", "untied-grouped", "tied-grouped", "tied-multi-head"],
)
def test_logits_equal_hugging_faces_llama(config):
    params = params_of(config)
    values = to_llama_config(config, dtype="float32")
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**values))
    state = {spec.name: torch.empty(spec.shape) for spec in tensor_specs(config)}
    for block in blocks(config):
        array = functools.reduce(operator.getitem, block.path, params)[block.index]
        state[block.name][block.rows] = torch.from_numpy(block.to_torch(np.array(array)))
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    theirs.tie_weights()
    assert not unexpected
    assert missing == (["lm_head.weight"] if config.tie_embeddings else [])
    tokens = np.random.default_rng(1).integers(0, config.vocab_size, (2, 33))

    with torch.no_grad():
        expected = theirs(torch.from_numpy(tokens)).logits.numpy()
    positions = np.broadcast_to(np.arange(33), (2, 33))
    ours = logits(config, params, tokens, np.ones_like(tokens), positions)

    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(ours, expected, atol=5e-5)
