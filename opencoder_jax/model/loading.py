"""Opens a model for evaluation, generation or export, wherever it came from.

Two kinds of folder hold a model: a model directory of this project (`checkpoint_N/` and
`tokenizer/`) and a Hugging Face folder (`config.json` and safetensors). Whoever wants to
run a model calls `load_model` and need not know which it is. Imports no tensorflow.
"""

import dataclasses
import os
from pathlib import Path

from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import refuse_unfinished_training
from opencoder_jax.formats.tokenizer import Tokenizer, open_tokenizer
from opencoder_jax.huggingface.folder import HuggingFaceFolder
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.model.transformer import Params
from opencoder_jax.training import checkpoints

TOKENIZER_FOLDER = "tokenizer"


class LoadingError(InputError):
    """A folder that holds no model, or whose parts do not belong together."""


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model that can run.

    Attributes:
      config: its dimensions.
      params: nested dict of arrays of `config.param_dtype`.
      tokenizer: the project's own, or that of a Hugging Face checkpoint.
      step: training steps made; 0 where unknown.
      bos_ids: what every document starts with.
      eos_ids: tokens that end a text.
    """

    config: TransformerConfig
    params: Params
    tokenizer: Tokenizer
    step: int
    bos_ids: tuple[int, ...]
    eos_ids: tuple[int, ...]

    def prompt_ids(self, text: str) -> list[int]:
        """Tokens of a text that the model is to continue."""
        return [*self.bos_ids, *self.tokenizer.encode(text)]


def load_model(folder: str | os.PathLike, step: int | None = None) -> LoadedModel:
    """Opens a model directory of this project or a Hugging Face folder.

    Args:
      folder: either kind.
      step: which checkpoint of a model directory; None takes the latest, once the
        training has finished.

    Raises:
      InputError: there is no model, its training has not finished, its checkpoint is
        damaged, there is no such step, or the tokenizer is of another model.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LoadingError(f"{folder}: no such folder")
    if HuggingFaceFolder.is_one(folder):
        if step is not None:
            raise LoadingError(f"{folder} is a Hugging Face folder: it has no step {step}")
        return _load_huggingface(folder)
    return _load_model_directory(folder, step)


def find_step(folder: str | Path, step: int | None) -> int | None:
    """The step to load of a model directory: the one asked for, or the latest.

    Raises:
      InputError: the latest is asked for, and the training has not finished.
    """
    if step is not None:
        return step
    refuse_unfinished_training(folder)
    # This one or none: an older one is another model, whatever happened to the latest.
    return max(checkpoints.steps(folder), default=None)


def open_tokenizer_of(folder: str | os.PathLike, model: TransformerConfig) -> Tokenizer:
    """The tokenizer in a folder, for this model.

    Raises:
      InputError: there is none, or it has more tokens than the model.
    """
    tokenizer = open_tokenizer(folder)
    if tokenizer.vocab_size > model.vocab_size:
        raise LoadingError(
            f"{tokenizer.path} has {tokenizer.vocab_size} tokens, the model's vocab_size is "
            f"{model.vocab_size}"
        )
    return tokenizer


def read_own_tokenizer(folder: str | os.PathLike, fingerprint: str) -> Tokenizer:
    """The tokenizer of a model directory.

    Args:
      folder: the model directory.
      fingerprint: of the tokenizer, as its checkpoint has it.

    Raises:
      InputError: there is none, or it is another one.
    """
    tokenizer = open_tokenizer(Path(folder) / TOKENIZER_FOLDER)
    if tokenizer.fingerprint != fingerprint:
        raise LoadingError(
            f"{tokenizer.path} (fingerprint {tokenizer.fingerprint}) is not the tokenizer that "
            f"the model was trained with ({fingerprint})"
        )
    return tokenizer


def _load_model_directory(folder: Path, step: int | None) -> LoadedModel:
    params, metadata = checkpoints.restore_params(folder, find_step(folder, step))
    tokenizer = read_own_tokenizer(folder, metadata.tokenizer_fingerprint)
    # Weights are stored whole: they are run that way, however they were trained, and with the
    # kernels that there are here.
    trained = TransformerConfig.from_json(metadata.model)
    config = trained.replace(quantization="none", attention="auto")
    return LoadedModel(
        config, params, tokenizer, metadata.step, tokenizer.bos_ids, tokenizer.eos_ids
    )


def _load_huggingface(folder: Path) -> LoadedModel:
    source = HuggingFaceFolder(folder)
    config = source.read_config()
    tokenizer = open_tokenizer_of(folder, config)
    params = source.read_params()
    return LoadedModel(config, params, tokenizer, 0, tokenizer.bos_ids, tokenizer.eos_ids)
