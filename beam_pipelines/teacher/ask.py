"""Asks a teacher about every element, many at one time.

Elements are gathered into groups of a few thousand, and a worker keeps calls in flight through
a group and on into the next, so that the endpoint is idle only at the end of a bundle: a bundle
of twenty elements would never have more than twenty calls in flight. A few more calls than may
be in flight wait behind them, so that what follows (e.g. running an answer) costs no gap.
The order of elements is nobody's promise.
"""

import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, StandardOptions
from apache_beam.pvalue import AsSingleton, TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from beam_pipelines import dataflow, reporting, runner
from beam_pipelines.accounting import Drop, Split
from beam_pipelines.teacher import cache, estimate, replies
from beam_pipelines.teacher.client import Client, Outcome, client_of
from beam_pipelines.teacher.prompt import Answer, Answered, Prompt
from beam_pipelines.teacher.settings import Teacher
from beam_pipelines.teacher.usage import Counters
from beam_pipelines.teacher.vllm_server import VllmServer
from opencoder_jax.errors import InputError

_DROPPED = "dropped"
# Of a rejected answer in its drop: whole, unless a teacher does not stop.
REJECTED_CHARACTERS = 20_000
# Of elements, where a process takes one group at a time.
_GROUP = 2000
# Where bundles have many groups, and workers share them out.
_SMALL_GROUP = 250
_WAITING = 2
_LOCAL_RUNNERS = ("LocalRunner", "FnApiRunner")


class Ask(beam.PTransform):
    """PCollection[element] to `Split`: PCollection[Answered] and PCollection[Drop].

    Reasons of drops: `replies.REASONS`. The job ends with a `TeacherStoppedError` where the budget
    is spent, the endpoint refuses every call, or many calls in a row fail.
    """

    def __init__(
        self,
        teacher: Teacher,
        word: Callable[[Any], Prompt],
        drop: Callable[[Any, str, str], Drop],
        stage: str,
        allow_truncated: bool = False,
    ) -> None:
        """Args:
        teacher: who is asked.
        word: element to prompt; a function of the element alone, or no call is found again.
        drop: (element, reason, detail) to its record; its `sample` becomes the rejected answer,
          where there is one.
        stage: name of these calls in `usage.collect`; one job's are different.
        allow_truncated: keep answers that were cut at `max_tokens`.
        """
        super().__init__()
        self._teacher = teacher
        self._word = word
        self._drop = drop
        self._stage = stage
        self._allow_truncated = allow_truncated

    def expand(self, elements: beam.PCollection) -> Split:
        if isinstance(self._teacher, estimate.ForetellingTeacher):
            return self._foretell(elements, self._teacher)
        check_workers(elements.pipeline, self._teacher)
        workers = _local_workers(elements.pipeline)
        size = _GROUP if workers else _SMALL_GROUP
        count = elements | "Count" >> beam.combiners.Count.Globally()
        kind = elements.element_type or Any
        asked = (
            elements
            | "Spread"
            >> beam.ParDo(_Spread(workers or 1, size), count=AsSingleton(count)).with_output_types(
                tuple[int, kind]  # type: ignore[valid-type]
            )
            | "Group" >> beam.GroupByKey()
            | "Call"
            >> beam.ParDo(
                _Ask(self._teacher, self._word, self._drop, self._stage, self._allow_truncated)
            ).with_outputs(_DROPPED, main="kept")
        )
        return Split(asked.kept, asked[_DROPPED])

    def _foretell(self, elements: beam.PCollection, teacher: estimate.ForetellingTeacher) -> Split:
        teacher.stages.append(self._stage)
        told = elements | "Foretell" >> beam.ParDo(
            _Foretell(teacher, self._word, self._drop, self._stage, self._allow_truncated)
        ).with_outputs(_DROPPED, main="kept")
        return Split(told.kept, told[_DROPPED])


def check_workers(pipeline: beam.Pipeline, teacher: Teacher) -> None:
    """Refuses what workers on other machines would miss only after minutes.

    Raises:
      InputError: the runner is Dataflow, and the cache or the key is on this machine.
    """
    runner.require_shared_folders(pipeline, teacher_cache_dir=teacher.cache_dir)
    if dataflow.is_dataflow(pipeline.options) and not teacher.api_key_file and teacher.key():
        raise InputError(
            f"workers of Dataflow do not have this machine's {teacher.api_key_variable}: put the "
            "key into a file that they can read, --teacher_api_key_file=gs://BUCKET/KEY"
        )


