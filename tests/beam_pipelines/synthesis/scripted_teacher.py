"""A teacher that answers what a test has written for it, over real HTTP."""

import http.server
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from beam_pipelines.teacher.settings import Teacher

# At the end of an answer: the server says that it was cut off.
CUT = "<cut>"


class ScriptedTeacher:
    """A server of OpenAI's API; a context manager that ends it.

    Attributes:
      asked: the last message of every call, in order of arrival.
    """

    def __init__(self, answer: Callable[[str], str]) -> None:
        """`answer` makes the answer of the last message."""
        self.asked: list[str] = []
        handler = type("Bound", (_Handler,), {"script": staticmethod(answer), "asked": self.asked})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def settings(self, cache_dir: Path, model: str = "scripted") -> Teacher:
        url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        return Teacher(url=url, model=model, cache_dir=str(cache_dir))


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Callable[[str], str]
    asked: list[str]

    def do_GET(self) -> None:
        self._send({"data": [{"id": "scripted"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        last = body["messages"][-1]["content"]
        self.asked.append(last)
        text = self.script(last)
        reason = "length" if text.endswith(CUT) else "stop"
        message = {"role": "assistant", "content": text.removesuffix(CUT)}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        self._send({"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 20}})

    def _send(self, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""
