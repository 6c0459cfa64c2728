"""Operations are those of the matrices that are there; others' figures follow from them."""

import jax
import jax.numpy as jnp
import pytest

from opencoder_jax.model import transformer
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.training import flops
from tests.opencoder_jax.training import small

OPENCODER_8B = TransformerConfig(
    vocab_size=96640,
    num_layers=32,
    emb_dim=4096,
    num_heads=32,
    num_kv_heads=8,
    head_dim=128,
    mlp_dim=14336,
    rope_theta=500000.0,
    max_length=8192,
)


@pytest.mark.parametrize("tied", [False, True])
def test_matmul_parameters_are_the_operations_that_xla_counts_of_one_token(tied):
    # One layer, so that XLA's once-counted loop body is the whole model; one position, so that
    # attention is next to nothing; wide, so that norms and softmax are too.
    model = small.MODEL.replace(
        num_layers=1, emb_dim=512, mlp_dim=1024, vocab_size=4096, tie_embeddings=tied
    )
    token = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    params = transformer.abstract_params(model)
    compiled = (
        jax.jit(lambda params, *inputs: transformer.logits(model, params, *inputs))
        .lower(params, token, token, token)
        .compile()
    )
    counted = compiled.cost_analysis()["flops"]
    assert counted == pytest.approx(2 * flops.matmul_parameters(model), rel=0.02)


def test_a_sequence_as_long_as_the_model_is_wide_has_attention_of_the_textbook():
    per_token = flops.token_flops(OPENCODER_8B, 8192)
    # 12 L S d of full attention (PaLM, App. B), halved.
    assert per_token.attention == 6 * 32 * 8192 * 4096
    assert per_token.total == per_token.matmul + per_token.attention


def test_llama_8b_on_v6e_is_counted_as_google_counts_it_but_for_the_mask():
    # tpu-recipes, Llama3.1-8B on v6e-256, 8,192 tokens: 7,207 tokens/s and 417.4 TFLOP/s a chip,
    # 45.5%, with attention that is not halved.
    per_token = flops.token_flops(OPENCODER_8B.replace(vocab_size=128256), 8192)
    as_google = per_token.matmul + 2 * per_token.attention
    peak = flops.peak_flops("TPU v6 lite")
    assert peak is not None
    assert as_google * 7207 == pytest.approx(417.4e12, rel=0.001)
    assert flops.mfu(7207 * as_google, 1.0, peak) == pytest.approx(0.455, abs=0.001)
    assert flops.mfu(72070 * per_token.total, 10.0, peak) == pytest.approx(0.404, abs=0.001)


def test_devices_are_known_by_their_kind_and_others_have_no_peak():
    assert flops.peak_flops("TPU v5 lite") == 197e12
    assert flops.peak_flops("TPU v5") == flops.peak_flops("TPU v5p") == 459e12
    assert flops.peak_flops("TPU7x") == 2307e12 / 2
    assert flops.peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert flops.peak_flops("NVIDIA H100 PCIe") is None
    assert flops.peak_flops("cpu") is None
