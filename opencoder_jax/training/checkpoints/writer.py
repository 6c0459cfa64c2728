"""Saves checkpoints while training goes on, and deletes what retention lets go.

`save` returns when the arrays have been copied from the devices, so that the next step may
take their memory; Orbax writes the files in the background under a temporary name and
renames the folder when it is complete. What goes wrong there is kept until `check` is asked,
once a step. A checkpoint is deleted by renaming it first: a kill leaves it whole or gone.
Leftovers of a killed process are removed when the next writer opens the directory.
"""

import concurrent.futures
import contextlib
import dataclasses
import errno
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import jax
import orbax.checkpoint as ocp

from opencoder_jax.errors import StorageError
from opencoder_jax.training.checkpoints.checksums import checksum
from opencoder_jax.training.checkpoints.metadata import (
    CheckpointMetadata,
    seal,
    step_folder,
    steps,
    superseded,
)
from opencoder_jax.training.checkpoints.orbax_messages import (
    errors,
    hidden,
    ignore_abandoned_operations,
)

_DELETED_PREFIX = ".deleted_"
_UNFINISHED = "checkpoint_*.orbax-checkpoint-tmp*"
# What an operating system says of storage that fails; to be found in long errors of others.
_SYSTEM_SAYS = [
    os.strerror(code)
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
]


class CheckpointWriter:
    """Saves checkpoints into one model directory, in the background.

    Use as a context manager: leaving it waits for what is being written. One that has raised
    `StorageError` saves no more.
    """

    def __init__(
        self, model_dir: str | Path, keep: int | None = None, keep_period: int | None = None
    ):
        """Removes what a killed process left half done.

        Args:
          model_dir: where the checkpoints go.
          keep: how many of the latest checkpoints to keep; None keeps all.
          keep_period: of older ones, those whose step is a multiple of it stay for good.
        """
        self._model_dir = Path(model_dir).absolute()
        self._keep = keep
        self._keep_period = keep_period
        self._deleting = concurrent.futures.ThreadPoolExecutor(1, "delete_checkpoints")
        self._saving: int | None = None
        self._quiet = contextlib.ExitStack()
        # What goes wrong in its threads, `StorageError` says in one line.
        self._quiet.enter_context(hidden(errors))
        ignore_abandoned_operations()
        options = ocp.CheckpointManagerOptions(step_prefix="checkpoint", save_root_metadata=False)
        self._manager = ocp.CheckpointManager(self._model_dir, options=options)
        # Orbax could do that, in a thread which outlives an interrupt and then complains.
        self._removing = [
            self._deleting.submit(shutil.rmtree, path, ignore_errors=True)
            for pattern in (_UNFINISHED, f"{_DELETED_PREFIX}*")
            for path in self._model_dir.glob(pattern)
            if jax.process_index() == 0
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self.wait()
        finally:
            with contextlib.suppress(Exception):  # `wait` has raised it.
                self._manager.close()
            self._deleting.shutdown()
            self._quiet.close()

    def save(self, params: Any, opt_state: Any, metadata: CheckpointMetadata) -> None:
        """Copies the arrays from the devices and returns; the files follow.

        Where the checkpoint before is still being written, it is waited for.

        Args:
          params: nested dict of arrays.
          opt_state: of the optimizer; None for parameters that came without one.
          metadata: its `step` names the checkpoint.

        Raises:
          StorageError: it cannot be written, or the one before could not.
        """
        self.wait()
        # One of the same name may be among them.
        concurrent.futures.wait(self._removing)
        items: dict[str, Any] = {"params": params}
        if opt_state is not None:
            items["opt_state"] = opt_state
        content = {
            **dataclasses.asdict(metadata),
            "checksums": {name: checksum(tree) for name, tree in items.items()},
        }
        arguments = ocp.args.Composite(
            metadata=ocp.args.JsonSave(seal(content)),
            **{name: ocp.args.StandardSave(tree) for name, tree in items.items()},
        )
        self._saving = metadata.step
        with _uninterrupted():
            try:
                # Forced: Orbax skips a step that is not past all folders it sees, without a word.
                self._manager.save(metadata.step, args=arguments, force=True)
            except Exception as error:
                raise self._failure(error) from error

    def check(self) -> None:
        """Looks, without waiting, at what is being written; to be called every step.

        Raises:
          StorageError: it could not be written.
        """
        if self._saving is not None and not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Waits for what is being written, then deletes what it supersedes.

        Raises:
          StorageError: it could not be written.
        """
        if self._saving is None:
            return
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            # Orbax waited for the thread that failed, and when it closes for the others.
            with contextlib.suppress(Exception):
                self._manager.close()
            raise self._failure(error) from error
        self._saving = None
        if jax.process_index() == 0:
            for step in superseded(steps(self._model_dir), self._keep, self._keep_period):
                path = step_folder(self._model_dir, step)
                doomed = path.rename(path.with_name(f"{_DELETED_PREFIX}{path.name}"))
                self._deleting.submit(shutil.rmtree, doomed, ignore_errors=True)

    def _failure(self, error: Exception) -> StorageError:
        """Orbax and TensorStore raise anything: OSError, ValueError, bare `Exception`."""
        step, self._saving = self._saving, None
        there = steps(self._model_dir)
        what = f"{self._model_dir}/checkpoint_{step} could not be written"
        if step in there:
            # A disk may have room again; what Orbax wrote first it writes once more at the end.
            what += " at first"
        last = f"checkpoint_{there[-1]} is" if there else "there is no checkpoint yet; it is"
        return StorageError(
            f"{what} ({_reason(error)}); the last good {last} what the same command goes on from, "
            "once this is mended"
        )


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C takes effect at the end: Orbax would leave threads that nobody waits for."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    received = []
    signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if received:
        raise KeyboardInterrupt


def _reason(error: BaseException) -> str:
    """What the system said, where that is in the text; otherwise how the text begins."""
    text = str(error) or type(error).__name__
    said = [reason for reason in _SYSTEM_SAYS if reason in text]
    return said[0] if said else text.strip().splitlines()[0][:300]
