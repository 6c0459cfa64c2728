"""Batches that other processes make ahead, in the order of their steps.

Python holds one lock a process, so a trainer that decodes its own records waits for them with
the devices idle where they are many. Here process i of n makes the batches of steps i, i + n,
... of a plan; a batch is a function of its step, so their number changes nothing but the time.
They are fresh interpreters (`batch_process`) that know nothing of JAX's devices, and talk
through pipes: a batch is some megabytes a second a host, and a pipe leaves nothing behind
when its ends are killed. Next: `batches.BatchSource.iterate`.
"""

import collections
import concurrent.futures
import contextlib
import itertools
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Generator, Iterable
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from opencoder_jax.errors import InputError
from opencoder_jax.formats.packed import ARRAYS

if TYPE_CHECKING:
    from opencoder_jax.data.batches import BatchSource

# What comes before an answer: its kind and length, and of a batch its rows and tokens a row.
HEADER = struct.Struct("<BQQQ")
READY, BATCH, BAD_INPUT, FAILURE = range(4)
# A request: the length of the plan and the plan, then one step after another.
REQUEST = struct.Struct("<Q")
_MODULE = "opencoder_jax.data.batch_process"
# Batches that a process has been asked for and that nobody has taken yet.
_AHEAD = 2


class PrefetchError(InputError):
    """A process that makes batches ended: the machine's doing, so the same run can go on."""


def arrays_from_processes(
    source: "BatchSource", steps: Iterable[int], num_processes: int
) -> Generator[np.ndarray]:
    """`source.arrays(k)` for each of `steps`, made by `num_processes` processes.

    Closing the iterator ends them.

    Raises:
      InputError: as `source.arrays`, at the batch that is concerned.
      PrefetchError: a process ended; the message names the batch.
      RuntimeError: a process failed as it should not; its traceback is the message.
    """
    order = pickle.dumps((source.portable_plan(), source.rows_of_batch_sizes()))
    with contextlib.ExitStack() as stack:
        # All start at once; importing takes them seconds.
        processes = [stack.enter_context(_Process(i, order)) for i in range(num_processes)]
        for process in processes:
            process.check_opened(source.fingerprint)
        turns = zip(itertools.cycle(processes), steps)
        pending = collections.deque(
            process.ask(step) for process, step in itertools.islice(turns, _AHEAD * num_processes)
        )
        while pending:
            yield pending.popleft().result()
            pending.extend(process.ask(step) for process, step in itertools.islice(turns, 1))


class _Process:
    """One process, and a thread that reads its answers."""

    def __init__(self, number: int, order: bytes) -> None:
        self._number = number
        self._order = order

    def __enter__(self) -> "_Process":
        self._process = subprocess.Popen(
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._requests = cast(IO[bytes], self._process.stdin)
        self._answers = cast(IO[bytes], self._process.stdout)
        self._reader = concurrent.futures.ThreadPoolExecutor(1, f"batches-{self._number}")
        self._send(REQUEST.pack(len(self._order)) + self._order)
        return self

    def __exit__(self, *exception: object) -> None:
        # It holds nothing that would have to be put away.
        self._process.kill()
        self._process.wait()
        self._reader.shutdown(cancel_futures=True)
        self._answers.close()
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()

    def check_opened(self, fingerprint: dict[str, Any]) -> None:
        """Waits until it has opened the data, which has to be the trainer's."""
        kind, content = self._answer("opening the data")
        if kind != READY or pickle.loads(content) != fingerprint:
            raise InputError("the packed sets changed while the trainer opened them; start again")

    def ask(self, step: int) -> "concurrent.futures.Future[np.ndarray]":
        self._send(REQUEST.pack(step))
        return self._reader.submit(self._batch, step)

    def _batch(self, step: int) -> np.ndarray:
        _, content = self._answer(f"batch {step}")
        return content

    def _answer(self, what: str) -> tuple[int, Any]:
        header = self._answers.read(HEADER.size)
        if len(header) < HEADER.size:
            raise self._ended(what)
        kind, size, rows, length = HEADER.unpack(header)
        if kind == BATCH:
            arrays = np.empty((len(ARRAYS), rows, length), np.int32)
            # A buffered reader fills the whole of it, or the process has ended.
            if self._answers.readinto(arrays.data.cast("B")) < size:  # type: ignore[attr-defined]
                raise self._ended(what)
            return kind, arrays
        content = self._answers.read(size)
        if len(content) < size:
            raise self._ended(what)
        if kind == BAD_INPUT:
            raise InputError(content.decode())
        if kind == FAILURE:
            raise RuntimeError(f"process {self._number} failed at {what}:\n{content.decode()}")
        return kind, content

    def _send(self, message: bytes) -> None:
        # That it has ended shows when its answer is read.
        with contextlib.suppress(BrokenPipeError):
            self._requests.write(message)
            self._requests.flush()

    def _ended(self, what: str) -> PrefetchError:
        status = self._process.wait()
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return PrefetchError(
            f"process {self._number} of those that prepare batches ended with {how} at {what}; "
            "the run goes on from its last checkpoint when it is started again (the kernel kills "
            "with signal 9 where memory is short: lower num_prefetch_processes)"
        )
