"""TensorBoard's event files without TensorFlow, which takes seconds and a gigabyte to import.

A file is a sequence of records, as TFRecord frames them: length, checksum of the length,
content, checksum of the content; the checksums are CRC-32C, "masked" by a rotation and a
sum. A content is an `Event` message (tensorflow/core/util/event.proto), of which scalars
and the start of a session are described here, in a descriptor pool of its own.
"""

import functools
import struct
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# SessionLog.SessionStatus: what TensorBoard's reader drops superseded points at.
SESSION_START = 1


class EventFile:
    """Appends events to one file."""

    def __init__(self, path: str | Path):
        self._file = Path(path).open("ab")  # noqa: SIM115

    def write(self, **fields: Any) -> None:
        """Adds an `Event` and hands it to the system.

        Args:
          **fields: `wall_time` (seconds), `step`, and one of `file_version`,
            `summary={"value": [{"tag": ..., "simple_value": ...}]}`,
            `session_log={"status": SESSION_START}`.
        """
        content = _event_class()(**fields).SerializeToString()
        length = struct.pack("<Q", len(content))
        self._file.write(length + _masked_crc32c(length) + content + _masked_crc32c(content))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


@functools.cache
def _event_class() -> Any:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="opencoder_jax/event.proto", package="tensorflow", syntax="proto3"
    )
    messages: dict[str, tuple[tuple[str, int, int, str | None], ...]] = {
        "Value": (("tag", 1, field.TYPE_STRING, None), ("simple_value", 2, field.TYPE_FLOAT, None)),
        "Summary": (("value", 1, field.TYPE_MESSAGE, "Value"),),
        "SessionLog": (("status", 1, field.TYPE_INT32, None),),
        "Event": (
            ("wall_time", 1, field.TYPE_DOUBLE, None),
            ("step", 2, field.TYPE_INT64, None),
            ("file_version", 3, field.TYPE_STRING, None),
            ("summary", 5, field.TYPE_MESSAGE, "Summary"),
            ("session_log", 7, field.TYPE_MESSAGE, "SessionLog"),
        ),
    }
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for title, number, kind, of in fields:
            label = field.LABEL_REPEATED if name == "Summary" else field.LABEL_OPTIONAL
            type_name = f".tensorflow.{of}" if of else None
            message.field.add(
                name=title, number=number, type=kind, label=label, type_name=type_name
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Event"))


def _masked_crc32c(content: bytes) -> bytes:
    table = _crc32c_table()
    crc = 0xFFFFFFFF
    for byte in content:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@functools.cache
def _crc32c_table() -> tuple[int, ...]:
    """Of the polynomial 0x1EDC6F41 (Castagnoli), bits reversed."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)
