"""A model directory runs where it is loaded, however and wherever it was trained."""

import numpy as np

from opencoder_jax.model import transformer
from opencoder_jax.model.loading import load_model
from tests.opencoder_jax.model.small_models import GROUPED, make_model_directory


def test_a_model_of_a_tpus_kernel_and_int8_products_runs_here(tmp_path):
    trained = GROUPED.replace(attention="splash", quantization="int8")
    make_model_directory(tmp_path / "model", trained)

    loaded = load_model(tmp_path / "model")

    assert loaded.config == GROUPED
    ids = np.ones((1, 8), np.int32)
    positions = np.arange(8, dtype=np.int32)[None]
    logits = transformer.logits(loaded.config, loaded.params, ids, ids, positions)
    assert np.all(np.isfinite(logits))
