"""Beam's local runner with bundles of bounded size, and without storing what is flattened.

`FnApiRunner` hands each worker its whole share of a stage as one bundle: memory grows with
the corpus, and all wait for the worker whose share happens to be slow. Here a stage is cut
into pieces of a few megabytes, and a worker that is done takes the next one.

It also writes what a `Flatten` collects into a buffer of its own, to be read again by what
follows. Here what follows is applied to each of its inputs (`unzipping`), as Dataflow does.

Nothing else is changed, results included. `--runner=FnApiRunner` is Beam's own. Written for
the versions of Beam that pyproject.toml allows: what is used of it is not its public face.
"""

import contextlib
import copy
import itertools
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

from apache_beam.coders.coder_impl import create_InputStream, create_OutputStream
from apache_beam.metrics import monitoring_infos
from apache_beam.portability.api import beam_fn_api_pb2, beam_runner_api_pb2
from apache_beam.portability.common_urns import primitives
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, execution, translations
from apache_beam.runners.portability.fn_api_runner.fn_runner import (
    BundleManager,
    BundleProcessResult,
)
from apache_beam.runners.portability.fn_api_runner.translations import Stage, TransformContext
from apache_beam.runners.portability.fn_api_runner.worker_handlers import WorkerHandler
from apache_beam.runners.worker.data_plane import InMemoryDataChannel
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.utils import thread_pool_executor
from apache_beam.utils.windowed_value import PaneInfo, PaneInfoTiming

from beam_pipelines.child_processes import children
from beam_pipelines.unzipping import unzip_flattens

# Larger buffers are given back to the system and asked for again, page by page.
PIECE_BYTES = 4 << 20
# For each worker, where a stage has little data: they seldom take the same time.
_PIECES_A_WORKER = 4
_WATCH_SECONDS = 1.0
# In the command that Beam starts a worker with, shell or not.
_WORKER = b"apache_beam.runners.worker.sdk_worker_main"


class WorkerLostError(RuntimeError):
    """A worker process is gone before the job is done."""


class LocalRunner(FnApiRunner):
    """Runs a pipeline in this process, or in the processes that `--direct_*` asks for."""

    def create_stages(
        self, pipeline_proto: beam_runner_api_pb2.Pipeline
    ) -> tuple[TransformContext, list[Stage]]:
        """The phases of `FnApiRunner`, and `unzip_flattens`."""
        return translations.create_and_optimize_stages(
            copy.deepcopy(pipeline_proto),
            phases=[
                translations.annotate_downstream_side_inputs,
                translations.fix_side_input_pcoll_coders,
                translations.pack_combiners,
                translations.lift_combiners,
                translations.expand_sdf,
                translations.expand_gbk,
                unzip_flattens,
                translations.sink_flattens,
                translations.greedily_fuse,
                translations.read_to_impulse,
                translations.impulse_to_input,
                translations.sort_stages,
                translations.add_impulse_to_dangling_transforms,
                translations.setup_timer_mapping,
                translations.populate_data_channel_coders,
            ],
            known_runner_urns=frozenset([primitives.FLATTEN.urn, primitives.GROUP_BY_KEY.urn]),
            use_state_iterables=self._use_state_iterables,
            is_drain=self._is_drain,
        )

    def _get_bundle_manager(self, bundle_context_manager: execution.BundleContextManager) -> Any:
        if bundle_context_manager.stage.is_stateful():
            # A key's state has to be in one place, and pieces would part it.
            return super()._get_bundle_manager(bundle_context_manager)
        return _InPieces(
            bundle_context_manager,
            self._progress_frequency,
            cache_token_generator=FnApiRunner.get_cache_token_generator(static=False),
        )


class _InPieces(BundleManager):
    """Processes the input of a stage piece by piece, each worker one at a time."""

    def process_bundle(
        self,
        inputs: Mapping[str, execution.PartitionableBuffer],
        expected_outputs: Any,
        fired_timers: Any,
        expected_output_timers: Any,
        dry_run: bool = False,
    ) -> BundleProcessResult:
        context = self.bundle_context_manager
        handlers = context.worker_handlers
        pieces = _pieces_of(inputs, len(handlers))
        first = next(pieces, None)
        if first is None:
            # No element, no bundle, as on other runners: most stages of a graph with many rounds.
            for transform, buffer in expected_outputs.items():
                context.get_buffer(buffer, transform)
            return beam_fn_api_pb2.InstructionResponse(), []
        pieces = itertools.chain([first], pieces)
        taking, failed = threading.Lock(), threading.Event()

        def work(handler: WorkerHandler) -> tuple[list[Any], list[Any]]:
            own = copy.copy(context)
            own._worker_handlers = [handler]
            results, splits = [], []
            try:
                while not failed.is_set():
                    with taking:
                        piece = next(pieces, None)
                    if piece is None:
                        break
                    manager = _Piece(
                        own,
                        self._progress_frequency,
                        cache_token_generator=self._cache_token_generator,
                    )
                    result, split = manager.process_bundle(
                        piece, expected_outputs, {}, expected_output_timers, dry_run
                    )
                    results.append(result)
                    splits += split
            except BaseException:
                failed.set()
                raise
            return results, splits

        if len(handlers) == 1:
            outcomes = [work(handlers[0])]
        else:
            # Beam's threads do not keep a process alive: that of a dead worker never returns.
            with thread_pool_executor.shared_unbounded_instance() as executor:
                working = [executor.submit(work, handler) for handler in handlers]
                outcomes = _wait(working, handlers)
        return (
            _merged([result for results, _ in outcomes for result in results]),
            [split for _, splits in outcomes for split in splits],
        )


