"""What a request may say: `/v1/completions` and `/v1/chat/completions`, read and checked.

Names, defaults and bounds are OpenAI's; `top_k`, `min_p`, `repetition_penalty`, `ignore_eos` and
`add_special_tokens` are vLLM's. What this server cannot do is refused by name unless it is said
to be wanted not at all; a name that nobody knows is refused too, as OpenAI does; what would
change no text is ignored. docs/serving.md lists all. Next: `completions`, `chat`.
"""

import dataclasses
import secrets
from typing import Any

from opencoder_jax.decoding.sampling import MAX_ALTERNATIVES, SamplingSettings
from opencoder_jax.formats.json_object import json_type
from opencoder_jax.serve.api_error import bad_request
from opencoder_jax.serve.fields import Fields, check_text

# OpenAI takes 4, vLLM any; each is looked for at every token.
MAX_STOPS = 16
MAX_STOP_LENGTH = 256
# Text changes with none of these.
_IGNORED = (
    *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"),
    *("prompt_cache_retention", "verbosity", "reasoning_effort", "request_id", "priority"),
)
# Field to the values that ask for nothing, and what to do instead.
_UNSUPPORTED: dict[str, tuple[tuple[Any, ...], str]] = {
    "logit_bias": (({},), ""),
    "response_format": (({"type": "text"},), "the text is not constrained"),
    "tools": (([],), ""),
    "tool_choice": (("none", "auto"), ""),
    "functions": (([],), ""),
    "function_call": (("none", "auto"), ""),
    "parallel_tool_calls": ((True, False), ""),
    "modalities": ((["text"],), ""),
    "audio": ((), ""),
    "prediction": ((), ""),
    "web_search_options": ((), ""),
    "skip_special_tokens": ((True,), "special tokens give no text"),
    "use_beam_search": ((False,), ""),
    "length_penalty": ((1, 1.0), ""),
    "stop_token_ids": (([],), "end tokens of the model always end; write texts into `stop`"),
    "min_tokens": ((0,), ""),
    "prompt_logprobs": ((), "use `echo` with `logprobs`"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Common:
    """What both kinds of requests say.

    Attributes:
      model: asked for; None: whichever there is.
      max_tokens: of the text; None: not said.
      choices: texts for each prompt.
      settings: how to choose tokens; its `max_new_tokens` is not set yet.
      stream: send text as it comes.
      include_usage: end a stream with counts of tokens.
    """

    model: str | None
    max_tokens: int | None
    choices: int
    settings: SamplingSettings
    stream: bool
    include_usage: bool


@dataclasses.dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A body of `/v1/completions`.

    Attributes:
      prompts: texts, or token ids.
      suffix: what stands behind the gap to fill; None: the prompt is to be continued.
      echo: give the prompt back before the text.
      best_of: texts that are made of each prompt; the likeliest are given.
      add_special_tokens: begin text prompts as documents begin.
    """

    common: Common
    prompts: list[str | list[int]]
    suffix: str | None
    echo: bool
    best_of: int
    add_special_tokens: bool


@dataclasses.dataclass(frozen=True, slots=True)
class ChatRequest:
    """A body of `/v1/chat/completions`.

    Attributes:
      messages: (role, content) of each turn.
    """

    common: Common
    messages: list[tuple[str, str]]


def parse_completion(body: dict[str, Any], max_choices: int) -> CompletionRequest:
    """Reads `/v1/completions`.

    Args:
      body: the request.
      max_choices: texts that one request may ask for.

    Raises:
      ApiError: with the field that is wrong.
    """
    fields = Fields(body)
    prompts = _prompts(fields, max_choices)
    logprobs = fields.integer("logprobs", 0, MAX_ALTERNATIVES, None)
    echo = fields.boolean("echo")
    suffix = fields.text("suffix")
    add_special_tokens = fields.boolean("add_special_tokens", True)
    best_of = fields.integer("best_of", 1, max_choices, None)
    max_tokens = fields.integer("max_tokens", 0, 2**31, 16)
    common = _common(fields, logprobs, max_choices, max_tokens)
    if max_tokens == 0 and not echo:
        raise bad_request("max_tokens: expected at least 1 without echo, got 0", "max_tokens")
    if best_of is not None and best_of < common.choices:
        raise bad_request(f"best_of={best_of} is below n={common.choices}", "best_of")
    if best_of is not None and best_of > common.choices and common.stream:
        raise bad_request("best_of above n: the best is not known while it streams", "best_of")
    if suffix is not None and echo:
        raise bad_request("echo: a prompt with a suffix cannot be given back", "echo")
    best_of = best_of or common.choices
    if len(prompts) * best_of > max_choices:
        raise bad_request(
            f"{len(prompts)} prompts with {best_of} texts each: expected at most {max_choices} in "
            "one request",
            "prompt",
        )
    return CompletionRequest(common, prompts, suffix, echo, best_of, add_special_tokens)


def parse_chat(body: dict[str, Any], max_choices: int) -> ChatRequest:
    """Reads `/v1/chat/completions`.

    Raises:
      ApiError: with the field that is wrong.
    """
    fields = Fields(body)
    messages = fields.items("messages")
    if not messages:
        raise bad_request("messages: expected an array with at least one message", "messages")
    turns = [_message(message, number) for number, message in enumerate(messages)]
    wanted = fields.boolean("logprobs")
    top = fields.integer("top_logprobs", 0, MAX_ALTERNATIVES, None)
    if top is not None and not wanted:
        raise bad_request("top_logprobs needs logprobs: true", "top_logprobs")
    newer = fields.integer("max_completion_tokens", 1, 2**31, None)
    older = fields.integer("max_tokens", 1, 2**31, None)
    limit = older if newer is None else newer
    return ChatRequest(_common(fields, (top or 0) if wanted else None, max_choices, limit), turns)


def _common(
    fields: Fields, logprobs: int | None, max_choices: int, max_tokens: int | None
) -> Common:
    model = fields.text("model")
    stream = fields.boolean("stream")
    include_usage = False
    if options := fields.part("stream_options"):
        if not stream:
            raise bad_request("stream_options needs stream: true", "stream_options")
        include_usage = options.boolean("include_usage")
        options.finish(ignored=("include_obfuscation", "continuous_usage_stats"))
    seed = fields.integer("seed", -(2**63), 2**63 - 1, None)
    # Nucleus of no probability at all: the likeliest token alone.
    top_p = max(fields.number("top_p", 0, 1, 1.0), 1e-9)
    top_k = fields.integer("top_k", -1, 2**31 - 1, 0)
    penalty = fields.number("repetition_penalty", 0, 10, 1.0)
    if penalty <= 0:
        raise fields.wrong("repetition_penalty", "more than 0", penalty)
    settings = SamplingSettings(
        temperature=fields.number("temperature", 0, 2, 1.0),
        top_p=top_p,
        top_k=max(top_k, 0),
        min_p=fields.number("min_p", 0, 1, 0.0),
        repetition_penalty=penalty,
        presence_penalty=fields.number("presence_penalty", -2, 2, 0.0),
        frequency_penalty=fields.number("frequency_penalty", -2, 2, 0.0),
        stop=_stop(fields),
        seed=secrets.randbits(63) if seed is None else seed,
        ignore_eos=fields.boolean("ignore_eos"),
        logprobs=logprobs,
    )
    choices = fields.integer("n", 1, max_choices, 1)
    for name, (neutral, advice) in _UNSUPPORTED.items():
        fields.unsupported(name, neutral, advice)
    fields.finish(_IGNORED)
    return Common(model, max_tokens, choices, settings, stream, include_usage)


def _stop(fields: Fields) -> tuple[str, ...]:
    value = fields.take("stop")
    if value is None:
        return ()
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise fields.wrong("stop", "a string or an array of strings", value)
    if len(stops) > MAX_STOPS:
        raise bad_request(f"stop: expected at most {MAX_STOPS}, got {len(stops)}", "stop")
    for stop in stops:
        if not 1 <= len(check_text(stop, "stop")) <= MAX_STOP_LENGTH:
            message = f"stop: expected 1 to {MAX_STOP_LENGTH} characters each, got {len(stop)}"
            raise bad_request(message, "stop")
    return tuple(stops)


def _prompts(fields: Fields, most: int) -> list[str | list[int]]:
    value = fields.take("prompt")
    if isinstance(value, str):
        return [check_text(value, "prompt")]
    if not isinstance(value, list) or not value:
        expected = "a string, or an array of strings, of token ids or of arrays of token ids"
        raise fields.wrong("prompt", f"{expected}, not empty", value)
    if _is_ids(value):
        return [value]
    if len(value) > most:
        raise bad_request(f"prompt: expected at most {most} prompts, got {len(value)}", "prompt")
    if all(isinstance(one, str) for one in value):
        return [check_text(one, "prompt") for one in value]
    if all(isinstance(one, list) and _is_ids(one) for one in value):
        return value
    kinds = ", ".join(sorted({json_type(one) for one in value}))
    raise bad_request(f"prompt: expected all strings or all token ids, got {kinds}", "prompt")


def _is_ids(value: list[Any]) -> bool:
    return all(type(one) is int for one in value)


def _message(value: Any, number: int) -> tuple[str, str]:
    where = f"messages[{number}]"
    if not isinstance(value, dict):
        raise bad_request(f"{where}: expected an object, got {json_type(value)}", where)
    fields = Fields(value, f"{where}.")
    role = fields.text("role")
    if role not in ("system", "developer", "user", "assistant"):
        raise fields.wrong("role", "system, developer, user or assistant", role)
    for name in ("tool_calls", "function_call", "tool_call_id", "audio"):
        fields.unsupported(name, ([],))
    content = fields.take("content")
    if content is None and role == "assistant":
        content = ""
    if isinstance(content, list):
        content = "".join(_part(part, f"{where}.content[{i}]") for i, part in enumerate(content))
    if not isinstance(content, str):
        raise fields.wrong("content", "a string or an array of text parts", content)
    # Names of speakers and the like: no template that we know has a place for them.
    return "system" if role == "developer" else role, check_text(content, f"{where}.content")


def _part(value: Any, where: str) -> str:
    if not isinstance(value, dict):
        raise bad_request(f"{where}: expected an object, got {json_type(value)}", where)
    fields = Fields(value, f"{where}.")
    kind = fields.text("type")
    if kind != "text":
        raise fields.wrong("type", "text: the model reads nothing else", kind)
    text = fields.text("text")
    if text is None:
        raise fields.wrong("text", "a string", text)
    return text
