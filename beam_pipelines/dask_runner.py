"""Beam pipelines on a Dask cluster: an engine that shares no code with Beam's own runners.

    python -m beam_pipelines.refinecode ... --runner=DaskRunner \
      --dask_client_address=tcp://HOST:8786 --dask_npartitions=32

It exists to check that the result does not depend on the engine. Beam 2.77 has a
`DaskRunner` too, from which the flags and the result type are taken. But it hands every
output of a ParDo to whoever reads any of them, drops what `finish_bundle` emits, keeps
one partition where the pipeline says `Reshuffle`, computes the last branch of the graph
only, and each side input again in every task. So the translation here is our own: bounded
data in the global window, which is all that our jobs use; the rest is refused by name.
"""

import dataclasses
import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.internal import pickler
from apache_beam.metrics.metric import MetricResults
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor, PTransformOverride
from apache_beam.runners.common import DoFnContext, DoFnInvoker, DoFnSignature, Receiver
from apache_beam.runners.common import _OutputHandler as OutputHandler
from apache_beam.runners.dask.dask_runner import DaskOptions, DaskRunnerResult
from apache_beam.runners.dask.dask_runner import DaskRunner as BeamDaskRunner
from apache_beam.transforms.core import Impulse
from apache_beam.transforms.sideinputs import SideInputMap
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue
from dask import bag as dask_bag
from dask import delayed, distributed

from opencoder_jax.errors import InputError

_WINDOWS = GlobalWindows()
_PARTITIONS_PER_WORKER = 4
# (label, pickled DoFn with its arguments, names of its outputs, views of its side inputs)
_Work = tuple[str, bytes, tuple[str | None, ...], bytes]


class DaskRunner(BeamDaskRunner):
    """Runs bounded pipelines on `--dask_client_address`, or on a cluster that it starts itself.

    Raises:
      InputError: Dask is not installed, or the pipeline has a transform without a translation.
    """

    def run_pipeline(self, pipeline: beam.Pipeline, options: PipelineOptions) -> "DaskResult":
        flags = options.view_as(DaskOptions).get_all_options(drop_default=True, current_only=True)
        partitions = flags.pop("npartitions", None)
        if flags.pop("partition_size", None):
            raise InputError("--dask_partition_size: say --dask_npartitions instead")
        client = distributed.Client(**flags)
        workers = len(client.scheduler_info()["workers"])
        pipeline.replace_all([_ReshuffleOverride()])
        translation = _Translation(partitions or max(1, workers) * _PARTITIONS_PER_WORKER)
        pipeline.visit(translation)
        return DaskResult(client, client.compute(translation.ends()))


class DaskResult(DaskRunnerResult):
    """Beam's, with metrics that say nothing rather than raise, and a cluster that is left."""

    def wait_until_finish(self, duration: int | None = None) -> str:
        try:
            return super().wait_until_finish(duration)
        finally:
            self.client.close()

    def metrics(self) -> MetricResults:
        return _NoMetrics()


class _NoMetrics(MetricResults):
    def query(self, filter: Any = None) -> dict[str, list[Any]]:
        return {self.COUNTERS: [], self.DISTRIBUTIONS: [], self.GAUGES: [], self.STRINGSETS: []}


class _Spread(beam.PTransform):
    """Stands for `Reshuffle`."""

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        return pvalue.PCollection.from_(elements)


class _ReshuffleOverride(PTransformOverride):
    def matches(self, applied_ptransform: AppliedPTransform) -> bool:
        return isinstance(applied_ptransform.transform, beam.Reshuffle)

    def get_replacement_transform_for_applied_ptransform(
        self, applied_ptransform: AppliedPTransform
    ) -> beam.PTransform:
        return _Spread()


