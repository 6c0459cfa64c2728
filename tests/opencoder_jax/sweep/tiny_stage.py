"""A stage of a fraction of a second: counts steps, goes on where it was, and keeps a journal.

    python -m tests.opencoder_jax.sweep.tiny_stage OUTPUT STEPS [BEHAVIOUR] [INPUT...]

BEHAVIOUR: `well`; `bad_input` (status 2); `fails` (1); `fails_once` (1 the first time); `dies`
(SIGKILL to itself); `waits` until a file `go` is in OUTPUT; `deaf` to SIGTERM and waiting.
The journal has a line a start (`start STEP`), `end`, and `overlap` where two ran at a time.
"""

import fcntl
import os
import signal
import sys
import time
from pathlib import Path


def main(output: str, steps: str, behaviour: str = "well", *inputs: str) -> int:
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "lock").open("w")
    journal = (folder / "journal").open("a")

    def note(text: str) -> None:
        journal.write(f"{text}\n")
        journal.flush()

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("overlap")
    steps_done = folder / "steps"
    first = int(steps_done.read_text()) if steps_done.exists() else 0
    note(f"start {first}")
    print(f"{folder.name} begins with step {first}", flush=True)
    for name in inputs:
        if not Path(name, "end").exists():
            print(f"{name} is not finished", file=sys.stderr)
            return 1
    if behaviour == "bad_input":
        print("error: nothing fits", file=sys.stderr)
        return 2
    if behaviour == "fails" or (behaviour == "fails_once" and not (folder / "failed").exists()):
        (folder / "failed").touch()
        print("it went wrong", file=sys.stderr)
        return 1
    if behaviour == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    for step in range(first, int(steps)):
        time.sleep(0.01)
        temporary = folder / "steps.tmp"
        temporary.write_text(str(step + 1))
        temporary.replace(steps_done)
        if told and behaviour != "deaf":
            note(f"saved {step + 1}")
            return 143
    while behaviour in ("waits", "deaf") and not (folder / "go").exists():
        if told and behaviour == "waits":
            note("saved")
            return 143
        time.sleep(0.01)
    (folder / "end").touch()
    note("end")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
