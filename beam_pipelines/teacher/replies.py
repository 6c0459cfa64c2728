"""What a server's answer says, whatever it is: a text, or why there is none.

A `Reply` is what is kept of a completed call, good or not: it was paid for. `unusable` then says
whether a job can use it. Pure functions; next: `client` asks, `cache` keeps.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from beam_pipelines.teacher.prompt import Messages
from opencoder_jax.formats.json_object import json_type, parse_object
from opencoder_jax.openai_api import error_message, token_count

TIMEOUT = "teacher_timeout"
REFUSED_REQUEST = "teacher_refused_request"
BAD_RESPONSE = "teacher_bad_response"
EMPTY = "teacher_empty"
TRUNCATED = "teacher_truncated"
REFUSAL = "teacher_refusal"
# Every reason that `Ask` drops for.
REASONS = (TIMEOUT, REFUSED_REQUEST, BAD_RESPONSE, EMPTY, TRUNCATED, REFUSAL)

_BYTES_A_TOKEN = 3
_TOKENS_A_MESSAGE = 8


class BadReplyError(Exception):
    """A body that is no answer; asking again may help."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """A completed call.

    Attributes:
      text: as it came; empty: none.
      finish_reason: as the server says it; empty: it says nothing.
      refusal: the API's own field for a model that declines; empty: none.
      thought: characters of `reasoning_content`, which is no part of the text.
      prompt_tokens: as the server counts; by `tokens_of_messages` where it does not.
      completion_tokens: as the server counts; by `tokens_of` where it does not.
      counted: whether both counts are the server's.
    """

    text: str
    finish_reason: str
    refusal: str
    thought: int
    prompt_tokens: int
    completion_tokens: int
    counted: bool


def read_reply(content: bytes, messages: Messages) -> Reply:
    """The reply in a response's body; of several choices the first.

    Args:
      content: of a response with status 200.
      messages: that were asked.

    Raises:
      BadReplyError: HTML, half JSON, no choice, or other types than the API's.
    """
    answer = parse_object(content, lambda problem: BadReplyError(f"{problem}: {_shown(content)}"))
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        told = error_message(content, "") if "error" in answer else _shown(content)
        raise BadReplyError(f"no choices: {told}")
    choice = min(choices, key=_index)
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise BadReplyError(f"the choice has no message: {_shown(content)}")
    text = _text(message.get("content"))
    # vLLM has called it by both names.
    thought = _text(message.get("reasoning_content") or message.get("reasoning"))
    prompt_tokens = token_count(answer, "prompt_tokens")
    completion_tokens = token_count(answer, "completion_tokens")
    reason = choice.get("finish_reason")
    if reason is not None and not isinstance(reason, str):
        raise BadReplyError(f"finish_reason is {json_type(reason)}: {_shown(content)}")
    counted = prompt_tokens is not None and completion_tokens is not None
    return Reply(
        text=text,
        finish_reason=reason or "",
        refusal=_text(message.get("refusal")),
        thought=len(thought),
        prompt_tokens=tokens_of_messages(messages) if prompt_tokens is None else prompt_tokens,
        completion_tokens=(
            tokens_of(text + thought) if completion_tokens is None else completion_tokens
        ),
        counted=counted,
    )


def unusable(reply: Reply, allow_truncated: bool = False) -> tuple[str, str] | None:
    """(reason, detail) of the drop; None: the text can be used.

    Args:
      reply: of a completed call.
      allow_truncated: an answer that was cut at `max_tokens` can be used too.
    """
    if reply.refusal.strip():
        return REFUSAL, " ".join(reply.refusal.split())[:300]
    if reply.finish_reason == "content_filter":
        return REFUSAL, "finish_reason content_filter"
    if not reply.text.strip():
        said = f"finish_reason {reply.finish_reason or 'not said'}"
        if reply.thought:
            said += f", {reply.thought} characters of thoughts: max_tokens may be too few for both"
        return EMPTY, said
    if problem := _bad_characters(reply.text):
        return BAD_RESPONSE, problem
    if reply.finish_reason == "length" and not allow_truncated:
        return TRUNCATED, f"cut after {reply.completion_tokens} tokens"
    return None


def tokens_of(text: str) -> int:
    """A count of tokens without a tokenizer: one for 3 bytes of UTF-8, rather too many.

    English and code have 3 to 4.5 bytes a token in tokenizers of today, Chinese 3 to 5.
    """
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_A_TOKEN)


def tokens_of_messages(messages: Messages) -> int:
    """As `tokens_of`, with 8 for what a chat template puts around each message."""
    return sum(tokens_of(text) + _TOKENS_A_MESSAGE for _, text in messages)


def _index(choice: Any) -> int:
    if not isinstance(choice, dict):
        raise BadReplyError(f"a choice is {json_type(choice)}")
    index = choice.get("index", 0)
    return index if isinstance(index, int) else 0


def _text(value: Any) -> str:
    """A text, or the texts of its parts; null is none."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, Mapping) for part in value):
        texts = [part.get("text") for part in value if part.get("type") in ("text", "refusal")]
        if all(isinstance(text, str) for text in texts):
            return "".join(map(str, texts))
    raise BadReplyError(f"a text is {json_type(value)}")


def _bad_characters(text: str) -> str:
    """Characters that no record and no program can hold; empty: none."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"half a surrogate pair at character {error.start}"
    where = text.find("\0")
    return "" if where < 0 else f"NUL at character {where}"


def _shown(content: bytes) -> str:
    return " ".join(content[:300].decode("utf-8", "replace").split())[:200]
