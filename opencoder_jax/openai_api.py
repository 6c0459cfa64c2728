"""What servers of OpenAI's API have in common, for whoever calls one: status, errors, counts.

Pure functions of what came over the wire. `evaluation/answerers/endpoint` asks models under
test, `beam_pipelines/teacher` asks the model that makes data.
"""

import datetime
import email.utils
import json
from collections.abc import Mapping
from typing import Any

# Status of HTTP after which the same request may succeed.
TRY_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_MOST_TOKENS = 1 << 40


def error_message(content: bytes, otherwise: str) -> str:
    """What a server says of an error, in one line.

    Args:
      content: of the response, or its beginning.
      otherwise: told where it says nothing.
    """
    text = content.decode("utf-8", "replace")
    try:
        found = json.loads(text)
        found = found.get("error", found)
        text = found.get("message", text) if isinstance(found, dict) else str(found)
    except (ValueError, AttributeError, RecursionError):
        pass
    return " ".join(str(text).split())[:500] or otherwise


def error_code(content: bytes) -> str:
    """The name that a server gives an error (`code`, else `type`); empty: none."""
    try:
        error = json.loads(content)["error"]
        return str(error.get("code") or error.get("type") or "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""


def retry_after(header: str) -> float | None:
    """Seconds that a server asks to wait, from its `Retry-After`; None: it does not say."""
    if header.isascii() and header.isdigit():
        return float(header)
    try:
        when = email.utils.parsedate_to_datetime(header)
    except (ValueError, TypeError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return max(0.0, (when - datetime.datetime.now(datetime.UTC)).total_seconds())


def token_count(answer: Mapping[str, Any], key: str) -> int | None:
    """A count of the answer's `usage`; None: the server does not tell, or tells nonsense."""
    usage = answer.get("usage")
    count = usage.get(key) if isinstance(usage, Mapping) else None
    known = isinstance(count, int) and not isinstance(count, bool) and 0 <= count < _MOST_TOKENS
    return count if known else None


def model_names(answer: Mapping[str, Any]) -> list[str]:
    """Names in the answer of `/models`."""
    models = answer.get("data")
    models = models if isinstance(models, list) else []
    return [str(model["id"]) for model in models if isinstance(model, dict) and "id" in model]