class _Translation(PipelineVisitor):
    """Builds a bag of plain values for each PCollection."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._bags: dict[pvalue.PValue, Any] = {}
        self._read: set[pvalue.PValue] = set()

    def ends(self) -> list[Any]:
        """Tasks that compute everything: the outputs that nothing reads."""
        return [
            part
            for pcollection, bag in self._bags.items()
            if pcollection not in self._read
            for part in bag.map_partitions(_forget).to_delayed(optimize_graph=False)
        ]

    def visit_transform(self, transform_node: AppliedPTransform) -> None:
        transform = transform_node.transform
        inputs = [value for value in transform_node.inputs if value in self._bags]
        bags = [self._bags[value] for value in inputs]
        self._read.update(inputs)
        outputs: dict[str | None, Any]
        if isinstance(transform, Impulse):
            outputs = {None: dask_bag.from_sequence([b""], npartitions=1)}
        elif isinstance(transform, beam.ParDo):
            outputs = self._par_do(transform_node, bags[0])
        elif isinstance(transform, beam.GroupByKey):
            outputs = {None: self._group_by_key(bags[0])}
        elif isinstance(transform, beam.Flatten):
            outputs = {None: self._no_more_partitions(dask_bag.concat(bags))}
        elif isinstance(transform, _Spread):
            outputs = {None: bags[0].repartition(npartitions=self._partitions)}
        else:
            raise _refusal(transform_node, type(transform).__name__)
        for tag, pcollection in transform_node.outputs.items():
            self._bags[pcollection] = outputs[str(tag) if str(tag) in outputs else None]

    def _group_by_key(self, pairs: Any) -> Any:
        """Dask's own asks Python for hashes, which differ between processes without its nanny."""
        count = self._partitions
        split = pairs.map_partitions(_split_by_key, count).to_delayed(optimize_graph=False)
        gather = delayed(_gather)
        return dask_bag.from_delayed([gather(*(part[i] for part in split)) for i in range(count)])

    def _no_more_partitions(self, elements: Any) -> Any:
        """Each flattening adds partitions, and a shuffle has as many tasks as their square."""
        if elements.npartitions <= self._partitions:
            return elements
        return elements.repartition(npartitions=self._partitions)

    def _par_do(self, node: AppliedPTransform, elements: Any) -> dict[str | None, Any]:
        transform: Any = node.transform
        signature = DoFnSignature(transform.fn)
        if signature.is_stateful_dofn() or signature.is_splittable_dofn():
            raise _refusal(node, "a stateful or splittable DoFn")
        if isinstance(transform, beam.WindowInto):
            raise _refusal(node, "windows")
        args, kwargs = transform.raw_side_inputs
        sides = []
        for view in node.side_inputs:
            self._read.add(view.pvalue)
            whole = self._bags[view.pvalue].repartition(npartitions=1)
            (side,) = whole.map_partitions(_as_list).to_delayed(optimize_graph=False)
            sides.append(side)
        names = tuple(None if tag in (None, "None") else str(tag) for tag in node.outputs)
        work: _Work = (
            node.full_label,
            pickler.dumps((transform.fn, list(args), dict(kwargs))),
            names,
            pickler.dumps([(type(view), view._view_options()) for view in node.side_inputs]),
        )
        everything = elements.map_partitions(_run_bundle, work, *sides)
        if len(names) == 1:
            return {names[0]: everything.map_partitions(_only, None)}
        return {name: everything.map_partitions(_only, name) for name in names}


def _refusal(node: AppliedPTransform, what: str) -> InputError:
    return InputError(
        f"--runner=DaskRunner cannot run {node.full_label} ({what}): "
        "choose another runner (docs/runners.md)"
    )


@dataclasses.dataclass
class _Collector(Receiver):
    """Takes the values of one output."""

    tag: str | None
    into: list[tuple[str | None, Any]]

    def receive(self, windowed_value: WindowedValue) -> None:
        self.into.append((self.tag, windowed_value.value))


class _Collectors(dict):
    """A collector for any output that is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.emitted: list[tuple[str | None, Any]] = []

    def __missing__(self, tag: str | None) -> _Collector:
        self[tag] = _Collector(tag, self.emitted)
        return self[tag]


@dataclasses.dataclass
class _InOneWindow:
    """A side input's values, as `SideInputMap` reads them."""

    values: Sequence[Any]

    def __iter__(self) -> Iterator[WindowedValue]:
        return (_windowed(value) for value in self.values)


def _run_bundle(
    elements: Iterable[Any], work: _Work, *sides: Sequence[Any]
) -> list[tuple[str | None, Any]]:
    """One bundle: (output, value) of everything that the DoFn emits."""
    label, pickled, _, pickled_views = work
    # Unpickled for each bundle: threads of a worker must not share a DoFn.
    do_fn, args, kwargs = pickler.loads(pickled)
    views = [
        SideInputMap(kind, options, _InOneWindow(values))
        for (kind, options), values in zip(pickler.loads(pickled_views), sides, strict=True)
    ]
    collectors = _Collectors()
    invoker = DoFnInvoker.create_invoker(
        DoFnSignature(do_fn),
        OutputHandler(
            window_fn=_WINDOWS,
            main_receivers=collectors[None],
            tagged_receivers=collectors,
            per_element_output_counter=None,
            output_batch_converter=None,
            process_yields_batches=False,
            process_batch_yields_elements=False,
        ),
        context=DoFnContext(label, state=None),
        side_inputs=views,
        input_args=args,
        input_kwargs=kwargs,
        user_state_context=None,
        bundle_finalizer_param=beam.DoFn.BundleFinalizerParam(),
    )
    invoker.invoke_setup()
    invoker.invoke_start_bundle()
    for element in elements:
        invoker.invoke_process(_windowed(element))
    invoker.invoke_finish_bundle()
    invoker.invoke_teardown()
    return collectors.emitted


def _only(emitted: Iterable[tuple[str | None, Any]], tag: str | None) -> list[Any]:
    return [value for name, value in emitted if name == tag]


def _windowed(value: Any) -> WindowedValue:
    return WindowedValue(value, GlobalWindow().start, (GlobalWindow(),))


def _split_by_key(pairs: Iterable[tuple[Any, Any]], count: int) -> list[list[tuple[Any, Any]]]:
    """The pairs by partition: keys are text, bytes, numbers and tuples of them."""
    split: list[list[tuple[Any, Any]]] = [[] for _ in range(count)]
    for pair in pairs:
        split[zlib.crc32(repr(pair[0]).encode("utf-8", "surrogatepass")) % count].append(pair)
    return split


def _gather(*parts: Sequence[tuple[Any, Any]]) -> list[tuple[Any, list]]:
    groups: dict[Any, list] = {}
    for key, value in itertools.chain(*parts):
        groups.setdefault(key, []).append(value)
    return list(groups.items())


def _as_list(elements: Iterable[Any]) -> list[Any]:
    return list(elements)


def _forget(elements: Iterable[Any]) -> list[Any]:
    """Computes a branch whose values nobody wants."""
    for _ in elements:
        pass
    return []
