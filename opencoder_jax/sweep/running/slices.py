"""Several hosts as one worker: the first takes stages, the others start what it has taken.

All hosts of a TPU slice, or all nodes of a cluster job, run one stage together. Host 0 is the
worker (`worker`); it writes down which attempt at which stage begins (`assignment`), waits until
all others have said that they are ready (`host-I`), and then each starts the same command, with
words of its own. The processes find each other as they always do (docs/parallelism.md).
"""

import dataclasses
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.sweep.plan_file import TRAIN
from opencoder_jax.sweep.running import leases
from opencoder_jax.sweep.running.leases import Lease
from opencoder_jax.sweep.running.records import Records

# Others are of one process, and run on host 0 alone.
COMMANDS = (TRAIN,)
_POLL_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Slice:
    """Which of several hosts this is.

    Attributes:
      name: of the group; hosts of one group have one name, no other group of the sweep has it.
      index, count: number of this host, from 0, and of how many.
      words: of the command, on each host: `{index}` and `{count}` are filled in.
    """

    name: str
    index: int
    count: int
    words: Sequence[str] = ()

    def __post_init__(self) -> None:
        require_at_least(1, process_count=self.count)
        if not 0 <= self.index < self.count:
            raise InputError(
                f"process_index is {self.index}, expected 0 to process_count - 1 ({self.count - 1})"
            )

    def host_words(self) -> list[str]:
        return [
            word.replace("{index}", str(self.index)).replace("{count}", str(self.count))
            for word in self.words
        ]


class Leader:
    """Host 0's side."""

    def __init__(self, records: Records, group: Slice) -> None:
        self._records = records
        self._folder = f"slices/{group.name}"
        self._others = range(1, group.count)
        # Of the assignment that stands; a leader that is started again makes others.
        self._token = ""
        # What an earlier run of this group has left; hosts that are here write theirs again.
        for name in records.names([self._folder])[self._folder]:
            records.remove(f"{self._folder}/{name}")

    def assign(self, lease: Lease, stopping: threading.Event) -> bool:
        """Returns when all hosts are about to start the stage; renews the lease meanwhile.

        Returns:
          False where this worker is to stop, or has lost the lease.

        Raises:
          OSError: the records cannot be reached.
        """
        period = lease.holder["lease_seconds"] / 6
        next_beat = time.monotonic() + period
        tokens: dict[int, str] = {}
        while not stopping.is_set():
            hosts = {index: self._host(index) for index in self._others}
            here = {index: host["token"] for index, host in hosts.items() if host}
            if len(here) == len(hosts):
                if here != tokens:
                    # All are here, or one of them has been started again.
                    tokens = here
                    self._write(
                        key=lease.key,
                        attempt=lease.number,
                        lease_seconds=lease.holder["lease_seconds"],
                        hosts=sorted(tokens.values()),
                    )
                elif all(host["ready"] == self._token for host in hosts.values() if host):
                    return True
            if time.monotonic() >= next_beat:
                if not lease.renew():
                    return False
                next_beat = time.monotonic() + period
            stopping.wait(_POLL_SECONDS)
        return False

    def end(self) -> None:
        """The stage has ended here: what is left of it on other hosts is to end, too."""
        self._write(key=None)

    def dismiss(self, exit_status: int) -> None:
        """Lets the others end, with this status."""
        tokens = [host["token"] for host in map(self._host, self._others) if host]
        self._write(key=None, over=exit_status, hosts=tokens)

    def _host(self, index: int) -> dict[str, Any] | None:
        return leases.read_json(self._records, f"{self._folder}/host-{index}")

    def _write(self, **assignment: Any) -> None:
        self._token = secrets.token_hex(8)
        content = json.dumps({"token": self._token, **assignment}, indent=1).encode()
        self._records.write(f"{self._folder}/assignment", content)


@dataclasses.dataclass
class Followed:
    """The leader's lease, as another host sees it: what `attempt.run` needs of a lease."""

    key: str
    number: int
    holder: Mapping[str, Any]
    renew: Callable[[], bool]


class Follower:
    """Another host's side."""

    def __init__(self, records: Records, group: Slice) -> None:
        self.stopping = threading.Event()
        self.at_once = threading.Event()
        self._records = records
        self._folder = f"slices/{group.name}"
        self._own = f"{self._folder}/host-{group.index}"
        self._host = {"token": secrets.token_hex(8), "ready": ""}

    def stop(self) -> None:
        """As `worker.Worker.stop`."""
        if self.stopping.is_set():
            self.at_once.set()
        self.stopping.set()

    def run(self, start: Callable[[Followed], None]) -> int | None:
        """Starts with `start` what the leader assigns, until it dismisses this host.

        Returns:
          The status to end with; None where this host is to stop.

        Raises:
          OSError: the records cannot be reached.
        """
        while not self.stopping.is_set():
            # Again and again: a leader that begins removes what it finds.
            if leases.read_json(self._records, self._own) != self._host:
                self._records.write(self._own, json.dumps(self._host).encode())
            found = self._assignment()
            if self._host["token"] in found.get("hosts", ()):
                if "over" in found:
                    return found["over"]
                if found["token"] != self._host["ready"]:
                    self._host["ready"] = found["token"]
                    self._records.write(self._own, json.dumps(self._host).encode())
                    start(self._followed(found))
                    continue
            self.stopping.wait(_POLL_SECONDS)
        return None

    def _followed(self, found: Mapping[str, Any]) -> Followed:
        observer = leases.Observer(self._records)

        def renew() -> bool:
            alive = observer.look(found["key"], found["attempt"])[1]
            return alive and self._assignment().get("token") == found["token"]

        holder = {"lease_seconds": found["lease_seconds"]}
        return Followed(found["key"], found["attempt"], holder, renew)

    def _assignment(self) -> dict[str, Any]:
        return leases.read_json(self._records, f"{self._folder}/assignment") or {}
