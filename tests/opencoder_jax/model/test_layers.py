"""The mathematics of a layer against its plain form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opencoder_jax.model.layers import project

B, S, D, H, h = 2, 5, 6, 3, 4


@pytest.mark.parametrize(
    ("subscripts", "x_shape", "weight_shape"),
    [
        ("BSD,DF->BSF", (B, S, D), (D, 7)),
        ("BSD,DHh->BSHh", (B, S, D), (D, H, h)),
        ("BSHh,HhD->BSD", (B, S, H, h), (H, h, D)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_projection_and_its_gradients_are_those_of_einsum(
    subscripts: str, x_shape: tuple, weight_shape: tuple, dtype: str
) -> None:
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], x_shape, dtype)
    weight = jax.random.normal(keys[1], weight_shape, dtype)
    got, got_vjp = jax.vjp(lambda x, w: project(subscripts, x, w), x, weight)
    expected, expected_vjp = jax.vjp(lambda x, w: jnp.einsum(subscripts, x, w), x, weight)
    np.testing.assert_array_equal(got, expected)
    slope = jnp.sin(expected.astype(jnp.float32)).astype(dtype)
    tolerance = 1e-6 if dtype == "float32" else 2e-2
    for mine, plain in zip(got_vjp(slope), expected_vjp(slope), strict=True):
        assert mine.dtype == plain.dtype
        np.testing.assert_allclose(
            mine.astype(jnp.float32), plain.astype(jnp.float32), rtol=tolerance, atol=tolerance
        )
