"""All signals of one document: what the cleaning job calls for every file.

A signal that fails is an error of the document, by name: the job drops it as
`signal_error` and says so. (In the released filter the signals after a failing one
were missing, and a missing signal is never a reason to drop.)
"""

import dataclasses

from beam_pipelines.signals import (
    c_family,
    code,
    csharp,
    general,
    go,
    html,
    human_language,
    java,
    javascript,
    python,
    text,
)
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.registry import Signal, registered_names, signals_of

# Importing a module of signals is what registers it.
SIGNAL_MODULES = (
    general,
    text,
    code,
    python,
    c_family,
    csharp,
    go,
    html,
    java,
    javascript,
)
_DECIMALS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class SignalResult:
    """The signals of one document.

    Attributes:
      values: signal name to value, rounded to 8 decimals; None where it is undefined.
      human_language: ISO 639 code.
      errors: signal name to what went wrong, its value is None; or `human_language`, and
        there are no values.
    """

    values: dict[str, float | None]
    human_language: str
    errors: dict[str, str]


def compute_signals(
    content: str, *, language: str, doc_type: str, path: str, size_bytes: int, document_id: str
) -> SignalResult:
    """Every signal that a document of this kind has.

    Args:
      content: the document's text.
      language: lower-case Linguist name.
      doc_type: `text` documents have the text group; `code` and `data` the code group and
        their language's own.
      path: inside the repository.
      size_bytes: of the document.
      document_id: named in errors.
    """
    values: dict[str, float | None] = {}
    errors: dict[str, str] = {}
    try:
        natural = _human_language(content, doc_type)
    except Exception as error:
        errors["human_language"] = _described(error, document_id)
        return SignalResult(values, "unknown", errors)
    document = ParsedDocument(content, language, doc_type, path, size_bytes, natural)
    for signal in signals_for(doc_type, language):
        try:
            value = signal.function(document)
            # Most values are counts or 0, which need no rounding.
            if not value or value.__class__ is int:
                values[signal.name] = None if value is None else float(value)
            else:
                values[signal.name] = round(float(value), _DECIMALS)
        except Exception as error:  # One bad document must not end the job; it is dropped by name.
            values[signal.name] = None
            errors[signal.name] = _described(error, document_id)
    return SignalResult(values, natural, errors)


def signal_names() -> tuple[str, ...]:
    """Every signal that some kind of document has, in the order of registration."""
    return registered_names()


def signals_of_kind(doc_type: str, language: str) -> tuple[str, ...]:
    """Names of the signals that `compute_signals` gives a document of this kind."""
    return tuple(signal.name for signal in signals_for(doc_type, language))


def signals_for(doc_type: str, language: str) -> tuple[Signal, ...]:
    if doc_type == "text":
        return signals_of("text")
    return signals_of("code") + signals_of(language)


def _human_language(content: str, doc_type: str) -> str:
    # For code and data the language only decides how words are cut, which differs for
    # Chinese and Japanese alone; on ASCII the model would guess.
    if doc_type != "text" and content.isascii():
        return "en"
    return human_language.identify(content)


def _described(error: Exception, document_id: str) -> str:
    return f"document {document_id}: {type(error).__name__}: {error}"
