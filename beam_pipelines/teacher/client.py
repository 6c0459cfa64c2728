"""Calls side by side from one process, asked again where that helps, and never where not.

All threads of a process share one `Client` for a teacher (`client_of`): an event loop in a thread
of its own, with at most `parallel` calls in flight. What is wrong with one call is its outcome;
what is wrong with all of them (a key, a name, a budget, an outage) stops the client, and with it
the job. Every completed call is in the cache before anybody hears of it.
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import dataclasses
import json
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from beam_pipelines.teacher import cache, replies
from beam_pipelines.teacher.ledger import Ledger, Room, Spent
from beam_pipelines.teacher.pace import Pace
from beam_pipelines.teacher.prompt import Prompt
from beam_pipelines.teacher.replies import BadReplyError, Reply
from beam_pipelines.teacher.settings import Teacher
from opencoder_jax.errors import InputError
from opencoder_jax.openai_api import TRY_AGAIN, error_code, error_message, retry_after

# The key, the name or the address is wrong, or nobody pays: no other call would do better.
_STOP = frozenset({401, 402, 403, 404, 405})
_STOP_CODES = frozenset({"insufficient_quota", "billing_not_active", "model_not_found"})
_BUSY = frozenset({429, 503})
_CONNECT_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 0.2
_LEAST_OF_A_WAIT = 0.5
_SHOWN_OF_ERROR = 10_000
# Between two words about attempts that fail.
_WARNING_SECONDS = 30.0
_LOG = logging.getLogger(__name__)


class TeacherStoppedError(InputError):
    """No further call is made; the job ends, and the same command goes on where it was."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call.

    Attributes:
      reply: where the call was completed.
      reason: of the drop, where it was not.
      detail: of the drop.
      cached: whether the reply came from the cache.
      usd: what it cost now.
      failed_attempts: that came before; some of them may have been billed.
      damaged: whether the cache had a damaged file of it.
    """

    reply: Reply | None
    reason: str = ""
    detail: str = ""
    cached: bool = False
    usd: float = 0.0
    failed_attempts: int = 0
    damaged: bool = False


class _CallError(Exception):
    """A call that got no answer.

    Attributes:
      reason: of the drop.
      detail: of the drop.
      failed: attempts, this one too.
    """

    def __init__(self, reason: str, detail: str, failed: int = 0) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.failed = failed


class _AttemptError(_CallError):
    """An attempt after which another may succeed.

    Attributes:
      busy: the server is there and has no time.
      wait: seconds that the server asks for; None: it does not.
    """

    def __init__(
        self, reason: str, detail: str, busy: bool = False, wait: float | None = None
    ) -> None:
        super().__init__(reason, detail)
        self.busy = busy
        self.wait = wait


class Client:
    """The calls of this process to one teacher."""

    def __init__(self, teacher: Teacher, find_url: Callable[[bool], str] | None = None) -> None:
        """Args:
        teacher: who is asked.
        find_url: gives the address where the teacher has none; with True after a connection that
          failed: the server may have been started again. Called in threads.
        """
        self.teacher = teacher
        self.ledger = Ledger(teacher)
        self._find_url = find_url
        self._url = teacher.url
        # Only in the header of this client, which nobody prints.
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if key := teacher.key():
            self._headers["Authorization"] = f"Bearer {key}"
        self._cache = cache.CallCache(teacher.cache_dir)
        self._pace = Pace(teacher.requests_per_minute, teacher.tokens_per_minute)
        self._stopped: Exception | None = None
        self._failed_in_row = 0
        self._succeeded = 0
        self._warn_next = 0.0
        self._files = concurrent.futures.ThreadPoolExecutor(
            min(32, teacher.parallel + 4), thread_name_prefix="teacher-files"
        )
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        thread = threading.Thread(target=self._run, name="teacher", daemon=True)
        thread.start()
        self._ready.wait()

    def submit(self, prompt: Prompt) -> "concurrent.futures.Future[Outcome]":
        """Begins a call; it waits for its turn. Its future may raise `TeacherStoppedError`."""
        return asyncio.run_coroutine_threadsafe(self._call(prompt), self._loop)

    @property
    def stopped(self) -> bool:
        return self._stopped is not None

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._open())
        self._loop.run_forever()

    async def _open(self) -> None:
        parallel = self.teacher.parallel
        self._turn = asyncio.Semaphore(parallel)
        self._reserving = asyncio.Lock()
        self._finding = asyncio.Lock()
        self._settled = asyncio.Condition()
        self._stopping = asyncio.Event()
        self._same: dict[str, asyncio.Lock] = {}
        self._waiting: collections.Counter[str] = collections.Counter()
        self._http = httpx.AsyncClient(
            headers=self._headers,
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=parallel, max_keepalive_connections=parallel),
            # vLLM on this machine is behind no proxy.
            trust_env=bool(self.teacher.url),
        )
        self._ready.set()

    async def _call(self, prompt: Prompt) -> Outcome:
        request = cache.request_of(self.teacher, prompt)
        key = cache.call_key(request)
        # Two elements may ask the same at one time: the second gets the first's answer.
        lock = self._same.setdefault(key, asyncio.Lock())
        self._waiting[key] += 1
        try:
            async with lock:
                return await self._answer(prompt, request, key)
        except OSError as error:
            # What is answered now could not be kept.
            raise self._stop(f"the teacher's cache cannot be used: {error}") from error
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key], self._same[key]

    async def _answer(self, prompt: Prompt, request: dict[str, Any], key: str) -> Outcome:
        damaged = False
        try:
            if kept := await self._in_thread(self._cache.get, key, request):
                return Outcome(kept, cached=True)
        except cache.DamagedEntryError as error:
            damaged = True
            _LOG.warning(
                "%s is damaged (%s): the call is asked again", self._cache.place(key), error
            )
        async with self._turn:
            most = self._most(prompt)
            await self._reserve(most)
            spent = Spent()
            try:
                reply, failed = await self._ask(prompt, most.tokens)
                tokens = (reply.prompt_tokens, reply.completion_tokens)
                spent = Spent(1, *tokens, self.teacher.cost(*tokens))
                self._pace.correct(spent.tokens - most.tokens)
                reply = await self._in_thread(self._cache.put, key, request, reply, damaged)
                return Outcome(reply, usd=spent.usd, failed_attempts=failed, damaged=damaged)
            except _CallError as error:
                return Outcome(
                    None, error.reason, error.detail, failed_attempts=error.failed, damaged=damaged
                )
            finally:
                try:
                    await self._in_thread(self.ledger.settle, most, spent)
                finally:
                    async with self._settled:
                        self._settled.notify_all()

    def _most(self, prompt: Prompt) -> Spent:
        """What a call costs at most, as far as its prompt can be reckoned."""
        tokens = (replies.tokens_of_messages(prompt.messages), prompt.sampling.max_tokens)
        return Spent(1, *tokens, self.teacher.cost(*tokens))

    async def _reserve(self, most: Spent) -> None:
        """Returns when the budget has room for a call; the calls in flight may leave some.

        Raises:
          TeacherStoppedError: they do not, or the client was stopped.
        """
        async with self._reserving:
            while True:
                self._check()
                room = await self._in_thread(self.ledger.reserve, most)
                if room is Room.YES:
                    return
                if room is Room.NO:
                    break
                async with self._settled:
                    # Other processes tell nobody here that they are done with a call.
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._settled.wait(), _LOOK_AGAIN_SECONDS)
        raise self._stop(self._budget_message(most))

    def _budget_message(self, most: Spent) -> str:
        teacher = self.teacher
        limits = {
            "calls": teacher.budget_calls,
            "tokens": teacher.budget_tokens,
            "USD": teacher.budget_usd,
        }
        limit = ", ".join(
            f"{value:,} {name}" for name, value in limits.items() if value is not None
        )
        return (
            f"the teacher's budget ({limit}) has no room for another call (at most {most.tokens:,} "
            f"tokens, {most.usd:.4f} USD): all calls in {teacher.cache_dir} took "
            f"{self.ledger.total()}. They are kept: with a larger budget (--teacher_budget_usd, "
            "--teacher_budget_calls, --teacher_budget_tokens) the same command goes on"
        )

    async def _ask(self, prompt: Prompt, tokens: int) -> tuple[Reply, int]:
        """The reply, and how many attempts failed before it.

        Args:
          prompt: what is asked.
          tokens: that it takes at most.

        Raises:
          _CallError: there is none, and this call is the reason.
          TeacherStoppedError: there is none, and no other call would get one.
        """
        body = self._body(prompt)
        wait, failed = self.teacher.first_wait_seconds, 0
        succeeded = self._succeeded
        while True:
            await self._pace.take(tokens)
            self._check()
            try:
                reply = await self._attempt(body, prompt)
            except _AttemptError as error:
                failed += 1
                self._warn(error, failed)
                if failed % self.teacher.attempts == 0:
                    self._count_failure(error)
                    # Who is only busy will have time for this call too.
                    if not error.busy:
                        if self._succeeded == succeeded and not await self._is_there():
                            raise self._stop(self._outage_message(error)) from error
                        detail = f"{error.detail} (attempt {failed})"
                        raise _CallError(error.reason, detail, failed) from error
                if error.wait is None:
                    seconds = wait * random.uniform(_LEAST_OF_A_WAIT, 1.0)
                    wait = min(2 * wait, self.teacher.longest_wait_seconds)
                else:
                    seconds = min(error.wait, self.teacher.longest_wait_seconds)
                    self._pace.pause(seconds)
                await self._sleep(seconds)
            except _CallError as error:
                self._count_failure(error)
                error.failed = failed + 1
                raise
            else:
                self._failed_in_row = 0
                self._succeeded += 1
                return reply, failed

    def _body(self, prompt: Prompt) -> bytes:
        sampling = prompt.sampling
        body = {
            "model": self.teacher.model,
            "messages": [{"role": role, "content": text} for role, text in prompt.messages],
            "temperature": sampling.temperature,
            self.teacher.max_tokens_name: sampling.max_tokens,
            "seed": sampling.seed,
            **({"top_p": sampling.top_p} if sampling.top_p < 1 else {}),
            **self.teacher.extra,
        }
        # Half a surrogate pair in a seed's text is escaped, and so is what follows it.
        return json.dumps(body).encode("ascii")

    async def _attempt(self, body: bytes, prompt: Prompt) -> Reply:
        """Raises: _AttemptError, _CallError, TeacherStoppedError."""
        teacher = self.teacher
        # What was asked when it failed; another call may have found the new address meanwhile.
        url = self._url or await self._address("")
        try:
            async with asyncio.timeout(teacher.timeout_seconds):
                status, headers, content = await self._post(f"{url}/chat/completions", body)
        except TimeoutError as error:
            told = f"no whole answer within {teacher.timeout_seconds:g} s"
            raise _AttemptError(replies.TIMEOUT, told) from error
        except (httpx.DecodingError, httpx.RemoteProtocolError) as error:
            raise _AttemptError(replies.BAD_RESPONSE, _told(error)) from error
        except httpx.TransportError as error:
            if not teacher.url:
                await self._address(url)
            raise _AttemptError(replies.TIMEOUT, _told(error)) from error
        except httpx.InvalidURL as error:
            raise self._stop(f"the teacher's url {url}: {error}") from error
        if status == 200:
            try:
                return replies.read_reply(content, prompt.messages)
            except BadReplyError as error:
                raise _AttemptError(replies.BAD_RESPONSE, str(error)) from error
        said = f"{status}: {error_message(content, 'nothing is said')}"
        if status in _STOP or error_code(content) in _STOP_CODES:
            raise self._stop(self._stop_message(status, said))
        if status in TRY_AGAIN or status >= 500:
            asked = retry_after(headers.get("Retry-After", ""))
            raise _AttemptError(replies.TIMEOUT, said, status in _BUSY, asked)
        if status < 400:
            raise _AttemptError(replies.BAD_RESPONSE, f"{said} ({headers.get('Location', '')})")
        raise _CallError(replies.REFUSED_REQUEST, said)

    async def _post(self, url: str, body: bytes) -> tuple[int, httpx.Headers, bytes]:
        content = bytearray()
        headers = {"Content-Type": "application/json"}
        async with self._http.stream("POST", url, content=body, headers=headers) as response:
            most = self.teacher.max_answer_bytes
            async for piece in response.aiter_bytes():
                content += piece
                if response.status_code != 200 and len(content) > _SHOWN_OF_ERROR:
                    break
                if len(content) > most:
                    # It would be so long again, and be paid again.
                    raise _CallError(replies.BAD_RESPONSE, f"the answer is above {most:,} bytes")
        return response.status_code, response.headers, bytes(content)

    async def _address(self, failed: str) -> str:
        """Address of a server that is started here; `failed`: the one that could not be reached."""
        async with self._finding:
            if self._url == failed:
                assert self._find_url is not None, "a teacher without a url needs `find_url`"
                try:
                    self._url = await self._in_thread(self._find_url, bool(failed))
                except Exception as error:
                    raise self._stop(f"vLLM does not run: {_told(error)}") from error
        return self._url

    def _stop_message(self, status: int, said: str) -> str:
        teacher = self.teacher
        hint = ""
        if status in (401, 403):
            hint = (
                f"; put the key into the environment variable {teacher.api_key_variable}, or "
                "into the file of --teacher_api_key_file"
            )
        elif status in (404, 405):
            hint = "; expected --teacher_url=http://HOST:PORT/v1 and a --teacher_model that it has"
        return (
            f"{self._url} refuses every call of {teacher.model} ({said}){hint}. Completed calls "
            "are kept: the same command goes on"
        )

    async def _is_there(self) -> bool:
        """Whether the endpoint answers anything: else a failed call tells nothing of that call."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                async with self._http.stream("GET", f"{self._url}/models") as response:
                    return response.status_code < 500
        except (TimeoutError, httpx.HTTPError):
            return False

    def _warn(self, error: _AttemptError, failed: int) -> None:
        """Tells a person who waits why, now and then: attempts may go on for minutes."""
        if time.monotonic() < self._warn_next:
            return
        self._warn_next = time.monotonic() + _WARNING_SECONDS
        _LOG.warning(
            "%s: %s (attempt %d of %d); asking again",
            self._url or self.teacher.model,
            error.detail,
            failed,
            self.teacher.attempts,
        )

    def _count_failure(self, error: _CallError) -> None:
        """Raises: TeacherStoppedError: so many in a row are not these calls' fault."""
        self._failed_in_row += 1
        if self._failed_in_row >= self.teacher.failures_to_stop:
            raise self._stop(self._outage_message(error)) from error

    def _outage_message(self, error: _CallError) -> str:
        return (
            f"{self._url}: the last {self._failed_in_row} calls failed and none succeeded, the "
            f"last with {error.reason} ({error.detail}). Completed calls are kept: the same "
            "command goes on when the endpoint answers again"
        )

    def _check(self) -> None:
        if self._stopped is not None:
            raise TeacherStoppedError(*self._stopped.args)

    def _stop(self, message: str) -> Exception:
        """Lets no further attempt begin; the first reason is everybody's."""
        if self._stopped is None:
            self._stopped = TeacherStoppedError(message)
            self._stopping.set()
        return TeacherStoppedError(*self._stopped.args)

    async def _sleep(self, seconds: float) -> None:
        """Returns at once where the client is stopped."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await self._loop.run_in_executor(self._files, function, *arguments)


_clients: dict[str, Client] = {}
_lock = threading.Lock()


def client_of(teacher: Teacher, find_url: Callable[[bool], str] | None = None) -> Client:
    """The client of this process for a teacher; another one after it was stopped.

    Raises:
      InputError: the key cannot be read.
    """
    name = repr(teacher)
    with _lock:
        client = _clients.get(name)
        if client is None or client.stopped:
            client = _clients[name] = Client(teacher, find_url)
        return client


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip(": ")[:300]
