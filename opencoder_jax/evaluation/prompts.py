"""Prompts as token ids: text to continue for base models, ChatML for chat models."""

from opencoder_jax.errors import InputError
from opencoder_jax.formats.chat import encode_prompt
from opencoder_jax.formats.tokenizer import Tokenizer
from opencoder_jax.model.loading import LoadedModel


def chat_ids(model: LoadedModel, instruction: str) -> list[int]:
    """One user turn with an assistant turn opened after it.

    Raises:
      InputError: the model's tokenizer has no ChatML tokens that this project knows.
    """
    if not isinstance(model.tokenizer, Tokenizer):
        raise InputError(
            "this model's folder has no tokenizer.model of this project, so its chat format is "
            "not known; evaluate it as a base model (CHAT = False)"
        )
    return encode_prompt([("user", instruction)], model.tokenizer)