class _Piece(BundleManager):
    """Processes one piece."""

    def _send_input_to_worker(
        self, process_bundle_id: str, read_transform_id: str, byte_streams: Iterable[bytes]
    ) -> None:
        assert self._worker_handler is not None
        channel = self._worker_handler.data_conn
        if not isinstance(channel, InMemoryDataChannel):
            super()._send_input_to_worker(process_bundle_id, read_transform_id, byte_streams)
            return
        # What a stream would copy twice.
        channel.inverse()._inputs += [
            beam_fn_api_pb2.Elements.Data(
                instruction_id=process_bundle_id, transform_id=read_transform_id, data=chunk
            )
            for chunk in byte_streams
        ]


def _wait(working: list[futures.Future], handlers: list[WorkerHandler]) -> list[Any]:
    """What the threads return, until one fails or a worker process is gone."""
    while True:
        done, waiting = futures.wait(
            working, timeout=_WATCH_SECONDS, return_when=futures.FIRST_EXCEPTION
        )
        outcomes = [future.result() for future in done]
        if not waiting:
            return outcomes
        for handler in handlers:
            process = getattr(handler, "worker_thread", None)
            if process is not None and not process.is_alive():
                # Beam waits for the others as it ends, and one that is not connected yet
                # would wait for it.
                _kill_workers()
                raise WorkerLostError(
                    "a worker process ended in the middle of its work (killed, or out of memory): "
                    "nothing of the output is in place; start the job again, with fewer workers "
                    "(--direct_num_workers) if memory was short"
                )


def _kill_workers() -> None:
    """Kills Beam's worker processes of this one, with all that they started; Linux only."""
    for child in children(os.getpid()):
        with contextlib.suppress(OSError):
            if _WORKER in Path(f"/proc/{child}/cmdline").read_bytes():
                _kill(child)


def _kill(process: int) -> None:
    for child in children(process):
        _kill(child)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _merged(results: list[Any]) -> Any:
    """One response with the metrics of all."""
    if len(results) == 1:
        return results[0]
    infos = monitoring_infos.consolidate(
        itertools.chain.from_iterable(r.process_bundle.monitoring_infos for r in results)
    )
    roots = itertools.chain.from_iterable(r.process_bundle.residual_roots for r in results)
    return beam_fn_api_pb2.InstructionResponse(
        process_bundle=beam_fn_api_pb2.ProcessBundleResponse(
            monitoring_infos=infos, residual_roots=roots
        )
    )


def _pieces_of(
    inputs: Mapping[str, execution.PartitionableBuffer], workers: int
) -> Iterator[Mapping[str, Any]]:
    """Pieces of the inputs, one input after the other; none where there is no element."""
    nothing: dict[str, list[bytes]] = {name: [] for name in inputs}
    for name, buffer in inputs.items():
        cut = _cut_groups if isinstance(buffer, execution.GroupingBuffer) else _cut_list
        for piece in cut(buffer, workers):
            yield {**nothing, name: piece}


def _cut_list(buffer: Any, workers: int) -> Iterator[list[bytes]]:
    chunks = list(buffer)
    most = PIECE_BYTES
    if workers > 1:
        most = min(most, sum(map(len, chunks)) // (_PIECES_A_WORKER * workers))
    piece: list[bytes] = []
    size = 0
    for part in _parts(chunks, most, buffer._coder_impl):
        piece.append(part)
        size += len(part)
        if size >= most:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _parts(chunks: list[bytes], most: int, coder: Any) -> Iterator[bytes]:
    """The chunks, those that are larger than `most` cut between elements."""
    for chunk in chunks:
        if len(chunk) <= most:
            yield chunk
            continue
        stream = create_InputStream(chunk)
        start = 0
        while stream.size():
            coder.decode_from_stream(stream, True)
            end = len(chunk) - stream.size()
            if end - start >= most or end == len(chunk):
                yield chunk[start:end]
                start = end


def _cut_groups(buffer: Any, workers: int) -> Iterator[list[bytes]]:
    """Groups leave the buffer as they are encoded, so that they are not held twice."""
    if not buffer._windowing.is_default():
        yield from (part for part in buffer.partition(workers) if any(part))
        return
    in_window = GlobalWindows.windowed_value(
        None,
        timestamp=GlobalWindow().max_timestamp(),
        pane_info=PaneInfo(True, True, PaneInfoTiming.ON_TIME, 0, 0),
    ).with_value
    key_coder = buffer._key_coder.get_impl()
    coder = buffer._post_grouped_coder.get_impl()
    table = buffer._table
    most = len(table) if workers == 1 else -(-len(table) // (_PIECES_A_WORKER * workers))
    while table:
        stream = create_OutputStream()
        for _ in range(min(most, len(table))):
            key, values = table.popitem()
            coder.encode_to_stream(in_window((key_coder.decode(key), values)), stream, True)
            if stream.size() >= PIECE_BYTES:
                break
        yield [stream.get()]
