"""Stages of Beam's local runner without the buffers of `Flatten`.

A `Flatten` of several collections has to be stored, because a stage has one input. But
what is done to each element afterwards can as well be done to the elements of each input,
in the stages that make them, until they are grouped: groups take from any number of stages.
So each consumer of a `Flatten` is cloned once an input, and its outputs are flattened
instead; a `Flatten` in front of a `GroupByKey` becomes one write an input. What cannot be
cloned (it keeps state, splits its elements, or has the collection as a side input) stays
behind a stored `Flatten`. Next: `local_runner`.
"""

from collections.abc import Iterable, Iterator

from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.portability.common_urns import combine_components, primitives
from apache_beam.runners.portability.fn_api_runner import translations
from apache_beam.runners.portability.fn_api_runner.translations import (
    Stage,
    TransformContext,
    only_element,
    only_transform,
)
from apache_beam.runners.worker import bundle_processor
from apache_beam.utils import proto_utils

_ONE_BY_ONE = (
    primitives.PAR_DO.urn,
    combine_components.COMBINE_PER_KEY_PRECOMBINE.urn,
    bundle_processor.IDENTITY_DOFN_URN,
)


def unzip_flattens(stages: Iterable[Stage], context: TransformContext) -> Iterator[Stage]:
    """A phase of `FnApiRunner.create_stages`, between `expand_gbk` and `sink_flattens`."""
    unzipping = _Unzipping(
        list(translations.fix_flatten_coders(stages, context, primitives.FLATTEN.urn)), context
    )
    unzipping.run()
    return iter(unzipping.stages)


class _Unzipping:
    """Stages of one transform each, on the way."""

    def __init__(self, stages: list[Stage], context: TransformContext) -> None:
        self.stages = stages
        self._components = context.components

    def run(self) -> None:
        waiting = [stage for stage in self.stages if _flattens(stage)]
        while waiting:
            waiting += self._unzip(waiting.pop())
        for stage in self.stages:
            if _writes_groups(stage):
                # The runner asks the grouping for the coder of its input; theirs are equal.
                write = only_transform(stage.transforms)
                _, name = translations.split_buffer_id(write.spec.payload)
                grouping = self._components.transforms[name]
                for local in grouping.inputs:
                    grouping.inputs[local] = only_element(write.inputs.values())

    def _unzip(self, stage: Stage) -> list[Stage]:
        """Takes a `Flatten` away, if it can be; what is to be looked at next."""
        flatten = only_transform(stage.transforms)
        output = only_element(flatten.outputs.values())
        readers = [s for s in self.stages if output in only_transform(s.transforms).inputs.values()]
        if not all(_can_be_cloned(reader, output) for reader in readers):
            return []
        inputs = dict(flatten.inputs)
        made: list[Stage] = []
        for reader in readers:
            if _flattens(reader):
                _take_over(only_transform(reader.transforms), output, inputs)
                continue
            clones = [self._clone(reader, local, inputs[local], output) for local in inputs]
            flattens = list(self._flattened(reader, clones))
            self._replace(reader, [*clones, *flattens])
            made += flattens
        self._replace(stage, [])
        return made

    def _clone(self, stage: Stage, local: str, source: str, output: str) -> Stage:
        """The stage, reading `source` instead of `output`."""
        clone = beam_runner_api_pb2.PTransform()
        clone.CopyFrom(only_transform(stage.transforms))
        clone.unique_name = f"{clone.unique_name}/{local}"
        for name, read in list(clone.inputs.items()):
            if read == output:
                clone.inputs[name] = source
        pcollections = self._components.pcollections
        for tag, original in list(clone.outputs.items()):
            name = translations.unique_name(pcollections, f"{original}/{local}")
            pcollections[name].CopyFrom(pcollections[original])
            pcollections[name].unique_name = name
            clone.outputs[tag] = name
        return Stage(
            f"{stage.name}/{local}",
            [clone],
            downstream_side_inputs=stage.downstream_side_inputs,
            must_follow=stage.must_follow,
        )

    def _flattened(self, stage: Stage, clones: list[Stage]) -> Iterator[Stage]:
        """A `Flatten` for every output of a stage, of those of its clones."""
        transform = only_transform(stage.transforms)
        for tag, original in transform.outputs.items():
            flatten = beam_runner_api_pb2.PTransform(
                unique_name=f"{transform.unique_name}/{tag}/Flatten",
                inputs={
                    f"{i}": only_transform(clone.transforms).outputs[tag]
                    for i, clone in enumerate(clones)
                },
                outputs={"out": original},
                spec=beam_runner_api_pb2.FunctionSpec(urn=primitives.FLATTEN.urn),
                environment_id=transform.environment_id,
            )
            yield Stage(
                flatten.unique_name,
                [flatten],
                downstream_side_inputs=stage.downstream_side_inputs,
                must_follow=stage.must_follow,
            )

    def _replace(self, stage: Stage, made: list[Stage]) -> None:
        at = self.stages.index(stage)
        self.stages[at : at + 1] = made
        for other in self.stages:
            if stage in other.must_follow:
                other.must_follow = (other.must_follow - {stage}) | frozenset(made)


def _flattens(stage: Stage) -> bool:
    transform = only_transform(stage.transforms)
    return transform.spec.urn == primitives.FLATTEN.urn and len(transform.inputs) > 1


def _writes_groups(stage: Stage) -> bool:
    spec = only_transform(stage.transforms).spec
    return (
        spec.urn == bundle_processor.DATA_OUTPUT_URN
        and translations.split_buffer_id(spec.payload)[0] == "group"
    )


def _can_be_cloned(stage: Stage, pcollection: str) -> bool:
    transform = only_transform(stage.transforms)
    if _flattens(stage) or _writes_groups(stage):
        return True
    if transform.spec.urn not in _ONE_BY_ONE or stage.is_stateful():
        return False
    if transform.spec.urn == primitives.PAR_DO.urn:
        payload = proto_utils.parse_Bytes(transform.spec.payload, beam_runner_api_pb2.ParDoPayload)
        if payload.restriction_coder_id:
            return False
    return pcollection not in stage.side_inputs()


def _take_over(
    flatten: beam_runner_api_pb2.PTransform, output: str, inputs: dict[str, str]
) -> None:
    """Reads the inputs of another `Flatten` in the place of its output."""
    kept = [read for read in flatten.inputs.values() if read != output]
    flatten.inputs.clear()
    flatten.inputs.update({f"{i}": read for i, read in enumerate([*kept, *inputs.values()])})
