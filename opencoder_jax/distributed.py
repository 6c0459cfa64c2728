"""Several processes as one run: joined at the start, of one mind on the way, ended together.

A pod has a process a host, and JAX's coordination service (process 0) knows them all. What
a process may not decide alone goes through here: which checkpoint is sound, at which step
to stop, that a folder is finished. One that fails tells the others why before it leaves,
and they end at once; one that is killed cannot, and JAX ends the others when its
heartbeats have been missing for a while. In a single process all of this does nothing.
docs/parallelism.md has the exit statuses and times. Next: `train.py`.
"""

import contextlib
import dataclasses
import functools
import inspect
import itertools
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from opencoder_jax.errors import INTERRUPTED_EXIT_STATUS, InputError

# EX_TEMPFAIL of sysexits.h: nothing was wrong here, run again.
PEER_FAILED_EXIT_STATUS = 75

_FAILURE_KEY = "opencoder_jax/failure"
_POLL_SECONDS = 0.5
# Process 0 holds the service through which the others learn of its failure.
_GRACE_SECONDS = 4 * _POLL_SECONDS
_GONE = re.compile(r"Gloo|[Cc]oordination ?[Ss]ervice|heartbeat|Barrier|Connection (reset|closed)")
# Of waiting for processes that are alive but slow, e.g. reading a large checkpoint.
_PATIENCE_SECONDS = 3600


@dataclasses.dataclass(frozen=True, slots=True)
class DistributedConfig:
    """How the processes of a run find each other; by default there is only one.

    Attributes:
      detect: find the others by what the machine says of itself: TPU pods (one slice or
        several), Slurm, Open MPI. Where it says nothing, the process runs alone.
      coordinator_address: `HOST:PORT` that process 0 can listen on and all can reach;
        elsewhere than on such machines, with the two numbers below.
      process_count: processes in all.
      process_index: the number of this one, from 0.
      initialization_timeout_seconds: how long to wait for the others at the start.
      heartbeat_timeout_seconds: a process that is silent for so long is dead; then all end.
    """

    detect: bool = False
    coordinator_address: str | None = None
    process_count: int | None = None
    process_index: int | None = None
    initialization_timeout_seconds: int = 300
    heartbeat_timeout_seconds: int = 100

    def __post_init__(self) -> None:
        given = (self.coordinator_address, self.process_count, self.process_index)
        if any(value is not None for value in given) and None in given:
            raise InputError(
                f"coordinator_address={given[0]}, process_count={given[1]}, "
                f"process_index={given[2]}: give all three, or none"
            )
        if self.process_count is not None and self.process_index is not None:
            if self.detect:
                raise InputError("detect=True and a coordinator_address: choose one of the two")
            if not 0 <= self.process_index < self.process_count:
                raise InputError(
                    f"process_index={self.process_index} with process_count={self.process_count}:"
                    " expected 0 to process_count - 1"
                )


@contextlib.contextmanager
def joined(config: DistributedConfig) -> Iterator[None]:
    """This process as one of a run's; to be entered before JAX looks for devices.

    Raises:
      InputError: the others cannot be found.
    """
    if not _initialize(config):
        yield
        return
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(ended,), name="failures", daemon=True)
    watcher.start()
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        _announce(error)
        if lost := _loss_of_a_peer(error):
            # Whatever this process was doing, e.g. saving, is not what went wrong.
            print(
                f"error: another of the {process_count()} processes is gone, so this one "
                f"(process {process_index()}) ends: {_first_line(lost)}",
                file=sys.stderr,
            )
            _leave(PEER_FAILED_EXIT_STATUS)
        raise
    finally:
        ended.set()
        watcher.join()


