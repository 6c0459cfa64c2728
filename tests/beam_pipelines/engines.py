"""Engines that run a job in processes of their own: started for a test, ended after it.

What is started here is what docs/runners.md tells a user to start.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import opencoder_jax

_ROOT = Path(opencoder_jax.__file__).parent.parent
_SECONDS_TO_START = 60


@contextlib.contextmanager
def external_pool(logs: Path) -> Iterator[list[str]]:
    """Beam's job service and worker pool, two processes; yields the flags that use them."""
    jobs, pool = _free_port(), _free_port()
    portability = "apache_beam.runners.portability.local_job_service_main"
    workers = "apache_beam.runners.worker.worker_pool_main"
    with (
        _running([sys.executable, "-m", portability, f"--port={jobs}"], logs / "jobs", jobs),
        _running([sys.executable, "-m", workers, f"--service_port={pool}"], logs / "pool", pool),
    ):
        yield [
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{jobs}",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{pool}",
        ]


@contextlib.contextmanager
def dask_cluster(logs: Path, workers: int = 2) -> Iterator[list[str]]:
    """A scheduler and worker processes; yields the flags that use them."""
    port = _free_port()
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--host=127.0.0.1", f"--port={port}", "--no-dashboard"]
    worker = [*dask, "worker", address, "--nthreads=1", f"--local-directory={logs}"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(_running([*scheduler, "--no-show"], logs / "scheduler", port))
        for i in range(workers):
            stack.enter_context(_running([*worker, "--no-dashboard"], logs / f"worker{i}", None))
        yield [
            "--runner=DaskRunner",
            f"--dask_client_address={address}",
            "--dask_npartitions=4",
        ]


@contextlib.contextmanager
def _running(command: list[str], log: Path, port: int | None) -> Iterator[None]:
    environment = os.environ | {
        # Beam's pool starts `python`, whichever the path has, and a job whose worker has no
        # Beam waits for ever.
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        # Workers find this project, installed or not.
        "PYTHONPATH": str(_ROOT),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        if port is not None:
            _wait_for(port, process, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    for _ in range(10 * _SECONDS_TO_START):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
