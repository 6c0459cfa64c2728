"""The real server in a process of its own, on a free port, with a tiny model."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[3]


@dataclasses.dataclass
class ServerProcess:
    """A running server; a context manager that ends it."""

    process: subprocess.Popen
    url: str
    first_line: str

    @classmethod
    def start(
        cls, model: Path, *flags: str, environment: Mapping[str, str] | None = None
    ) -> "ServerProcess":
        # A file, not a pipe, that nobody empties.
        output = tempfile.NamedTemporaryFile("w+")  # noqa: SIM115
        process = subprocess.Popen(
            [sys.executable, "-m", "opencoder_jax.serve", f"--model={model}", "--port=0", *flags],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        )
        deadline = time.monotonic() + 300
        while True:
            text = Path(output.name).read_text()
            if found := re.search(r"^(http://\S+) serves .*\n", text, re.MULTILINE):
                server = cls(process, found[1], found[0])
                server.output = output
                return server
            assert process.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.05)

    def __post_init__(self) -> None:
        self.output = None
        # One for all tests: making one reads the machine's certificates, which takes long.
        self.client = httpx.Client(base_url=self.url, timeout=120)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    @property
    def log(self) -> str:
        return Path(self.output.name).read_text()

    def complete(self, **body: object) -> dict:
        """The answer of an honest request."""
        answer = self.client.post("/v1/completions", json={"temperature": 0, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def metric(self, name: str) -> float:
        text = self.client.get("/metrics").text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def wait_until_idle(self, seconds: float = 10.0) -> None:
        """Returns when no text runs or waits."""
        deadline = time.monotonic() + seconds
        while self.metric("opencoder_texts_running") + self.metric("opencoder_texts_waiting"):
            assert time.monotonic() < deadline, "a slot is in use"
            time.sleep(0.02)

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