def joins[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """`function` inside `joined` of its argument `distributed`.

    Raises:
      InputError: the processes were given different other arguments.
    """

    @functools.wraps(function)
    def in_company(*args: P.args, **kwargs: P.kwargs) -> R:
        config: Any = kwargs.get("distributed") or DistributedConfig()
        with joined(config):
            _require_same({name: repr(v) for name, v in kwargs.items() if v is not config})
            return function(*args, **kwargs)

    # gin looks at the function's own parameters.
    in_company.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return in_company


def run(main: Callable[[], int]) -> int:
    """The exit status of `main`; after an interrupt or an announced failure ends the process.

    JAX's own way out waits for all processes, which after a failure do not come. An interrupt
    finds threads of XLA at work, and the interpreter's way out ends in `std::terminate` then.
    """
    try:
        status = main()
    except Exception:
        if not _announced.is_set():
            raise
        traceback.print_exc()
        status = 1
    if _announced.is_set():
        _leave(status)
    if status == INTERRUPTED_EXIT_STATUS:
        _end(status)
    return status


def process_index() -> int:
    """The number of this process; unlike `jax.process_index`, it leaves devices alone."""
    return _service().process_id


def process_count() -> int:
    """Processes of the run; unlike `jax.process_count`, it leaves devices alone."""
    return _service().num_processes or 1


def is_primary() -> bool:
    """Whether this process is the one that writes what is written once."""
    return process_index() == 0


def gather(value: Any) -> list[Any]:
    """`value` (JSON) of every process, in their order. All have to call it.

    It goes through the coordination service: for decisions, not for data.
    """
    if process_count() == 1:
        return [value]
    client = _service().client
    name = f"opencoder_jax/gather/{next(_gathers)}/"
    client.key_value_set(f"{name}{process_index()}", json.dumps(value))
    client.wait_at_barrier(name, _PATIENCE_SECONDS * 1000)
    found = {int(key.rpartition("/")[2]): text for key, text in client.key_value_dir_get(name)}
    return [json.loads(found[index]) for index in range(process_count())]


def barrier() -> None:
    """Returns when all processes have come here."""
    gather(None)


def from_primary(compute: Callable[[], Any]) -> Any:
    """What `compute` gives on process 0 (JSON), on all processes; others do not call it.

    Raises:
      InputError: where process 0 raises one, on all.
    """
    value, refusal = None, None
    if is_primary():
        try:
            value = compute()
        except InputError as error:
            if process_count() == 1:
                raise
            refusal = str(error)
    value, refusal = gather([value, refusal])[0]
    if refusal is not None:
        raise InputError(refusal)
    return value


def host_parts(array: Any, part_bytes: int = 2**28) -> Iterator[np.ndarray]:
    """The numbers of an array on this host, in order, in parts along the first axis.

    Args:
      array: of NumPy or JAX; of one that lies on devices of several hosts, each gets all
        the numbers, and all have to ask.
      part_bytes: of a part of such an array, about: so much is copied to every device.
    """
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
        yield np.asarray(jax.device_get(array))
        return
    if array.is_fully_replicated:
        yield np.asarray(array.addressable_data(0))
        return
    length = array.shape[0]
    rows = max(1, min(length, part_bytes * length // array.nbytes))
    mesh: Any = array.sharding.mesh  # type: ignore[attr-defined]
    everywhere = NamedSharding(mesh, PartitionSpec())
    take = jax.jit(
        jax.lax.dynamic_slice_in_dim, static_argnames="slice_size", out_shardings=everywhere
    )
    for start in range(0, length, rows):
        part = take(array, start, slice_size=min(rows, length - start))
        yield np.asarray(part.addressable_data(0))


@contextlib.contextmanager
def termination() -> Iterator[Callable[[int], bool]]:
    """Whether SIGTERM came to any process; the signal does nothing else until the block ends.

    Yields:
      `requested(step)`: to be asked at every step, by all processes. It is true at one and
      the same step on all, within about a second of the signal.
    """
    if process_count() > 1:
        # JAX took the signal when it was initialized, and agrees on a step.
        yield multihost_utils.reached_preemption_sync_point
        return
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        yield lambda step: bool(received)
    finally:
        signal.signal(signal.SIGTERM, before)


_announced = threading.Event()
_gathers = itertools.count()


def _initialize(config: DistributedConfig) -> bool:
    """Whether this process is one of several now."""
    if config.coordinator_address is None and not config.detect:
        return False
    # On CPUs, and without effect elsewhere.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    explicit = config.coordinator_address is not None
    # JAX would end the process with a dump of its stack.
    patience = threading.Timer(config.initialization_timeout_seconds, _give_up, [config])
    patience.daemon = True
    patience.start()
    try:
        jax.distributed.initialize(
            coordinator_address=config.coordinator_address,
            num_processes=config.process_count,
            process_id=config.process_index,
            cluster_detection_method="deactivate" if explicit else None,
            initialization_timeout=config.initialization_timeout_seconds + 60,
            heartbeat_timeout_seconds=config.heartbeat_timeout_seconds,
        )
    except ValueError as error:
        if explicit:
            raise InputError(f"{config}: {error}") from error
        print("no cluster found: this process runs alone", file=sys.stderr)
        return False
    except RuntimeError as error:
        raise InputError(f"{config}: {str(error).splitlines()[0]}") from error
    finally:
        patience.cancel()
    return process_count() > 1


def _give_up(config: DistributedConfig) -> None:
    """Ends a process that waited for the others in vain."""
    who, where = "this process", "as the machine names it"
    if config.coordinator_address is not None:
        who = f"process {config.process_index} of {config.process_count}"
        where = config.coordinator_address
    print(
        f"error: {who} did not find all the others within "
        f"{config.initialization_timeout_seconds} s (coordinator: {where}). Each has to be "
        "started, with a process_index of its own, and to reach process 0 there",
        file=sys.stderr,
    )
    _end(2)


def _require_same(settings: dict[str, str]) -> None:
    """Refuses to go on where processes were given different settings."""
    everywhere = gather(settings)
    different = [
        f"{name}: process 0 has {everywhere[0].get(name)}, process {index} has {here.get(name)}"
        for index, here in enumerate(everywhere)
        for name in sorted({*here, *everywhere[0]})
        if here.get(name) != everywhere[0].get(name)
    ]
    if different:
        raise InputError(
            "every process has to be given the same settings:\n  " + "\n  ".join(different)
        )


def _service() -> Any:
    """What JAX knows of the coordination service; it has no public name."""
    from jax._src import distributed

    return distributed.global_state


def _announce(error: BaseException) -> None:
    """Tells the other processes, unless one has told of another failure before."""
    _announced.set()
    line = _first_line(error)
    text = line if isinstance(error, InputError) else f"{type(error).__name__}: {line}"
    with contextlib.suppress(Exception):
        _service().client.key_value_set(_FAILURE_KEY, json.dumps([process_index(), text]))


def _loss_of_a_peer(error: BaseException) -> BaseException | None:
    """The error under `error` by which a collective or a barrier says that another is gone."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, jax.errors.JaxRuntimeError) and _GONE.search(str(below)):
            return below
        below = below.__cause__ or below.__context__
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _watch(ended: threading.Event) -> None:
    """Ends this process when another has announced its failure."""
    client = _service().client
    while not ended.wait(_POLL_SECONDS):
        try:
            process, text = json.loads(client.key_value_try_get(_FAILURE_KEY))
        except jax.errors.JaxRuntimeError:
            continue  # Nobody has.
        if process != process_index() and not ended.is_set():
            print(
                f"error: process {process} of {process_count()} failed, so this one "
                f"(process {process_index()}) ends: {text}",
                file=sys.stderr,
            )
            _end(PEER_FAILED_EXIT_STATUS)


def _leave(status: int) -> NoReturn:
    """Ends this process once the others can have learned why."""
    if is_primary():
        time.sleep(_GRACE_SECONDS)
    _end(status)


def _end(status: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
