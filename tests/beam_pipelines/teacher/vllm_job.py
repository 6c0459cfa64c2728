"""A job whose workers run their teacher themselves; ends its server once in the middle of it.

python -m tests.beam_pipelines.teacher.vllm_job MODEL FOLDER [KILL]
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from beam_pipelines.child_processes import children
from beam_pipelines.teacher.settings import Teacher
from tests.beam_pipelines.teacher.asking import ask

PROMPTS = [f"Write a Python function that adds {i} to a number." for i in range(12)]


def servers(process: int) -> list[int]:
    """The servers that a process started."""
    return [
        child
        for child in children(process)
        if b"opencoder_jax.serve" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def end_server(calls: Path, done: threading.Event) -> None:
    """Kills the server as soon as it has answered."""
    while not done.wait(0.02):
        running = servers(os.getpid())
        if running and any(calls.glob("*/*.json")):
            os.kill(running[0], signal.SIGKILL)
            return


def main(model: str, folder: str, kill: str = "") -> None:
    cache = Path(folder) / "cache"
    teacher = Teacher(
        model=model,
        cache_dir=str(cache),
        parallel=4,
        first_wait_seconds=0.1,
        vllm_flags={"max-num-seqs": "4"},
    )
    done = threading.Event()
    if kill:
        threading.Thread(target=end_server, args=(cache / "calls", done)).start()
    found = ask(teacher, PROMPTS, allow_truncated=True)
    done.set()
    told = {"texts": found.texts, "total": found.usage["total"], "servers": servers(os.getpid())}
    (Path(folder) / "found.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
