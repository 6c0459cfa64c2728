"""Prompts of chat models as token ids: one user turn.

Text for a base model to continue is `LoadedModel.prompt_ids`. A chat prompt has to be
laid out exactly as in training, so it is made by `opencoder_jax.formats.chat`: ChatML, or
the chat template of a foreign tokenizer. One without a template is refused, never guessed at.
"""

from opencoder_jax.formats.chat import encode_prompt
from opencoder_jax.model.loading import LoadedModel


def chat_ids(model: LoadedModel, instruction: str) -> list[int]:
    """One user turn with an assistant turn opened after it.

    Raises:
      InputError: the model's tokenizer has no chat template.
    """
    return encode_prompt([("user", instruction)], model.tokenizer)
