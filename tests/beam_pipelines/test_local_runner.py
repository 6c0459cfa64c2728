"""Our changes to Beam's local runner: where pieces are cut, what is sunk, what stays the same."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from beam_pipelines.local_runner import PIECE_BYTES, LocalRunner

MULTI = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


class CountBundles(beam.DoFn):
    def __init__(self, name: str) -> None:
        self._bundles = beam.metrics.Metrics.counter("bundles", name)

    def start_bundle(self) -> None:
        self._bundles.inc()

    def process(self, element: Any, *side: Any) -> Iterator[Any]:
        yield element


def text_of(number: int) -> str:
    """A megabyte that compresses to nothing in the graph."""
    return f"{number:06d}" + "x" * (1 << 20)


def bundles(pipeline: beam.Pipeline) -> dict[str, int]:
    found = pipeline.result.metrics().query()["counters"]
    return {c.key.metric.name: c.committed for c in found if c.key.metric.namespace == "bundles"}


def use_everything(p: beam.Pipeline) -> beam.PCollection:
    """A Flatten that is grouped, one that is not, two outputs, a side input, combiners."""
    numbers = p | beam.Create(range(200))
    odd = numbers | "Odd" >> beam.Filter(lambda n: n % 2)
    even = numbers | "Even" >> beam.Filter(lambda n: n % 2 == 0)
    total = numbers | "Total" >> beam.CombineGlobally(sum)
    grouped = (
        (
            odd | "KeyOdd" >> beam.Map(lambda n: (n % 7, n)),
            even | "KeyEven" >> beam.Map(lambda n: (n % 7, -n)),
        )
        | "Both" >> beam.Flatten()
        | beam.GroupByKey()
        | "Sums" >> beam.MapTuple(lambda key, values: (key, sum(values), len(list(values))))
    )
    nothing = odd | "None" >> beam.Filter(lambda _: False)
    united = (odd, even, nothing) | "United" >> beam.Flatten()
    shifted = united | "Shift" >> beam.Map(
        lambda n, total: ("shifted", n + total), beam.pvalue.AsSingleton(total)
    )
    empty = nothing | "EmptyCount" >> beam.combiners.Count.Globally()
    return (grouped, shifted, empty) | "All" >> beam.Flatten()


@pytest.mark.parametrize("options", [[], MULTI], ids=["one process", "two processes"])
def test_results_are_those_of_beams_own_runner(options: list[str], tmp_path: Path) -> None:
    written = {}
    for runner in (FnApiRunner(), LocalRunner()):
        target = tmp_path / type(runner).__name__
        options_of = beam.options.pipeline_options.PipelineOptions(options)
        with beam.Pipeline(runner=runner, options=options_of) as p:
            _ = use_everything(p) | beam.Map(repr) | beam.io.WriteToText(str(target))
        lines = [line for part in tmp_path.glob(f"{target.name}*") for line in part.open()]
        written[target.name] = sorted(lines)
    assert len(written["FnApiRunner"]) == 7 + 200 + 1
    assert written["LocalRunner"] == written["FnApiRunner"]


def names_of_transforms(p: beam.Pipeline, runner: FnApiRunner) -> list[str]:
    _, found = runner.create_stages(p.to_runner_api())
    return [t.unique_name for stage in found for t in stage.transforms]


def test_what_is_flattened_is_not_stored() -> None:
    p = beam.Pipeline(runner=FnApiRunner())
    use_everything(p) | "Write" >> beam.Map(print)
    stored = {"Both/Read", "United/Read", "All/Read"}
    assert stored <= set(names_of_transforms(p, FnApiRunner()))
    ours = names_of_transforms(p, LocalRunner())
    assert not stored & set(ours)
    assert sum(name.startswith("GroupByKey/Write/") for name in ours) == 2
    assert sum(name.startswith("Shift/") for name in ours) == 3


def test_what_cannot_be_cloned_reads_a_stored_flatten() -> None:
    class Numbered(beam.DoFn):
        SEEN = beam.transforms.userstate.CombiningValueStateSpec("seen", sum)

        def process(
            self,
            pair: tuple[str, int],
            seen: Any = beam.DoFn.StateParam(SEEN),  # noqa: B008
        ) -> Iterator[int]:
            seen.add(1)
            yield seen.read()

    def build(p: beam.Pipeline) -> beam.PCollection:
        first = p | "A" >> beam.Create([("k", 1), ("k", 2)])
        second = p | "B" >> beam.Create([("k", 3)])
        stateful = (first, second) | "Keyed" >> beam.Flatten() | beam.ParDo(Numbered())
        side = (first, second) | "Side" >> beam.Flatten()
        counted = (
            p
            | "C" >> beam.Create(["x"])
            | "Look" >> beam.Map(lambda _, pairs: len(list(pairs)), beam.pvalue.AsIter(side))
        )
        return (stateful, counted) | "Last" >> beam.Flatten()

    p = beam.Pipeline(runner=FnApiRunner())
    build(p)
    assert {"Keyed/Read", "Side/Read"} <= set(names_of_transforms(p, LocalRunner()))
    with beam.Pipeline(runner=LocalRunner()) as q:
        assert_that(build(q), equal_to([1, 2, 3, 3]))


def test_a_collection_that_is_flattened_with_itself_counts_twice() -> None:
    with beam.Pipeline(runner=LocalRunner()) as p:
        numbers = p | beam.Create([1, 2])
        twice = (numbers, numbers) | "Twice" >> beam.Flatten()
        nested = (twice, numbers) | "Nested" >> beam.Flatten() | beam.Map(lambda n: (n, 1))
        counts = nested | beam.CombinePerKey(sum)
        assert_that(counts, equal_to([(1, 3), (2, 3)]))


def test_a_large_stage_is_cut_into_pieces_and_every_element_arrives() -> None:
    count = 3 * PIECE_BYTES >> 20
    with beam.Pipeline(runner=LocalRunner()) as p:
        texts = (
            p
            | beam.Create(range(count))
            | beam.Map(lambda n: (n, text_of(n)))
            | beam.GroupByKey()
            | beam.ParDo(CountBundles("groups"))
            | beam.MapTuple(lambda n, texts: (n, len(list(texts))))
        )
        assert_that(texts, equal_to([(n, 1) for n in range(count)]))
    assert 3 <= bundles(p)["groups"] <= 4


def test_a_large_list_is_cut_between_elements() -> None:
    """A collection is stored as a list if its reader waits for something made of it."""
    count = 6 * PIECE_BYTES >> 20
    with beam.Pipeline(runner=LocalRunner()) as p:
        texts = p | beam.Create(range(count)) | "Texts" >> beam.Map(text_of)
        total = texts | beam.combiners.Count.Globally()
        lengths = (
            texts
            | beam.ParDo(CountBundles("list"), beam.pvalue.AsSingleton(total))
            | beam.Map(lambda text: (int(text[:6]), len(text)))
        )
        assert_that(lengths, equal_to([(n, (1 << 20) + 6) for n in range(count)]))
    assert 5 <= bundles(p)["list"] <= 8


def test_an_element_larger_than_a_piece_is_one_piece() -> None:
    with beam.Pipeline(runner=LocalRunner()) as p:
        lengths = (
            p
            | beam.Create([2 * PIECE_BYTES, 5])
            | beam.Map(lambda n: (n, "x" * n))
            | beam.GroupByKey()
            | beam.ParDo(CountBundles("groups"))
            | beam.MapTuple(lambda n, texts: len(next(iter(texts))))
        )
        assert_that(lengths, equal_to([2 * PIECE_BYTES, 5]))
    assert bundles(p)["groups"] in (1, 2)


def test_workers_share_a_small_stage() -> None:
    options = beam.options.pipeline_options.PipelineOptions(MULTI)
    with beam.Pipeline(runner=LocalRunner(), options=options) as p:
        pids = (
            p
            | beam.Create(range(64))
            | beam.Map(lambda n: (n, n))
            | beam.GroupByKey()
            | beam.Map(lambda _: (time.sleep(0.01), os.getpid())[1])
            | beam.combiners.ToSet()
            | beam.Map(len)
        )
        assert_that(pids, equal_to([2]))


@pytest.mark.parametrize("options", [[], MULTI], ids=["one process", "two processes"])
def test_an_error_of_a_worker_ends_the_job_with_it(options: list[str]) -> None:
    def fail(number: int) -> int:
        if number == 50:
            raise ValueError("fifty is no number")
        return number

    options_of = beam.options.pipeline_options.PipelineOptions(options)
    with (
        pytest.raises(Exception, match="fifty is no number"),
        beam.Pipeline(runner=LocalRunner(), options=options_of) as p,
    ):
        _ = p | beam.Create(range(100)) | beam.Reshuffle() | beam.Map(fail)


LOSES_A_WORKER = """
import os, signal, sys, time
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from beam_pipelines.local_runner import LocalRunner

def work(number, place):
    open(place, "a").write(f"{os.getpid()}\\n")
    time.sleep(0.2)

with beam.Pipeline(runner=LocalRunner(), options=PipelineOptions(sys.argv[2:])) as p:
    _ = p | beam.Create(range(1000)) | beam.Reshuffle() | beam.Map(work, sys.argv[1])
"""


def test_a_lost_worker_ends_the_job_with_an_error_that_says_so(tmp_path: Path) -> None:
    place = tmp_path / "pids"
    job = subprocess.Popen(
        [sys.executable, "-c", LOSES_A_WORKER, str(place), *MULTI],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while not (place.exists() and place.read_text().endswith("\n")):
            assert job.poll() is None
            time.sleep(0.05)
        os.kill(int(place.read_text().splitlines()[0]), signal.SIGKILL)
        _, errors = job.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
    assert job.returncode == 1
    assert "WorkerLostError: a worker process ended" in errors or "prematurely" in errors
