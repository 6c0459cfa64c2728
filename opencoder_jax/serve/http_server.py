"""uvicorn, with what a server of long answers needs besides.

A connection whose request does not come to its end of headers in time is closed, and so is
one whose client does not take its answer: it then counts as one that left, and its texts end.
Bytes that are no HTTP get an error object too; and SIGTERM or SIGINT end the process with
status 0: no new connections, running answers may finish for some seconds, the rest get an error,
and so they do at once when Ctrl-C is pressed again.
"""

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import h11
import uvicorn
from prometheus_client import Counter
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from opencoder_jax.errors import InputError
from opencoder_jax.serve.api_error import ApiError, bad_request, unavailable
from opencoder_jax.serve.runner import EngineRunner

_KEEP_ALIVE_SECONDS = 30
_HEAD_BYTES = 64 << 10
# Of an answer, in the kernel; it would take megabytes before a client that reads nothing shows.
_SEND_BYTES = 128 << 10
# After the grace for answers: for their errors to be sent.
_LAST_SECONDS = 5


class _Protocol(H11Protocol):
    """HTTP/1.1 of one connection."""

    seconds: float
    stalled: Counter
    _head_timer: asyncio.TimerHandle | None = None
    _send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_send_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            if not self._sends_behind_answer():
                self._stop_timer()
        elif self._head_timer is None and self.cycle and self.cycle.response_complete:
            # Part of a further request's head.
            self._await_head()
        if self.conn.their_state is h11.DONE and len(self.conn.trailing_data[0]) <= _HEAD_BYTES:
            # A connection that nobody reads does not tell that its client has left, and uvicorn
            # stops reading at the first byte of a further request.
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_send_timer()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._send_timer is None and self.transport.get_write_buffer_size():
            # The rest of an answer: a connection that is closed would stay until it is taken.
            self._await_reader()
        if self._sends_behind_answer() or (
            # A further request's head has begun behind the last request.
            self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]
        ):
            self._await_head()

    def send_400_response(self, msg: str) -> None:
        """Also tells what is wrong as an error object."""
        body = json.dumps(bad_request(f"not HTTP that can be answered: {msg}").body()).encode()
        head = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            for event in (
                h11.Response(status_code=400, headers=head, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _sends_behind_answer(self) -> bool:
        """Whether a request's body goes on that was answered without it (404, 401, ...)."""
        return self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete

    def _await_head(self) -> None:
        self._stop_timer()
        self._head_timer = self.loop.call_later(self.seconds, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None

    def _await_reader(self) -> None:
        self._stop_send_timer()
        self._send_timer = self.loop.call_later(self.seconds, self._give_up)

    def _stop_send_timer(self) -> None:
        if self._send_timer:
            self._send_timer.cancel()
            self._send_timer = None

    def _give_up(self) -> None:
        self._send_timer = None
        if self.transport.get_write_buffer_size():
            self.stalled.inc()
            # `close` would wait for what was written to be taken.
            self.transport.abort()


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        runner: EngineRunner,
        grace_seconds: float,
        on_started: Callable[[Callable[[], None]], None],
    ) -> None:
        super().__init__(config)
        self._runner = runner
        self._grace_seconds = grace_seconds
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()

        def stop() -> None:
            # A loop that is closed has nothing to stop any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self.handle_exit, signal.SIGTERM, None)

        self._on_started(stop)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._runner.stopping = True
        timer = asyncio.get_running_loop().call_later(
            self._grace_seconds, self._runner.abort, _shutting_down()
        )
        await super().shutdown(sockets)
        timer.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's would raise the signal again at the end, and so give another status."""
        before = {one: signal.signal(one, self.handle_exit) for one in _SIGNALS}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and sig == signal.SIGINT:
            # Ctrl-C again: nobody wants to wait. uvicorn would leave the engine's thread behind,
            # and wait for its answers nevertheless.
            loop = asyncio.get_running_loop()
            loop.call_soon_threadsafe(self._runner.abort, _shutting_down())
            return
        # From now on new requests are refused, on connections that are kept too.
        self._runner.stopping = True
        super().handle_exit(sig, frame)


def _shutting_down() -> ApiError:
    return unavailable("the server is shutting down")


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
      InputError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"cannot listen on {host} port {port} ({error}): choose others with --host and --port"
        ) from error
    # Connections inherit both. asyncio does not see that this is TCP, and would leave small parts
    # to wait for the client's acknowledgement of those before: 40 ms an answer.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def run(
    app: ASGIApp,
    runner: EngineRunner,
    listener: socket.socket,
    *,
    request_seconds: float,
    grace_seconds: float,
    on_started: Callable[[Callable[[], None]], None],
) -> None:
    """Serves until SIGTERM, SIGINT or `stop`.

    Args:
      app: the application.
      runner: its engine.
      listener: where to take connections.
      request_seconds: for the head of a connection's next request to arrive, once it has begun,
        and for a client to take what was sent, once no more fits on the way.
      grace_seconds: how long running answers may go on after the signal.
      on_started: called when connections are taken, with `stop`: it does what SIGTERM does, from
        any thread and at any time.
    """
    own = {"seconds": request_seconds, "stalled": runner.metrics.stalled}
    config = uvicorn.Config(
        app,
        http=type("Protocol", (_Protocol,), own),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(grace_seconds) + _LAST_SECONDS,
        h11_max_incomplete_event_size=_HEAD_BYTES,
    )
    _Server(config, runner, grace_seconds, on_started).run(sockets=[listener])
