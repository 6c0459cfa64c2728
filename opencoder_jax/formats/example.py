"""`tf.train.Example` without TensorFlow.

Records are serialized `tf.train.Example` so that TFDS, seqio, T5X and MaxText read
them. The message is described here field by field (tensorflow/core/example/*.proto)
in a descriptor pool of its own, so importing TensorFlow beside it cannot clash.
Serialization is deterministic: the same features give the same bytes, which
manifests rely on when they compare shards.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from opencoder_jax.errors import InputError

FeatureValue = bytes | str | int | float | Sequence[Any] | np.ndarray


class RecordError(InputError):
    """A record that cannot be decoded, or lacks a feature that its reader needs."""


def _example_class() -> Any:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="opencoder_jax/example.proto", package="tensorflow", syntax="proto3"
    )

    def message(name: str) -> descriptor_pb2.DescriptorProto:
        return file.message_type.add(name=name)

    for name, kind in (
        ("BytesList", field.TYPE_BYTES),
        ("FloatList", field.TYPE_FLOAT),
        ("Int64List", field.TYPE_INT64),
    ):
        message(name).field.add(name="value", number=1, type=kind, label=field.LABEL_REPEATED)

    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("bytes_list", "float_list", "int64_list"), start=1):
        feature.field.add(
            name=name,
            number=number,
            type=field.TYPE_MESSAGE,
            label=field.LABEL_OPTIONAL,
            type_name=f".tensorflow.{name.title().replace('_', '')}",
            oneof_index=0,
        )

    features = message("Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(
        name="value",
        number=2,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_OPTIONAL,
        type_name=".tensorflow.Feature",
    )
    features.field.add(
        name="feature",
        number=1,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_REPEATED,
        type_name=".tensorflow.Features.FeatureEntry",
    )
    message("Example").field.add(
        name="features",
        number=1,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_OPTIONAL,
        type_name=".tensorflow.Features",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


Example = _example_class()


def encode_example(features: Mapping[str, FeatureValue]) -> bytes:
    """Serializes `features` as a `tf.train.Example`.

    Args:
      features: name to value; strings are stored as UTF-8, a scalar as a list of one.

    Raises:
      TypeError: a value is none of bytes, str, int, float or a sequence of one of them.
    """
    example = Example()
    for name, value in features.items():
        feature = example.features.feature[name]
        # First what documents are made of, which are most records.
        if isinstance(value, str):
            feature.bytes_list.value.append(value.encode("utf-8"))
            continue
        if isinstance(value, int):
            feature.int64_list.value.append(value)
            continue
        values: Any = value.tolist() if isinstance(value, np.ndarray) else value
        if isinstance(values, bytes | float):
            values = [values]
        first = values[0] if len(values) else None
        if first is None:
            feature.int64_list.SetInParent()
        elif isinstance(first, str):
            feature.bytes_list.value.extend(v.encode("utf-8") for v in values)
        elif isinstance(first, bytes):
            feature.bytes_list.value.extend(values)
        elif isinstance(first, float):
            feature.float_list.value.extend(values)
        elif isinstance(first, int):
            feature.int64_list.value.extend(values)
        else:
            raise TypeError(f"feature {name!r}: {type(first).__name__} has no place in an Example")
    return example.SerializeToString(deterministic=True)


def decode_example(record: bytes) -> dict[str, list]:
    """Name to list of values (bytes, floats or ints) of a serialized `tf.train.Example`.

    Raises:
      RecordError: `record` is no serialized Example.
    """
    try:
        example = Example.FromString(record)
    except DecodeError as error:
        raise RecordError(f"not a tf.train.Example ({len(record)} bytes): {error}") from error
    decoded = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        decoded[name] = list(getattr(feature, kind).value) if kind else []
    return decoded
