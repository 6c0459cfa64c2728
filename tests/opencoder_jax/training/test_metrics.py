"""The series of a resumed run is that of an uninterrupted one."""

import json

from opencoder_jax.training.metrics import METRICS_FILE, MetricsWriter, read_metrics


def _write(folder, resume_step, steps):
    with MetricsWriter(folder, resume_step) as writer:
        for step in steps:
            writer.write(step, {"loss": 1.0 / step})


def test_lines_past_the_restored_step_are_removed(tmp_path):
    _write(tmp_path / "interrupted", 0, range(1, 8))
    _write(tmp_path / "interrupted", 4, range(5, 11))
    _write(tmp_path / "whole", 0, range(1, 11))
    interrupted, whole = (tmp_path / name / METRICS_FILE for name in ("interrupted", "whole"))
    assert interrupted.read_text() == whole.read_text()


def test_a_line_cut_short_by_a_kill_is_removed(tmp_path):
    _write(tmp_path, 0, range(1, 4))
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"step": 4, "lo')
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3]
    _write(tmp_path, 3, [4])
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3, 4]


def test_losses_are_written_to_the_last_bit(tmp_path):
    value = float.fromhex("0x1.91eb860000000p+2")
    with MetricsWriter(tmp_path, 0) as writer:
        writer.write(1, {"loss": value})
    assert json.loads((tmp_path / METRICS_FILE).read_text())["loss"] == value


def test_tensorboard_reads_the_scalars_and_the_restart(tmp_path):
    import tensorflow as tf

    _write(tmp_path, 0, [1])
    _write(tmp_path, 1, [2])
    scalars, starts = {}, []
    for path in tmp_path.glob("events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            scalars |= {(v.tag, event.step): v.simple_value for v in event.summary.value}
            if event.HasField("session_log"):
                starts.append(event.step)
    assert scalars == {("loss", 1): 1.0, ("loss", 2): 0.5}
    assert sorted(starts) == [1, 2]
