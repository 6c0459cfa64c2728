"""Prompts of chat models as token ids: one user turn in ChatML.

Text for a base model to continue is `LoadedModel.prompt_ids`. A chat prompt has to be
laid out exactly as in training, so it is made by `opencoder_jax.formats.chat`, which
wants a tokenizer of this project; a foreign one is refused, never guessed at.
"""

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
