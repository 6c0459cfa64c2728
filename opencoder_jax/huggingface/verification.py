"""Whether an exported folder is the model: read back by us, and run by transformers.

Our own importer has to give the same parameters bit for bit. Where torch and transformers
are installed (they are in nobody's dependencies), their `LlamaForCausalLM` has to give
the same logits as our forward pass, up to the rounding of its numeric type.
"""

import importlib.util
import os

import jax
import jax.numpy as jnp
import numpy as np

from opencoder_jax.errors import InputError
from opencoder_jax.huggingface.folder import HuggingFaceFolder
from opencoder_jax.model import transformer
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.transformer import Params

_PROBE_LENGTH = 64


class VerificationError(InputError):
    """An exported folder that is not the model it was made from."""


def check_params_equal(folder: str | os.PathLike, params: Params, dtype: str) -> None:
    """Reads the folder with our importer and compares every bit.

    Raises:
      VerificationError: a parameter differs from `params` cast to `dtype`.
    """
    imported = HuggingFaceFolder(folder).read_params()
    for path, array in jax.tree_util.tree_leaves_with_path(params):
        found = imported
        for key in path:
            found = found[key.key]
        expected = np.asarray(jax.device_get(array)).astype(jnp.dtype(dtype))
        if expected.tobytes() != np.asarray(found).tobytes():
            raise VerificationError(f"{folder}: {jax.tree_util.keystr(path)} differs on reading")


def transformers_is_installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def logits_difference(
    folder: str | os.PathLike, config: TransformerConfig, params: Params
) -> float:
    """Largest absolute difference of float32 logits between transformers and us.

    Both read the same parameters, those of the folder, on `_PROBE_LENGTH` tokens spread
    over the vocabulary. Needs torch and transformers.
    """
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    length = min(_PROBE_LENGTH, config.max_length)
    tokens_BS = np.linspace(0, config.vocab_size - 1, length).astype(np.int32)[None]
    model = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        theirs = model(torch.from_numpy(tokens_BS.astype(np.int64))).logits.numpy()
    ours = transformer.logits(
        config.replace(dtype="float32"),
        params,
        jnp.asarray(tokens_BS),
        jnp.ones_like(tokens_BS),
        jnp.arange(length)[None],
    )
    return float(np.abs(theirs - np.asarray(ours)).max())
