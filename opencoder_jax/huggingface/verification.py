"""Whether an exported folder is the model: read back by us, and run by transformers.

Our own importer has to give the same parameters bit for bit. Where torch and transformers
are installed (they are in nobody's dependencies), their `LlamaForCausalLM` has to give
the same logits as our forward pass, up to the rounding of its numeric type.
"""

import importlib.util
import os

import jax.numpy as jnp
import numpy as np

from opencoder_jax.errors import InputError
from opencoder_jax.huggingface.folder import HuggingFaceFolder, ReadParameter, by_parameter
from opencoder_jax.huggingface.llama import NUMPY_DTYPES
from opencoder_jax.model import transformer
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.transformer import Params

_PROBE_LENGTH = 64


class VerificationError(InputError):
    """An exported folder that is not the model it was made from."""


def check_params_equal(
    folder: str | os.PathLike, config: TransformerConfig, read: ReadParameter, dtype: str
) -> None:
    """Reads the folder with our importer, block by block, and compares every bit.

    Args:
      folder: the export.
      config: the model's dimensions.
      read: the model's parameters again.
      dtype: that they were cast to.

    Raises:
      VerificationError: a parameter differs.
    """
    source = HuggingFaceFolder(folder)
    source.check(source.read_config())
    for path, parts in by_parameter(config):
        for block, array in zip(parts, read(path, parts), strict=True):
            expected = array.astype(NUMPY_DTYPES[dtype], copy=False)
            found = source.read_block(block, source.read_config().param_dtype)
            if expected.dtype != found.dtype or expected.tobytes() != found.tobytes():
                raise VerificationError(f"{folder}: {block.name} differs on reading")


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
