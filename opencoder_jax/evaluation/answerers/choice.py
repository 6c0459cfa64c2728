"""Which answerer a model's address means, and whether it is asked or continues text."""

from pathlib import Path

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.answerers.answerer import Answerer
from opencoder_jax.evaluation.answerers.local import LocalModel
from opencoder_jax.formats.huggingface_tokenizer import HuggingFaceTokenizer
from opencoder_jax.formats.tokenizer import open_tokenizer
from opencoder_jax.huggingface.folder import HuggingFaceFolder
from opencoder_jax.model.loading import load_model

REFERENCE = "transformers:"
_PROMPTINGS = ("auto", "base", "chat")


def is_endpoint(model: str) -> bool:
    """Whether the address is a server's."""
    return model.startswith(("http://", "https://"))


def open_answerer(
    model: str,
    *,
    step: int | None,
    batch_size: int,
    dtype: str | None,
    model_name: str | None,
    parallel: int,
    api_key_variable: str,
) -> Answerer:
    """Opens who answers.

    Raises:
      InputError: there is no model, or no server, or a flag is of the other kind.
    """
    if (is_endpoint(model) or model.startswith(REFERENCE)) and (step, dtype) != (None, None):
        raise InputError(f"{model}: step and dtype are for models in this process")
    if is_endpoint(model):
        from opencoder_jax.evaluation.answerers.endpoint import open_endpoint

        return open_endpoint(model, model_name, parallel, api_key_variable)
    if model_name is not None:
        raise InputError(f"model_name={model_name}: only an endpoint has named models")
    if model.startswith(REFERENCE):
        from opencoder_jax.evaluation.answerers.reference import open_reference

        return open_reference(model.removeprefix(REFERENCE))
    title = Path(model).resolve().name
    loaded = load_model(model, step=step)
    title = f"{title}, step {loaded.step}" if loaded.step else title
    return LocalModel(loaded, title, batch_size, dtype)


def as_chat(model: str, prompting: str) -> bool:
    """Whether a model is asked as a chat model.

    Args:
      model: its address.
      prompting: `base`, `chat`, or `auto`: what its folder says.

    Raises:
      InputError: another word, or an endpoint on `auto`.
    """
    if prompting not in _PROMPTINGS:
        raise InputError(f"prompting={prompting!r}: expected {', '.join(_PROMPTINGS)}")
    if prompting != "auto":
        return prompting == "chat"
    if is_endpoint(model):
        raise InputError(
            f"{model}: an endpoint does not tell whether its model chats: say --prompting=chat "
            "or --prompting=base"
        )
    folder = Path(model.removeprefix(REFERENCE))
    if not folder.is_dir() or not HuggingFaceFolder.is_one(folder):
        # Every tokenizer of ours has ChatML's tokens, so they tell nothing.
        return False
    tokenizer = open_tokenizer(folder)
    if not isinstance(tokenizer, HuggingFaceTokenizer):
        return False
    try:
        return bool(tokenizer.chat_template)
    except InputError:
        return False
