"""Runs inside a new sandbox before anything else, and fails where a wall is missing.

Never imported: `pool` hands its text to the zygote as the first program.
"""

import os
import resource
import socket
import sys
from collections.abc import Callable


def main() -> None:
    refused("a way to the network", route)
    refused("new namespaces", lambda: os.unshare(os.CLONE_NEWUSER))
    refused("seeing other processes", see_other_process)
    refused("reading the host's users", lambda: os.stat("/etc/passwd"))
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    refused("forking over the limit", fork)
    for folder in ("/", sys.base_prefix, os.path.dirname(os.__file__)):
        if not os.statvfs(folder).f_flag & os.ST_RDONLY:
            sys.exit(f"{folder} is not read-only")
    if os.getuid() == 0:
        sys.exit("the program is root")


def refused(what: str, attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except OSError:
        return
    sys.exit(f"{what} was not refused")


def route() -> None:
    """Finds a route to a documentation address (RFC 5737); sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        datagram.connect(("192.0.2.1", 9))


def see_other_process() -> None:
    others = {name for name in os.listdir("/proc") if name.isdigit()} - {"1", str(os.getpid())}
    if not others:
        raise ProcessLookupError


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


main()
