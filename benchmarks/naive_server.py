"""A server that is not ours: transformers' `generate` behind `http.server`, one text at a time.

    PYTHON naive_server.py FOLDER

What one writes in an afternoon: a thread for each connection, a lock around the model, a streamed
completion as OpenAI's API has it. FOLDER is a Hugging Face folder; weights are bfloat16, threads
those of the machine. Imports nothing of the project, so that it runs where transformers is
installed. Prints `http://HOST:PORT serves` when it takes connections. `server_load` measures it.
"""

import json
import os
import select
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


class Writer:
    """Called by `generate` with the prompt, then with each token; writes an event for each."""

    def __init__(self, handler: "Handler") -> None:
        self._handler = handler
        self._ids: list[int] | None = None
        self._given = 0
        self.tokens = 0

    def put(self, value: torch.Tensor) -> None:
        if self._ids is None:
            self._ids = []  # The prompt.
            return
        self._ids += value.flatten().tolist()
        self.tokens += 1
        text = self._handler.tokenizer.decode(self._ids, skip_special_tokens=True)
        if text.endswith("\ufffd"):
            return
        self._handler.write({"choices": [{"text": text[self._given :]}], "usage": None})
        self._given = len(text)

    def end(self) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    lock = threading.Lock()
    model: Any
    tokenizer: Any

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            with self.lock:
                if not self._left():
                    self._answer(asked)
        except ConnectionError:
            pass  # The client left; `generate` has ended with it.

    def _left(self) -> bool:
        """Whether the client left while it waited for the lock."""
        readable = select.select([self.connection], [], [], 0)[0]
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def _answer(self, asked: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        torch.manual_seed(asked["seed"])
        inputs = self.tokenizer(asked["prompt"], return_tensors="pt")
        writer = Writer(self)
        with torch.inference_mode():
            self.model.generate(
                **inputs,
                max_new_tokens=asked["max_tokens"],
                do_sample=True,
                temperature=asked["temperature"],
                top_k=0,
                streamer=writer,
            )
        self.write({"choices": [], "usage": {"completion_tokens": writer.tokens}})
        self.wfile.write(b"data: [DONE]\n\n")

    def write(self, event: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


def main(folder: str) -> None:
    torch.set_num_threads(os.cpu_count() or 1)
    Handler.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    Handler.tokenizer = AutoTokenizer.from_pretrained(folder)
    server = Server(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port} serves {folder}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
