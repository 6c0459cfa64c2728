"""Runs of the training command in several real processes, over gloo."""

import socket
import subprocess
import sys
from collections.abc import Sequence


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(flags: Sequence[str], count: int, heartbeat_timeout: int = 10) -> list[subprocess.Popen]:
    """`count` processes of one run, told of each other; what they print is piped."""
    port = free_port()
    return [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "opencoder_jax.train",
                *flags,
                f"--gin.COORDINATOR_ADDRESS=127.0.0.1:{port}",
                f"--gin.PROCESS_COUNT={count}",
                f"--gin.PROCESS_INDEX={index}",
                f"--gin.distributed.DistributedConfig.heartbeat_timeout_seconds={heartbeat_timeout}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]
