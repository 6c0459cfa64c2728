"""The engine's own thread, and the way of its news to asyncio.

The engine steps in a thread; handlers of requests run in the event loop. A handler submits the
texts of its request as one `Job` and takes what the engine says of them from the job's queue.
After each step all news goes over in one call. A job that is closed early, because its client
has left, cancels its texts at once. When the engine raises, every job gets the error, and no
further one is taken: nobody waits for a thread that is gone. Next: `completions`, `chat`.
"""

import asyncio
import collections
import dataclasses
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence

from opencoder_jax.decoding.engine import Engine
from opencoder_jax.decoding.requests import Event, Request
from opencoder_jax.decoding.sampling import SamplingSettings
from opencoder_jax.errors import InputError
from opencoder_jax.serve.api_error import ApiError, bad_request, unavailable
from opencoder_jax.serve.metrics import Metrics

# A stream that has nothing to say says that it is alive, before proxies close it.
ALIVE_SECONDS = 15.0
_RETRY_SECONDS = "1"
_JOIN_SECONDS = 60.0

log = logging.getLogger(__name__)


class Job:
    """The texts of one request; a context manager that cancels those not finished."""

    def __init__(self, runner: "EngineRunner", texts: int) -> None:
        self._runner = runner
        self.queue: asyncio.Queue[tuple[int, Event] | ApiError] = asyncio.Queue()
        self.identities: list[int] = []
        self.unfinished = set(range(texts))
        self.closed = False
        self.began = time.monotonic()
        self.last = [self.began] * texts

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *exception: object) -> None:
        self._runner.close(self)

    async def news(self) -> AsyncIterator[tuple[int, Event] | None]:
        """What comes to each text, by its number, until all are finished; None: nothing yet.

        Raises:
          ApiError: the engine has failed.
        """
        while self.unfinished:
            try:
                item = await asyncio.wait_for(self.queue.get(), ALIVE_SECONDS)
            except TimeoutError:
                yield None
                continue
            if isinstance(item, ApiError):
                raise item
            number, event = item
            if event.finish_reason:
                self.unfinished.discard(number)
            yield number, event


@dataclasses.dataclass(frozen=True, slots=True)
class _News:
    job: Job
    number: int
    event: Event


class EngineRunner:
    """An engine in a thread.

    Attributes:
      engine: the engine; only this class steps it.
      queue: texts that may wait for a slot.
      failure: what the engine raised; None while it lives.
      stopping: whether new requests are refused because the server ends.
    """

    def __init__(self, engine: Engine, queue: int, metrics: Metrics) -> None:
        self.engine = engine
        self.queue = queue
        self.failure: BaseException | None = None
        self.stopping = False
        self.metrics = metrics
        self._jobs: set[Job] = set()
        self._news: collections.deque[_News] = collections.deque()
        self._wake = threading.Event()
        self._ended = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Starts the thread; called in the event loop that takes the news."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether requests are answered."""
        return self.failure is None and not self.stopping and self._thread.is_alive()

    def submit(self, requests: Sequence[Request]) -> Job:
        """Takes the texts of one request.

        Raises:
          ApiError: too many wait already (429), or the engine is not there (503).
        """
        if not self.alive:
            raise unavailable(
                "the server is shutting down" if self.stopping else "the engine has failed"
            )
        running, waiting = self.engine.counts()
        if running + waiting + len(requests) > self.engine.slots + self.queue and waiting:
            raise ApiError(
                429,
                f"{waiting} texts wait already, and at most {self.queue} may: try again later",
                kind="rate_limit_error",
                code="queue_full",
                headers={"Retry-After": _RETRY_SECONDS},
            )
        job = Job(self, len(requests))
        self._jobs.add(job)
        try:
            for number, request in enumerate(requests):
                job.identities.append(self.engine.submit(request, self._listener(job, number)))
        except InputError as error:
            self.close(job)
            raise bad_request(str(error), "prompt") from error
        self._wake.set()
        return job

    def close(self, job: Job) -> None:
        """Nobody listens to a job any more: what is not finished is cancelled."""
        self._jobs.discard(job)
        if job.closed:
            return
        job.closed = True
        for number in sorted(job.unfinished & set(range(len(job.identities)))):
            self.engine.cancel(job.identities[number])
        if job.unfinished:
            self.metrics.cancelled.inc(len(job.unfinished))

    def abort(self, error: ApiError) -> None:
        """Ends every job with an error."""
        for job in list(self._jobs):
            job.queue.put_nowait(error)

    def stop(self) -> None:
        """Ends the thread after the step that it is in."""
        self.stopping = self._ended = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def _listener(self, job: Job, number: int) -> Callable[[Event], None]:
        def listen(event: Event) -> None:
            if not job.closed:
                self._news.append(_News(job, number, event))

        return listen

    def _run(self) -> None:
        try:
            while not self._ended:
                self._wake.clear()
                more = self.engine.step()
                self._send()
                if not more:
                    self._wake.wait()
        except BaseException as error:
            log.exception("the engine has failed")
            self.failure = error
            self._call(self._fail)

    def _send(self) -> None:
        news = []
        while self._news:
            news.append(self._news.popleft())
        if news:
            self._call(self._deliver, news)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # The loop is closed: the process ends.
            self._ended = True

    def _fail(self) -> None:
        self.abort(ApiError(500, "the engine has failed; the server's log says why"))

    def _deliver(self, news: Sequence[_News]) -> None:
        now = time.monotonic()
        for job, number, event in ((one.job, one.number, one.event) for one in news):
            if job.closed:
                continue
            if event.ids:
                first = job.last[number] == job.began
                histogram = self.metrics.first_token if first else self.metrics.between_tokens
                histogram.observe(now - job.last[number])
                self.metrics.generated.inc(len(event.ids))
                job.last[number] = now
            job.queue.put_nowait((number, event))


def warm_up(engine: Engine) -> None:
    """Compiles what requests will run, so that no client waits for it.

    As many texts as there are slots, each a token longer than the one before: the batch has every
    size on the way. Prompts of several lengths: each program for a piece of a prompt runs.
    """
    lengths = [n for n in (2, 17, 65, 257) if n < engine.length // 2] or [1]
    for number in range(engine.slots):
        length = lengths[number % len(lengths)]
        # Different prompts, or they would be taken over from each other.
        prompt = tuple((number + 1 + place) % engine.vocab_size for place in range(length))
        settings = SamplingSettings(
            max_new_tokens=min(number + 2, engine.length - length), ignore_eos=True, logprobs=0
        )
        engine.submit(
            Request(prompt, settings, score_prompt=number % 2 == 1 and length < 100),
            lambda event: None,
        )
    engine.run()
