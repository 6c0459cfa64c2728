"""Requests that no honest client sends, as data: what is sent, and what has to come back.

A body is sent as it stands where it is bytes, as JSON where it is an object. `Raw` are bytes on
a socket, for what no HTTP library would send.
"""

import dataclasses
import json
from typing import Any

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


@dataclasses.dataclass(frozen=True)
class Hostile:
    """A request over HTTP, the statuses that may answer it, and what the error names."""

    name: str
    body: Any = None
    status: int | tuple[int, ...] = 400
    param: str | None = None
    code: str | None = None
    path: str = COMPLETIONS
    method: str = "POST"
    headers: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def content(self) -> bytes | None:
        if self.body is None or isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body).encode()


@dataclasses.dataclass(frozen=True)
class Raw:
    """Bytes on a connection; the answer's status line has one of `statuses`, None: it is closed."""

    name: str
    parts: tuple[bytes, ...]
    statuses: tuple[int | None, ...]
    half_close: bool = False


def completion(name: str, param: str | None = None, **fields: Any) -> Hostile:
    """A completion with these fields, refused with 400 and the field's name."""
    return Hostile(name, {"prompt": "x", "max_tokens": 4, **fields}, 400, param)


def chat(name: str, param: str | None, messages: Any, **fields: Any) -> Hostile:
    return Hostile(name, {"messages": messages, **fields}, 400, param, path=CHAT)


