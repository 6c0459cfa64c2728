"""The routes: what is asked under which path, and how every answer is sent.

    /v1/models  /v1/completions  /v1/chat/completions     as OpenAI's API, behind the key
    /health  /metrics  /                                  for machines and people, without it

Each request is read with limits (size, time), answered while its client is watched, and
counted. A client that leaves takes its texts out of the engine at once, streaming or not.
Whatever goes wrong is an error object of `api_error`. Next: `completions`, `http_server`.
"""

import asyncio
import contextlib
import dataclasses
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from opencoder_jax.serve import chat, completions, playground
from opencoder_jax.serve.api_error import ApiError, bad_request
from opencoder_jax.serve.fields import read_object
from opencoder_jax.serve.runner import EngineRunner
from opencoder_jax.serve.served import Served

# As nginx has it: the client left before the answer. Nobody is sent this.
_CLIENT_LEFT = 499
# Times the size that is allowed.
_MOST_THROWN_AWAY = 16
# JSON leaves them as they are, and clients that read a stream by Python's lines (httpx's
# `iter_lines`) would cut an event there. In JSON they stand in strings alone.
_LINE_ENDS = {end: f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}
_SSE_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    # nginx would hold the text back.
    "X-Accel-Buffering": "no",
}

log = logging.getLogger(__name__)

type Began = completions.Completion | chat.Chat
type Begin = Callable[[Served, EngineRunner, dict[str, Any]], Awaitable[Began]]


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What a client may do.

    Attributes:
      body_bytes: of a request, at most.
      request_seconds: for a request's body to arrive.
      keys: accepted as `Authorization: Bearer KEY`; empty: no key is needed.
      origins: whose pages may ask from a browser; `*` is all, empty: only this server's own.
    """

    body_bytes: int = 8 << 20
    request_seconds: float = 30.0
    keys: Sequence[str] = ()
    origins: Sequence[str] = ()


def make_app(served: Served, runner: EngineRunner, limits: Limits) -> Starlette:
    """The application; its lifespan starts and ends the engine's thread."""
    routes = _Routes(served, runner, limits)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        runner.start()
        yield
        await asyncio.to_thread(runner.stop)

    middleware = [Middleware(_OneLength)]
    if limits.origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(limits.origins),
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
            )
        )
    app = Starlette(
        routes=[
            Route("/", routes.page),
            Route("/health", routes.health),
            Route("/metrics", routes.metrics),
            Route("/v1/models", routes.models),
            Route("/v1/models/{name:path}", routes.model),
            Route("/v1/completions", routes.completions, methods=["POST"]),
            Route("/v1/chat/completions", routes.chat, methods=["POST"]),
        ],
        middleware=middleware,
        exception_handlers={HTTPException: _http_error, ApiError: _api_error, Exception: _bug},
        lifespan=lifespan,
    )
    # `/v1/models/` would be sent on to wherever the request's own Host header says.
    app.router.redirect_slashes = False
    return app


