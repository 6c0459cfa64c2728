"""A training command in a process of its own, watched through the files that it writes.

What it is doing is read from its model directory, as an operator would: which files of this
start are there already, and which steps have a line of metrics. Nothing is added to the command
for that, so what is killed here is what runs anywhere.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from opencoder_jax.formats import manifest
from opencoder_jax.training import checkpoints
from opencoder_jax.training.metrics import read_metrics

_TEMPORARY = "checkpoint_*.orbax-checkpoint-tmp*"
_DELETED = ".deleted_*"
# A file of events begins with its version and the start of a session; figures come later.
_EVENTS_BEFORE_TRAINING = 200


class TrainingProcess:
    """One start of `python -m opencoder_jax.train`; a context manager that leaves none behind.

    Attributes:
      seconds: since it was started.
      output: what it has said, on stdout and stderr together.
    """

    def __init__(self, model_dir: Path, flags: Sequence[str]) -> None:
        self._model_dir = model_dir
        model_dir.mkdir(parents=True, exist_ok=True)
        self._log = model_dir.with_name(f"{model_dir.name}.log")
        command = [sys.executable, "-m", "opencoder_jax.train", *flags]
        with self._log.open("wb") as log:
            self._started, self._started_at = time.monotonic(), time.time()
            self.process = subprocess.Popen(
                [*command, f"--gin.MODEL_DIR={model_dir}"],
                start_new_session=True,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A shell's background jobs ignore Ctrl-C, and so would their children.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        if self.running():
            os.kill(self.process.pid, number)

    def catches(self, number: int) -> bool:
        """Whether it has a handler for a signal, as it has for SIGTERM while it trains."""
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
                if line.startswith("SigCgt:"):
                    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
        return False

    def kill(self) -> None:
        """SIGKILL to it and its children, and waits until it is gone."""
        if self.running():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def finish(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended by itself."""
        return self.process.wait(timeout)

    def stage(self) -> str:
        """`start`, `restore`, `compile`, `train`, `save`, `delete` or `finish`."""
        if self._since_start(_DELETED):
            return "delete"
        if self._since_start(_TEMPORARY):
            return "save"
        if not self._since_start("config.gin"):
            return "start"
        events = self._since_start("train/events.*")
        if not events:
            return "restore"
        if events[0].stat().st_size < _EVENTS_BEFORE_TRAINING:
            return "compile"
        return "finish" if self._last_step() in checkpoints.steps(self._model_dir) else "train"

    def step(self) -> int:
        """The latest step with a line of metrics; 0 before the first."""
        lines = read_metrics(self._model_dir / "train")
        return int(lines[-1]["step"]) if lines else 0

    def _last_step(self) -> int:
        config = json.loads((self._model_dir / manifest.RUN_NAME).read_text())["config"]
        return config["first_step"] + config["train_steps"]

    def _since_start(self, pattern: str) -> list[Path]:
        """What matches and was made, renamed or written to since this process was started."""
        found = []
        for path in self._model_dir.glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ctime > self._started_at:
                    found.append(path)
        return found
