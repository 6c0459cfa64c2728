"""An OpenAI-compatible server on a port of this machine, scripted: busy, failing, refusing.

    python -m tests.opencoder_jax.evaluation.answerers.scripted_server

prints its port. It answers `N+N=` with the sum, `odd X` with X itself; a prompt with a word of
`_TROUBLE` in it meets that trouble first. `serve(answer)` is the same in a thread, with other
answers.
"""

import collections
import http.server
import json
import threading
from collections.abc import Callable
from typing import Any, ClassVar

_TROUBLE = {"busy": 429, "failing": 500, "gone": 0}
Answer = Callable[[dict[str, Any]], list[tuple[str, str]]]


def sums(body: dict[str, Any]) -> list[tuple[str, str]]:
    """(text, finish reason) of each choice: the sum, and more than was asked for."""
    text = body.get("prompt") or body["messages"][-1]["content"]
    number = text.split()[-1].rstrip("=").split("+")[0]
    answer = f"{2 * int(number)}{body.get('suffix', '')}\nmore"
    # Never more than two at one time.
    return [(answer, "length")] * min(2, body.get("n", 1))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answer: Answer = staticmethod(sums)
    met: ClassVar[collections.Counter[str]] = collections.Counter()
    bodies: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        if self.headers.get("Authorization") == "Bearer wrong":
            self._send(401, {"error": {"message": "bad key"}})
        elif self.path == "/v1/seen":
            self._send(200, {"bodies": self.bodies})
        else:
            self._send(200, {"data": [{"id": "adder"}, {"id": "other"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.bodies.append(body)
        text = json.dumps(body.get("prompt") or body.get("messages"))
        for trouble, status in _TROUBLE.items():
            if trouble in text and not self.met[text]:
                self.met[text] += 1
                if not status:
                    self.connection.close()
                    return
                self._send(status, {"error": {"message": trouble}}, {"Retry-After": "0"})
                return
        if "odd" in text:
            self._send_text(json.loads(text)[len("odd ") :])
        elif "huge" in text:
            self._send(400, {"error": {"message": "This model's maximum context length is 8"}})
        elif "tight" in text and body["max_tokens"] > 4:
            self._send(400, {"error": {"message": "the context window of 10 tokens is too small"}})
        elif "forbidden" in text:
            self._send(400, {"error": {"message": "no such thing"}})
        elif len(body.get("stop", ())) > 4:
            self._send(400, {"error": {"message": "at most 4 stop sequences"}})
        else:
            chat = self.path.endswith("/chat/completions")
            choices = [
                {
                    "index": index,
                    "finish_reason": reason,
                    **({"message": {"content": text}} if chat else {"text": text}),
                }
                for index, (text, reason) in enumerate(type(self).answer(body))
            ]
            self._send(
                200,
                {"choices": choices[::-1], "usage": {"prompt_tokens": 6, "completion_tokens": 3}},
            )

    def log_message(self, *arguments: object) -> None:
        pass

    def _send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send_text(json.dumps(value), status, headers)

    def _send_text(
        self, text: str, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        content = text.encode("latin-1")
        self.send_response(status)
        for name, header in (headers or {}).items():
            self.send_header(name, header)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def serve(answer: Answer) -> http.server.ThreadingHTTPServer:
    """A server in a thread of this process; `shutdown` ends it."""
    handler = type("Answering", (Handler,), {"answer": staticmethod(answer)})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
