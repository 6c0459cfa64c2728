"""Which answerer a model's address means, and whether it is asked or continues text."""

import dataclasses
from pathlib import Path

from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.evaluation.answerers.answerer import Answerer
from opencoder_jax.evaluation.answerers.local import LocalModel
from opencoder_jax.formats.huggingface_tokenizer import HuggingFaceTokenizer
from opencoder_jax.formats.tokenizer import open_tokenizer
from opencoder_jax.huggingface.folder import HuggingFaceFolder
from opencoder_jax.model.loading import load_model

REFERENCE = "transformers:"
_PROMPTINGS = ("auto", "base", "chat")


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """How a model is opened and kept busy; gin binds it.

    Attributes:
      step: of the checkpoint; None: the newest.
      batch_size: answers side by side in this process.
      dtype: `float32` or `bfloat16`; None: what the model computes with.
      model_name: of the endpoint's model; None: the only one that it has.
      parallel: requests to an endpoint at one time.
      api_key_variable: environment variable that holds the endpoint's key.
    """

    step: int | None = None
    batch_size: int = 16
    dtype: str | None = None
    model_name: str | None = None
    parallel: int = 8
    api_key_variable: str = "OPENAI_API_KEY"

    def __post_init__(self) -> None:
        require_at_least(1, batch_size=self.batch_size, parallel=self.parallel)


def is_endpoint(model: str) -> bool:
    """Whether the address is a server's."""
    return model.startswith(("http://", "https://"))


def open_answerer(model: str, settings: ModelSettings) -> Answerer:
    """Opens who answers.

    Raises:
      InputError: there is no model, or no server, or a setting is for another kind of model.
    """
    ours = not is_endpoint(model) and not model.startswith(REFERENCE)
    if not ours and (settings.step, settings.dtype) != (None, None):
        raise InputError(f"{model}: step and dtype are for models in this process")
    if is_endpoint(model):
        from opencoder_jax.evaluation.answerers.endpoint import open_endpoint

        return open_endpoint(
            model, settings.model_name, settings.parallel, settings.api_key_variable
        )
    if settings.model_name is not None:
        raise InputError(f"model_name={settings.model_name}: only an endpoint has named models")
    if model.startswith(REFERENCE):
        from opencoder_jax.evaluation.answerers.reference import open_reference

        return open_reference(model.removeprefix(REFERENCE))
    title = Path(model).resolve().name
    loaded = load_model(model, step=settings.step)
    title = f"{title}, step {loaded.step}" if loaded.step else title
    return LocalModel(loaded, title, settings.batch_size, settings.dtype)


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
