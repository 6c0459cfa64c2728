"""A server of OpenAI's API on a port of this machine that answers as it is told to.

The last message decides: `echo X` is answered with X, a word of `_ODD` with that kind of trouble,
`once WORD ...` with the trouble the first time only. It counts what it completed and how many
requests were in flight. Everything is real HTTP; `OddServer` runs it in threads of this process.
"""

import collections
import http.server
import json
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

Send = Callable[["Handler", dict[str, Any], str], None]


class OddServer:
    """A running server; a context manager that ends it.

    Attributes:
      completed: prompts that were answered whole with status 200, in order.
      asked: prompts that arrived, in order.
      headers: of the last request.
      most_in_flight: requests at one time.
      seconds: that every answer takes.
      times: of arrival, in order.
      status: of all answers, where it is not 200.
      retry_after: header of those.
      recover_after: so many answers with `status`, then 200.
      refuse_above: 429 where more requests are in flight.
    """

    def __init__(self) -> None:
        self.completed: list[str] = []
        self.asked: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.in_flight = 0
        self.most_in_flight = 0
        self.seconds = 0.0
        self.status = 200
        self.retry_after: str | None = None
        self.recover_after: int | None = None
        self.refuse_above: int | None = None
        self.times: list[float] = []
        self.met: collections.Counter[str] = collections.Counter()
        self.lock = threading.Lock()
        self.ended = threading.Event()
        handler = type("Bound", (Handler,), {"odd": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> "OddServer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    odd: OddServer

    def handle_one_request(self) -> None:
        super().handle_one_request()
        # A server that has ended answers nobody, over old connections either.
        self.close_connection |= self.odd.ended.is_set()

    def do_GET(self) -> None:
        self.send(200, {"data": [{"id": "teacher"}]})

    def do_POST(self) -> None:
        odd = self.odd
        if odd.ended.is_set():
            raise ConnectionAbortedError
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.prompt = prompt = body["messages"][-1]["content"]
        with odd.lock:
            odd.headers = dict(self.headers)
            odd.bodies.append(body)
            odd.asked.append(prompt)
            odd.met[prompt] += 1
            first = odd.met[prompt] == 1
            odd.times.append(time.monotonic())
            odd.in_flight += 1
            busy = odd.refuse_above is not None and odd.in_flight > odd.refuse_above
            status = odd.status
            if odd.recover_after is not None and len(odd.asked) > odd.recover_after:
                status = 200
            odd.most_in_flight = max(odd.most_in_flight, odd.in_flight)
        try:
            if busy:
                self.send(429, {"error": {"message": "too many at one time"}})
                return
            if odd.seconds:
                time.sleep(odd.seconds)
            if status != 200:
                headers = {} if odd.retry_after is None else {"Retry-After": odd.retry_after}
                self.send(status, {"error": {"message": "as told"}}, headers)
                return
            words = prompt.split()
            once = words[0] == "once"
            kind = words[1] if once else words[0]
            if kind in ODD and (first or not once):
                ODD[kind](self, prompt)
            else:
                self.answer(prompt.partition(" ")[2] or prompt)
        finally:
            with odd.lock:
                odd.in_flight -= 1

    def answer(self, text: Any, reason: Any = "stop", **message: Any) -> None:
        """A whole answer, and its count."""
        self.whole(answer_of(text, reason, **message))

    def whole(self, value: Any) -> None:
        self.send(200, value)
        with self.odd.lock:
            self.odd.completed.append(self.prompt)

    def send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self.send_bytes(status, json.dumps(value).encode(), headers)

    def send_bytes(
        self, status: int, content: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def begin(self, length: int) -> None:
        """The head of an answer that is to have so many bytes."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def answer_of(text: Any, reason: Any = "stop", **message: Any) -> dict[str, Any]:
    """An answer's JSON."""
    return {
        "choices": [{"index": 0, "finish_reason": reason, "message": {"content": text, **message}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    }


def _drip(handler: Handler, prompt: str) -> None:
    """A byte now and then, for ever."""
    handler.begin(1 << 30)
    while not handler.odd.ended.wait(0.02):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def _drip_header(handler: Handler, prompt: str) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Odd: ")
    while not handler.odd.ended.wait(0.02):
        handler.wfile.write(b"x")
        handler.wfile.flush()


def _endless(handler: Handler, prompt: str) -> None:
    handler.begin(1 << 40)
    while not handler.odd.ended.is_set():
        handler.wfile.write(b'{"choices": [' + b" " * 65536)


def _silent(handler: Handler, prompt: str) -> None:
    handler.odd.ended.wait(60)


def _reset(handler: Handler, prompt: str) -> None:
    """Half an answer, then a reset of the connection."""
    content = json.dumps(answer_of("x" * 1000)).encode()
    handler.begin(len(content))
    handler.wfile.write(content[:500])
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def _half(handler: Handler, prompt: str) -> None:
    """Half JSON that says it is whole."""
    handler.send_bytes(200, json.dumps(answer_of("half")).encode()[:60])


def _html(handler: Handler, prompt: str) -> None:
    handler.send_bytes(200, b"<html><body>502 Bad Gateway</body></html>")


def _status(status: int, message: str, headers: dict[str, str] | None = None, **error: str) -> Any:
    def send(handler: Handler, prompt: str) -> None:
        handler.send(status, {"error": {"message": message, **error}}, headers)

    return send


def _value(value: Any) -> Any:
    return lambda handler, prompt: handler.whole(value)


def _two(handler: Handler, prompt: str) -> None:
    answer = answer_of("second")
    answer["choices"] = [
        {**answer["choices"][0], "index": 1},
        {"index": 0, "finish_reason": "stop", "message": {"content": "first"}},
    ]
    handler.whole(answer)


ODD: dict[str, Callable[[Handler, str], None]] = {
    "busy": _status(429, "busy", {"Retry-After": "0"}),
    "quota": _status(429, "You exceeded your current quota", code="insufficient_quota"),
    "overloaded": _status(503, "overloaded"),
    "failing": _status(500, "failing"),
    "conflict": _status(409, "conflict"),
    "too-long": _status(400, "maximum context length is 8 tokens"),
    "forbidden": _status(403, "forbidden"),
    "unauthorized": _status(401, "bad key"),
    "unknown-model": _status(404, "no such model", code="model_not_found"),
    "redirect": _status(302, "moved", {"Location": "http://127.0.0.1:9/login"}),
    "drip": _drip,
    "drip-header": _drip_header,
    "endless": _endless,
    "silent": _silent,
    "reset": _reset,
    "half": _half,
    "html": _html,
    "two": _two,
    "no-choices": _value({"choices": []}),
    "error-200": _value({"error": {"message": "upstream is gone"}}),
    "number": _value(answer_of(7)),
    "list": _value([1]),
    "odd-choices": _value({"choices": 5}),
    "odd-reason": _value(answer_of("text", 7)),
    "nested": lambda handler, prompt: handler.send_bytes(200, b"[" * 100_000),
    "empty": lambda handler, prompt: handler.answer(" \n "),
    "null": lambda handler, prompt: handler.answer(None),
    "thoughts": lambda handler, prompt: handler.answer(None, reasoning_content="Let me think."),
    "refusal": lambda handler, prompt: handler.answer(None, refusal="I can't help with that."),
    "filtered": lambda handler, prompt: handler.answer("half of", "content_filter"),
    "long": lambda handler, prompt: handler.answer("It goes on", "length"),
    "surrogate": lambda handler, prompt: handler.answer("a \ud83d b"),
    "pair": lambda handler, prompt: handler.answer("\U0001f600"),
    "nul": lambda handler, prompt: handler.answer("a \0 b"),
    "no-usage": lambda handler, prompt: handler.whole({"choices": answer_of("six").get("choices")}),
    "odd-usage": lambda handler, prompt: handler.whole(
        {**answer_of("six"), "usage": {"prompt_tokens": True, "completion_tokens": -3}}
    ),
    "count": lambda handler, prompt: handler.answer(str(len(handler.odd.asked))),
    "parts": lambda handler, prompt: handler.answer([{"type": "text", "text": "in parts"}]),
}