def _local_workers(pipeline: beam.Pipeline) -> int:
    """Worker processes of a runner that gives each its share; 0: the runner is another kind."""
    name = pipeline.options.view_as(StandardOptions).runner or ""
    if name.rpartition(".")[2] not in _LOCAL_RUNNERS:
        return 0
    workers = pipeline.options.view_as(DirectOptions).direct_num_workers
    return workers or os.cpu_count() or 1


class _Spread(beam.DoFn):
    """Gives elements in turn to groups, at least one a worker."""

    def __init__(self, workers: int, size: int) -> None:
        self._workers = workers
        self._size = size
        self._next = 0

    def process(self, element: Any, count: int) -> Iterator[tuple[int, Any]]:
        groups = max(self._workers, -(-count // self._size))
        self._next += 1
        yield self._next % groups, element


class _Ask(beam.DoFn):
    """A group of elements to answers and drops, in the order in which they come."""

    def __init__(
        self,
        teacher: Teacher,
        word: Callable[[Any], Prompt],
        drop: Callable[[Any, str, str], Drop],
        stage: str,
        allow_truncated: bool,
    ) -> None:
        self._teacher = teacher
        self._word = word
        self._drop = drop
        self._stage = stage
        self._allow_truncated = allow_truncated

    def setup(self) -> None:
        reporting.quiet_worker()
        self._counters = Counters(self._stage)

    def start_bundle(self) -> None:
        find_url = None if self._teacher.url else VllmServer(self._teacher)
        self._client: Client = client_of(self._teacher, find_url)
        self._calls: dict[concurrent.futures.Future[Outcome], tuple[Any, Prompt]] = {}

    def process(self, group: tuple[int, Iterable[Any]]) -> Iterator[Any]:
        _, elements = group
        for element in elements:
            prompt = self._word(element)
            self._calls[self._client.submit(prompt)] = (element, prompt)
            if len(self._calls) >= _WAITING * self._teacher.parallel:
                yield from self._finished()

    def finish_bundle(self) -> Iterator[Any]:
        while self._calls:
            for made in self._finished():
                if isinstance(made, TaggedOutput):
                    yield TaggedOutput(made.tag, _in_window(made.value))
                else:
                    yield _in_window(made)
        self._client.ledger.write()

    def _finished(self) -> Iterator[Any]:
        """Waits for a call, and yields what became of all that are finished."""
        done, _ = concurrent.futures.wait(
            self._calls, return_when=concurrent.futures.FIRST_COMPLETED
        )
        for future in done:
            if future.exception() is not None:
                # What is in flight is paid for: it should be kept.
                concurrent.futures.wait(self._calls)
            outcome = future.result()
            element, prompt = self._calls.pop(future)
            self._counters.add(outcome)
            yield self._made(element, prompt, outcome)

    def _made(self, element: Any, prompt: Prompt, outcome: Outcome) -> Any:
        reply = outcome.reply
        if reply is None:
            return TaggedOutput(_DROPPED, self._drop(element, outcome.reason, outcome.detail))
        if problem := replies.unusable(reply, self._allow_truncated):
            drop = self._drop(element, *problem)
            if reply.text:
                # What was rejected, not what was asked about.
                drop = dataclasses.replace(drop, sample=reply.text[:REJECTED_CHARACTERS])
            return TaggedOutput(_DROPPED, drop)
        answer = Answer(
            text=reply.text,
            finish_reason=reply.finish_reason,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            teacher=self._teacher.model,
        )
        return Answered(element, prompt, answer)


class _Foretell(_Ask):
    """What the cache answers; the rest is counted and comes to nothing."""

    def setup(self) -> None:
        self._foretold = estimate.Counters(self._stage)
        self._cache = cache.CallCache(self._teacher.cache_dir)

    def start_bundle(self) -> None:
        """Nobody is asked."""

    def process(self, element: Any) -> Iterator[Any]:
        prompt = self._word(element)
        request = cache.request_of(self._teacher, prompt)
        try:
            reply = self._cache.get(cache.call_key(request), request)
        except cache.DamagedEntryError:
            reply = None
        if reply is None:
            self._foretold.add_call(prompt)
        else:
            self._foretold.add_cached()
            yield self._made(element, prompt, Outcome(reply, cached=True))

    def finish_bundle(self) -> None:  # type: ignore[override]
        """Nothing is in flight."""


def _in_window(value: Any) -> WindowedValue:
    return WindowedValue(value, MIN_TIMESTAMP, (GlobalWindow(),))