_USER = {"role": "user", "content": "x"}
NO_JSON = [
    Hostile("nothing", b""),
    Hostile("half an object", b'{"prompt": "x"'),
    Hostile("an array", b"[]"),
    Hostile("null", b"null"),
    Hostile("a number", b"1"),
    Hostile("two objects", b'{"prompt": "x"} {"prompt": "y"}'),
    Hostile("not a number", b'{"prompt": "x", "temperature": NaN}'),
    Hostile("infinity", b'{"prompt": "x", "temperature": -Infinity}'),
    Hostile(
        "a number beyond floats", b'{"prompt": "x", "temperature": 1e999}', param="temperature"
    ),
    Hostile("a number of 5,000 digits", b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}"),
    Hostile(
        "a number of 1,000 digits", b'{"prompt": "x", "seed": ' + b"9" * 1000 + b"}", param="seed"
    ),
    Hostile("100,000 brackets", b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    Hostile("100,000 objects in each other", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    Hostile("no UTF-8", b'{"prompt": "\xff\xfe"}'),
    Hostile("an overlong null", b'{"prompt": "\xc0\x80"}'),
    Hostile("UTF-16", '{"prompt": "x"}'.encode("utf-16")),
    Hostile("a null byte between tokens of JSON", b'{"prompt"\x00: "x"}'),
]
PROMPTS = [
    Hostile("no prompt", {"max_tokens": 4}, param="prompt"),
    completion("a prompt of null", "prompt", prompt=None),
    completion("a prompt that is a number", "prompt", prompt=3),
    completion("a prompt that is an object", "prompt", prompt={"text": "x"}),
    completion("no prompts", "prompt", prompt=[]),
    completion("a prompt without ids", "prompt", prompt=[[]]),
    completion("texts and ids", "prompt", prompt=["x", [1]]),
    completion("ids in ids", "prompt", prompt=[[[1]]]),
    completion("booleans for ids", "prompt", prompt=[True, False]),
    completion("halves of ids", "prompt", prompt=[1.5, 2.5]),
    completion("an id beyond the vocabulary", "prompt", prompt=[640]),
    completion("a negative id", "prompt", prompt=[-1]),
    completion("an id beyond all integers", "prompt", prompt=[2**80]),
    completion("an id of 4,000 digits", "prompt", prompt=[5, 10**4000]),
    completion("more prompts than may wait", "prompt", prompt=["x"] * 1000),
    completion(
        "nothing, without what begins documents", "prompt", prompt="", add_special_tokens=False
    ),
    completion("half a surrogate pair", "prompt", prompt="a\ud800b"),
    completion("half a surrogate pair among prompts", "prompt", prompt=["a", "\udc00"]),
    Hostile(
        "a long prompt", {"prompt": "word " * 5000}, param="prompt", code="context_length_exceeded"
    ),
    Hostile("many ids", {"prompt": [5] * 5000}, param="prompt", code="context_length_exceeded"),
    Hostile(
        "a prompt as long as the context", {"prompt": [5] * 192}, code="context_length_exceeded"
    ),
    Hostile("10 MB", {"prompt": "x" * 10_000_000}, 413, code="request_too_large"),
    Hostile("900 KB without a space", {"prompt": "x" * 900_000}, code="context_length_exceeded"),
    completion("a suffix of ids", "suffix", suffix=[1]),
    completion("a suffix behind ids", "prompt", prompt=[5, 6], suffix="y"),
    completion("a suffix and echo", "echo", suffix="y", echo=True),
]
SETTINGS = [
    completion("max_tokens 0", "max_tokens", max_tokens=0),
    completion("max_tokens -1", "max_tokens", max_tokens=-1),
    Hostile(
        "a billion tokens",
        {"prompt": "x", "max_tokens": 10**9},
        param="max_tokens",
        code="context_length_exceeded",
    ),
    completion("max_tokens in half", "max_tokens", max_tokens=1.5),
    completion("max_tokens as text", "max_tokens", max_tokens="4"),
    completion("max_tokens true", "max_tokens", max_tokens=True),
    completion("max_tokens beyond 64 bits", "max_tokens", max_tokens=2**70),
    completion("no texts", "n", n=0),
    completion("a million texts", "n", n=1_000_000),
    completion("more texts than may wait", "prompt", prompt=["x"] * 5, n=5),
    completion("best of fewer", "best_of", n=3, best_of=2),
    completion("the best of a stream", "best_of", best_of=3, stream=True),
    completion("a hot text", "temperature", temperature=99),
    completion("a cold text", "temperature", temperature=-0.1),
    completion("temperature as text", "temperature", temperature="hot"),
    completion("temperature in a list", "temperature", temperature=[1]),
    completion("a nucleus above 1", "top_p", top_p=1.1),
    completion("top_k below -1", "top_k", top_k=-2),
    completion("top_k beyond 32 bits", "top_k", top_k=2**31),
    completion("min_p above 1", "min_p", min_p=2),
    completion("a repetition penalty of 0", "repetition_penalty", repetition_penalty=0),
    completion("a presence penalty of 3", "presence_penalty", presence_penalty=3),
    completion(
        "a frequency penalty of null in text", "frequency_penalty", frequency_penalty="null"
    ),
    completion("a seed beyond 64 bits", "seed", seed=2**64),
    completion("a seed of a half", "seed", seed=0.5),
    completion("21 log-probabilities", "logprobs", logprobs=21),
    completion("log-probabilities as in chats", "logprobs", logprobs=True),
    completion("1,000 stop texts", "stop", stop=["x"] * 1000),
    completion("an empty stop text", "stop", stop=[""]),
    completion("an endless stop text", "stop", stop="x" * 100_000),
    completion("half a surrogate pair to stop at", "stop", stop="\ud800"),
    completion("stop ids", "stop", stop=[5]),
    completion("a stop object", "stop", stop={"text": "x"}),
    completion("echo as text", "echo", echo="yes"),
    completion("stream as a number", "stream", stream=1),
    completion("options of no stream", "stream_options", stream_options={"include_usage": True}),
    completion("options as text", "stream_options", stream=True, stream_options="usage"),
    completion(
        "an unknown option", "stream_options.usage", stream=True, stream_options={"usage": 1}
    ),
    completion("an unknown field", "temprature", temprature=0),
    completion("a field with a long name", None, **{"x" * 10_000: 1}),
    completion("a field that is no text", None, **{"\ud800": 1}),
    completion("biased logits", "logit_bias", logit_bias={"5": 100}),
    completion("a model that is a number", "model", model=3),
    Hostile("another model", {"prompt": "x", "model": "gpt-4"}, 404, "model", "model_not_found"),
    Hostile("a model of no text", {"prompt": "x", "model": "\ud800"}, 400, "model"),
    Hostile(
        "a long name", {"prompt": "x", "model": "m" * 100_000}, 404, "model", "model_not_found"
    ),
    Hostile("a path for a model", {"prompt": "x", "model": "../../etc/passwd"}, 404, "model"),
]
CHATS = [
    Hostile("no messages", {}, param="messages", path=CHAT),
    chat("an empty conversation", "messages", []),
    chat("a conversation of text", "messages", "x"),
    chat("a message of text", "messages[0]", ["x"]),
    chat("a message without a role", "messages[0].role", [{"content": "x"}]),
    chat("an unknown role", "messages[0].role", [{"role": "root", "content": "x"}]),
    chat("a role that is a number", "messages[0].role", [{"role": 1, "content": "x"}]),
    chat("a message without a content", "messages[0].content", [{"role": "user"}]),
    chat("a content that is a number", "messages[0].content", [{"role": "user", "content": 1}]),
    chat(
        "an image",
        "messages[0].content[0].type",
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}],
    ),
    chat(
        "a part of text without text",
        "messages[0].content[0].text",
        [{"role": "user", "content": [{"type": "text"}]}],
    ),
    chat("parts in parts", "messages[0].content[0]", [{"role": "user", "content": [["x"]]}]),
    chat(
        "half a surrogate pair",
        "messages[1].content",
        [_USER, {"role": "user", "content": "\ud800"}],
    ),
    chat("a late system message", "messages", [_USER, {"role": "system", "content": "x"}]),
    chat("a tool's answer", "messages[0].role", [{"role": "tool", "content": "x"}]),
    chat("a long conversation", "messages", [_USER] * 2000),
    chat("a long message", None, [{"role": "user", "content": "word " * 20_000}]),
    chat("tools", "tools", [_USER], tools=[{"type": "function", "function": {"name": "f"}}]),
    chat("JSON by a schema", "response_format", [_USER], response_format={"type": "json_object"}),
    chat("likeliest tokens without log-probabilities", "top_logprobs", [_USER], top_logprobs=3),
    chat("99 likeliest tokens", "top_logprobs", [_USER], logprobs=True, top_logprobs=99),
    chat("an answer of no tokens", "max_tokens", [_USER], max_tokens=0),
    chat("a billion tokens", "max_tokens", [_USER], max_completion_tokens=10**9),
    chat("a prompt", "prompt", [_USER], prompt="x"),
]
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PROTOCOL = [
    Hostile("a form", b"prompt=x", 415, headers=_FORM),
    Hostile("text that is JSON", b'{"prompt": "x"}', 415, headers={"Content-Type": "text/plain"}),
    Hostile("packed JSON", b"\x1f\x8b\x08\x00", 415, headers={"Content-Encoding": "gzip"}),
    Hostile("a question by GET", None, 405, method="GET"),
    Hostile("a removal", None, 405, method="DELETE"),
    Hostile("a question by PUT", {"prompt": "x"}, 405, method="PUT"),
    Hostile("a preflight that nobody allows", None, 405, method="OPTIONS"),
    Hostile("an unknown method", None, (400, 405), method="BREW"),
    Hostile("a method of 60,000 letters", None, 405, method="A" * 60_000),
    Hostile("an unknown path", {"prompt": "x"}, 404, code="unknown_url", path="/v1/embeddings"),
    *(
        Hostile(f"{path}, which another host might have", None, 404, path=path, method="GET")
        for path in ("/v1/completions/", "/health/", "/metrics/")
    ),
    Hostile("the parent of all paths", None, 404, path="/../../etc/passwd", method="GET"),
    Hostile("an encoded null", None, 404, path="/v1/%00", method="GET"),
    Hostile(
        "an unknown model", None, 404, code="model_not_found", path="/v1/models/x%ff", method="GET"
    ),
    Hostile("metrics by POST", {"a": 1}, 405, path="/metrics"),
    Hostile("a page by POST", {"a": 1}, 405, path="/"),
]
_HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
_BODY = b'{"prompt": "x", "max_tokens": 2}'
# What is behind the chunks is a request by their end, and part of a body by the length.
_HIDDEN = b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
_SIZED = _HEAD + b"Content-Length: %d\r\n" % len(_BODY)
RAW = [
    Raw("no HTTP at all", (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10,), (400, None)),
    Raw("a line of nothing", (b"hello\r\n\r\n",), (400,)),
    Raw("no host", (b"GET /health HTTP/1.1\r\n\r\n",), (400,)),
    Raw(
        "a header of 1 MB",
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n",),
        (400, 431, None),
    ),
    Raw(
        "100,000 headers",
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",),
        (400, 431, None),
    ),
    Raw("a null in a header", (b"GET /health HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",), (400,)),
    Raw("a space before the colon", (b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n",), (400,)),
    Raw("two lengths", (_SIZED + b"Content-Length: 5\r\n\r\n" + _BODY,), (400,)),
    Raw("a negative length", (_HEAD + b"Content-Length: -5\r\n\r\n" + _BODY,), (400,)),
    Raw("a length that is no number", (_HEAD + b"Content-Length: ten\r\n\r\n" + _BODY,), (400,)),
    Raw(
        "a length of 30 digits",
        (_HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n" + _BODY,),
        (400, 413),
    ),
    Raw("a length and chunks", (_SIZED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",), (400,)),
    *(
        Raw(f"a length and chunks, {name}", (head + b"Content-Length: 5\r\n" + _HIDDEN,), (400,))
        for name, head in {
            "to another path": b"GET /health HTTP/1.1\r\nHost: x\r\n",
            "to no path": b"POST /nowhere HTTP/1.1\r\nHost: x\r\n",
            "as text": _HEAD.replace(b"application/json", b"text/plain"),
        }.items()
    ),
    Raw(
        "an unknown encoding",
        (_HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",),
        (400, 501),
    ),
    Raw(
        "chunks of no size",
        (_HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",),
        (400, None),
    ),
    Raw(
        "a chunk larger than allowed",
        (_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"200000\r\n" + b"a" * (2 << 20)),
        (413,),
    ),
    Raw("less than announced", (_SIZED + b"\r\n" + _BODY[:5],), (408,)),
    Raw("a body in drops", (_SIZED + b"\r\n", *(bytes([b]) for b in _BODY[:12])), (408,)),
    Raw(
        "less than announced, then a half-closed socket",
        (_SIZED + b"\r\n" + _BODY[:5],),
        (None,),
        True,
    ),
    Raw("a head without an end", (b"GET /health HTTP/1.1\r\nHost: x\r\n",), (None,), True),
    Raw("a head that goes no further", (b"GET /health HTTP/1.1\r\nHost: x\r\n",), (None,)),
    Raw(
        "a second head that goes no further",
        (b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /"),
        (404,),
    ),
    Raw("a silent connection", (b"",), (None,)),
    Raw("a socket that is closed at once", (b"",), (None,), True),
]
OVER_HTTP = [*NO_JSON, *PROMPTS, *SETTINGS, *CHATS, *PROTOCOL]