class _OneLength:
    """Refuses what tells its length twice: a proxy before this server may go by the other.

    It would see other requests on the connection, whatever path they are for.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        names = {name for name, _ in scope.get("headers", ())}
        if {b"content-length", b"transfer-encoding"} <= names:
            error = bad_request("both Content-Length and Transfer-Encoding")
            app = _json(error.body(), error.status, {"Connection": "close"})
        await app(scope, receive, send)


class _Routes:
    def __init__(self, served: Served, runner: EngineRunner, limits: Limits) -> None:
        self._served = served
        self._runner = runner
        self._limits = limits
        self._keys = [key.encode() for key in limits.keys]

    async def page(self, request: Request) -> Response:
        return Response(playground.PAGE, media_type="text/html", headers=playground.HEADERS)

    async def health(self, request: Request) -> Response:
        runner = self._runner
        status = "ok" if runner.alive else "stopping" if runner.stopping else "failed"
        running, waiting = runner.engine.counts()
        content = {"status": status, "model": self._served.name, "running": running}
        return _json(content | {"waiting": waiting}, 200 if runner.alive else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(
            self._runner.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    async def models(self, request: Request) -> Response:
        self._check_key(request)
        return _json({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Response:
        self._check_key(request)
        self._served.check_name(request.path_params["name"])
        return _json(self._model())

    async def completions(self, request: Request) -> Response:
        return await self._generate(request, completions.begin)

    async def chat(self, request: Request) -> Response:
        return await self._generate(request, chat.begin)

    def _model(self) -> dict[str, Any]:
        return {
            "id": self._served.name,
            "object": "model",
            "created": self._served.created,
            "owned_by": "opencoder_jax",
            "max_model_len": self._served.length,
        }

    def _check_key(self, request: Request) -> None:
        if not self._keys:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Header bytes come as Latin-1. All keys are compared, and each in constant time.
        matches = [hmac.compare_digest(given.strip().encode("latin-1"), key) for key in self._keys]
        if scheme.lower() != "bearer" or not any(matches):
            raise ApiError(
                401,
                "wrong or missing API key: send it as `Authorization: Bearer KEY`",
                kind="authentication_error",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    async def _generate(self, request: Request, begin: Begin) -> Response:
        began, path = time.monotonic(), request.url.path

        def count(status: int) -> None:
            self._runner.metrics.requests.labels(path, status).inc()
            self._runner.metrics.duration.labels(path).observe(time.monotonic() - began)

        try:
            self._check_key(request)
            body = read_object(await self._read(request))
            answering = await begin(self._served, self._runner, body)
            if answering.request.common.stream:
                return _EventStream(answering, count)
            with answering.job:
                content = await _while_client_stays(request.receive, answering.answer())
        except ApiError as error:
            count(error.status)
            raise
        except ClientDisconnect:
            count(_CLIENT_LEFT)
            # Goes nowhere.
            return Response(status_code=_CLIENT_LEFT)
        except asyncio.CancelledError:
            count(503)
            raise
        except Exception:
            count(500)
            raise
        count(200)
        return _json(content)

    async def _read(self, request: Request) -> bytes:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            # Pages elsewhere can send other types without asking the browser's leave.
            raise ApiError(415, f"Content-Type: expected application/json, got {kind[:60]!a}")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise ApiError(415, "Content-Encoding: a compressed body is not taken")
        most, seconds = self._limits.body_bytes, self._limits.request_seconds
        body, size = bytearray(), 0
        try:
            async with asyncio.timeout(seconds):
                async for part in request.stream():
                    size += len(part)
                    # A client that is still sending would not read the answer: to a point the
                    # rest is taken and thrown away.
                    if size > _MOST_THROWN_AWAY * most:
                        break
                    if size <= most:
                        body += part
        except TimeoutError as error:
            if size <= most:
                raise ApiError(
                    408,
                    f"the body did not arrive in {seconds:g} seconds",
                    code="request_timeout",
                    headers={"Connection": "close"},
                ) from error
        if size > most:
            raise ApiError(
                413,
                f"the body is larger than {most} bytes",
                code="request_too_large",
                headers={"Connection": "close"},
            )
        return bytes(body)


class _EventStream(Response):
    """Server-sent events, one for each part of an answer, and `[DONE]`."""

    def __init__(self, answering: Began, count: Callable[[int], None]) -> None:
        super().__init__(headers=_SSE_HEADERS)
        self._answering = answering
        self._count = count
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._answering.job:
            try:
                await _while_client_stays(receive, self._send(send))
            except ClientDisconnect:
                self._count(_CLIENT_LEFT)
            except asyncio.CancelledError:
                self._count(503)
                raise

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        status = 200
        try:
            async for part in self._answering.stream():
                # A comment keeps the connection alive.
                text = b": waiting\n\n" if part is None else b"data: " + _dump(part) + b"\n\n"
                await send({"type": "http.response.body", "body": text, "more_body": True})
            last = b"data: [DONE]\n\n"
        except ApiError as error:
            status = error.status
            last = b"data: " + _dump(error.body()) + b"\n\n"
        self._count(status)
        await send({"type": "http.response.body", "body": last, "more_body": False})


async def _while_client_stays[T](receive: Receive, work: Awaitable[T]) -> T:
    """The work's result.

    Raises:
      ClientDisconnect: the client left before; the work is cancelled.
    """
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        for one in (task, watcher):
            one.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _dump(content: Any) -> bytes:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for end, escaped in _LINE_ENDS.items():
        # `translate` goes character by character: 15 to 270 times slower.
        text = text.replace(end, escaped)
    return text.encode()


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(_dump(content), status, headers, media_type="application/json")


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _json(error.body(), error.status, error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, as Starlette tells of them."""
    assert isinstance(error, HTTPException)
    asked = f"{request.method[:20]} {request.url.path[:200]}"
    if error.status_code == 404:
        found = ApiError(404, f"there is nothing at {asked!a}", code="unknown_url")
    elif error.status_code == 405:
        found = ApiError(405, f"{asked!a}: not with this method", code="method_not_allowed")
    else:
        found = bad_request(str(error.detail))
        found.status = error.status_code
    return _json(found.body(), found.status, dict(error.headers or {}))


async def _bug(request: Request, error: Exception) -> Response:
    return _json(ApiError(500, "a defect of the server; its log has more").body(), 500)
