"""W&B gets what the files get; without the package the message says what to do."""

import json
import struct
import sys
import time

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.training.metrics import MetricsWriter
from opencoder_jax.training.wandb_metrics import WandbConfig, open_wandb

OFFLINE = WandbConfig("opencoder-tests", mode="offline")


def _history(path):
    """The logged lines of an offline run's file: LevelDB's log format, one protobuf a record."""
    from wandb.proto import wandb_internal_pb2

    data = path.read_bytes()
    lines, place, record = [], 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            message = wandb_internal_pb2.Record.FromString(record)
            record = b""
            if message.WhichOneof("record_type") == "history":
                items = message.history.item
                lines.append(
                    {
                        item.key or ".".join(item.nested_key): json.loads(item.value_json)
                        for item in items
                    }
                )
    return lines


@pytest.mark.slow
def test_an_offline_run_holds_every_line_under_one_id(tmp_path):
    pytest.importorskip("wandb")
    for first in (1, 3):  # The second process goes on.
        with (
            open_wandb(OFFLINE, tmp_path, {"learning_rate": 3e-4}) as run,
            MetricsWriter(tmp_path / "train", first - 1, run.write) as writer,
        ):
            writer.write(first, {"loss": 4.0 / first})
            writer.write(first + 1, {"loss": 4.0 / (first + 1), "timing/mfu": 0.5})
    files = sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    run_id = (tmp_path / "wandb" / "run-id").read_text()
    assert {path.name for path in files} == {f"run-{run_id}.wandb"}
    deadline = time.monotonic() + 120  # W&B's own process writes a little later.
    while len(lines := [line for path in files for line in _history(path)]) < 4:
        assert time.monotonic() < deadline, lines
        time.sleep(0.1)
    lines.sort(key=lambda line: line["_step"])
    assert [(line["_step"], line["train/loss"]) for line in lines] == [
        (1, 4.0),
        (2, 2.0),
        (3, 4 / 3),
        (4, 1.0),
    ]
    assert lines[1]["train/timing/mfu"] == 0.5


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"pip install opencoder-jax\[wandb\]"):
        open_wandb(OFFLINE, tmp_path, {}).__enter__()


def test_a_wrong_mode_is_refused():
    with pytest.raises(InputError, match="mode is 'disabled', expected one of"):
        WandbConfig("p", mode="disabled")
