"""A process that makes batches for a trainer: `python -m opencoder_jax.data.batch_process`.

Started by `prefetch` and by nobody else. It reads a plan from standard input, then the number
of one step after another, and answers each on standard output with a header and the numbers
as they lie in memory. The end of its input ends it, so it never outlives its trainer, however
that dies, and there is no shared memory and no file that it could leave behind. Signals to
the whole process group are the trainer's to act on: after SIGTERM that one still makes a step
and a checkpoint.
"""

import os
import pickle
import signal
import struct
import sys
import traceback
from typing import BinaryIO

from opencoder_jax.data.batches import BatchSource
from opencoder_jax.data.prefetch import BAD_INPUT, BATCH, FAILURE, HEADER, READY, REQUEST
from opencoder_jax.errors import InputError


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Standard output is taken; whatever a library prints goes to the other one.
    try:
        (length,) = REQUEST.unpack(requests.read(REQUEST.size))
        plan, rows = pickle.loads(requests.read(length))
        source = _opened(answers, plan, rows)
        while source and (request := requests.read(REQUEST.size)):
            _answer(answers, source, *REQUEST.unpack(request))
    except (BrokenPipeError, struct.error):
        pass  # The trainer is gone.
    # Nothing is left to flush, and nobody to flush it to.
    os._exit(0)


def _opened(answers: BinaryIO, plan: object, rows: dict[int, list[int]]) -> BatchSource | None:
    try:
        source = BatchSource(plan, rows=rows.__getitem__)  # type: ignore[arg-type]
        _send(answers, READY, pickle.dumps(source.fingerprint))
    except BaseException as error:
        _send_error(answers, error)
        return None
    return source


def _answer(answers: BinaryIO, source: BatchSource, step: int) -> None:
    try:
        arrays = source.arrays(step)
    except BaseException as error:
        _send_error(answers, error)
        return
    _send(answers, BATCH, arrays.data.cast("B"), *arrays.shape[1:])


def _send_error(answers: BinaryIO, error: BaseException) -> None:
    if isinstance(error, InputError):
        _send(answers, BAD_INPUT, str(error).encode())
    else:
        _send(answers, FAILURE, traceback.format_exc().encode())


def _send(
    answers: BinaryIO, kind: int, content: bytes | memoryview, rows: int = 0, length: int = 0
) -> None:
    answers.write(HEADER.pack(kind, len(content), rows, length))
    answers.write(content)
    answers.flush()


if __name__ == "__main__":
    main()
