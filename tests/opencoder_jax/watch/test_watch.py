"""A run can be watched before it begins, while it trains, when it has died, and afterwards."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opencoder_jax import configuration
from opencoder_jax.training.goodput import Stopwatch
from opencoder_jax.watch import __main__ as command
from opencoder_jax.watch.run_state import Series, Watcher
from opencoder_jax.watch.screen import duration, sparkline


def _claim(model_dir: Path, train_steps: int = 100) -> None:
    model_dir.mkdir(parents=True, exist_ok=True)
    run = {
        "config": {"train_steps": train_steps, "first_step": 0},
        "inputs": {"data.batch_size": 8},
    }
    (model_dir / "run.json").write_text(json.dumps(run))


def _write_lines(model_dir: Path, steps: range, series: str = "train", **values: float) -> None:
    folder = model_dir / series
    folder.mkdir(exist_ok=True)
    with (folder / "metrics.jsonl").open("a") as file:
        for step in steps:
            line = {
                "step": step,
                "loss_per_nonpadding_target_token": 8.0 / step,
                "timing/seqs_per_second": 4.0,
                "tokens_seen/refinecode": 100 * step,
                "loss_per_nonpadding_target_token/refinecode": 1.25,
                **values,
            }
            file.write(json.dumps(line) + "\n")


def _begin(model_dir: Path) -> Stopwatch:
    stopwatch = Stopwatch(model_dir)
    stopwatch.begin(0)
    return stopwatch


def _printed(model_dir: Path, capsys) -> str:
    assert (
        configuration.main(
            command.watch,
            [str(model_dir), "--once"],
            words="model_dir",
            flags={"once": "watch.once"},
        )
        == 0
    )
    return capsys.readouterr().out


def _age_files(model_dir: Path, seconds: float) -> None:
    then = time.time() - seconds
    for path in model_dir.rglob("*"):
        os.utime(path, (then, then))


def test_before_the_run_begins_it_waits(tmp_path, capsys):
    assert "waiting: no run has begun" in _printed(tmp_path / "nowhere", capsys)
    _claim(tmp_path / "run")
    assert "starting" in _printed(tmp_path / "run", capsys)


def test_a_running_process_is_training_with_its_figures(tmp_path, capsys):
    _claim(tmp_path)
    watch = _begin(tmp_path)
    _write_lines(tmp_path, range(1, 26), skipped_steps=3.0, **{"timing/mfu": 0.416})
    _write_lines(
        tmp_path, range(20, 21), "heldout", **{"bits_per_byte": 2.5, "bits_per_byte/c": 2.75}
    )
    (tmp_path / "checkpoint_20").mkdir()
    watch.record(25)
    text = _printed(tmp_path, capsys)
    # 75 steps of 8 sequences at 4 a second.
    for expected in (
        "training",
        "step 25 of 100",
        "25.0%",
        "2 min 30 s left",
        "0.3200",
        "41.6%",
        "2.5000 at 20",
        "c 2.750",
        "step 20,",
        "1.2500",
        "2,500",
        "█",
    ):
        assert expected in text
    assert Watcher(str(tmp_path)).look().train[-1]["skipped_steps"] == 3.0


def test_a_process_that_is_gone_has_stopped_and_one_that_says_nothing_is_stale(tmp_path, capsys):
    _claim(tmp_path)
    script = (
        "import sys; from opencoder_jax.training.goodput import Stopwatch;"
        "Stopwatch(sys.argv[1]).begin(0)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    _write_lines(tmp_path, range(1, 5))
    assert "stopped: its process is gone" in _printed(tmp_path, capsys)
    # The same command again: it starts.
    time.sleep(0.02)
    _claim(tmp_path)
    assert "starting" in _printed(tmp_path, capsys)
    _begin(tmp_path)
    assert Watcher(str(tmp_path)).look().status == "training"
    _age_files(tmp_path, 3600)
    assert "stale: nothing written for 1 h" in _printed(tmp_path, capsys)


def test_a_finished_run_is_shown_and_the_live_view_ends(tmp_path, capsys):
    _claim(tmp_path)
    _begin(tmp_path).record(100)
    _write_lines(tmp_path, range(1, 101))
    (tmp_path / "manifest.json").write_text("{}")
    text = _printed(tmp_path, capsys)
    assert "finished" in text
    assert "step 100 of 100" in text


def test_lines_are_followed_and_read_again_when_a_resumed_run_cuts_them_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    series = Series(path)
    series.update()
    assert series.lines == []
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert series.update() == [{"step": 1}, {"step": 2}]
    with path.open("a") as file:
        file.write('ep": 3}\n')
    assert series.update() == [{"step": 3}]
    # As MetricsWriter does: another file in its place.
    other = tmp_path / "other"
    other.write_text('{"step": 1}\n{"step": 2, "made": "again"}\n{"step": 3}\n')
    other.replace(path)
    series.update()
    assert series.lines == [{"step": 1}, {"step": 2, "made": "again"}, {"step": 3}]


def test_anything_but_one_directory_is_refused(capsys):
    assert configuration.main(command.watch, [], words="model_dir") == 2
    assert "give one model directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], ""), ([1.0], "▁"), ([8, 1], "█▁"), ([0, 7, float("nan")], "▁█"), (range(8), "▁▂▃▄▅▆▇█")],
)
def test_a_sparkline_goes_from_the_lowest_block_to_the_highest(values, expected):
    assert sparkline(list(values)) == expected


def test_a_long_curve_is_drawn_from_means():
    assert sparkline([0.0, 2.0] * 50 + [4.0, 6.0] * 50, width=2) == "▁█"


def test_durations_have_the_unit_that_fits():
    assert [duration(s) for s in (0.4, 59, 60, 3725, 90000)] == [
        "0 s",
        "59 s",
        "1 min",
        "1 h 2 min",
        "1 d 1 h",
    ]


def test_in_a_terminal_it_follows_the_run_to_its_end(tmp_path):
    """A real pseudo-terminal; the run is written while it is watched."""
    _claim(tmp_path)
    watch = _begin(tmp_path)
    _write_lines(tmp_path, range(1, 11))
    main, side = pty.openpty()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "opencoder_jax.watch",
            str(tmp_path),
            "--gin.watch.refresh_seconds=0.1",
        ],
        stdin=side,
        stdout=side,
        stderr=side,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(side)
    seen = b""

    def read_until(text: bytes) -> None:
        nonlocal seen
        deadline = time.monotonic() + 120
        while text not in seen:
            assert time.monotonic() < deadline, seen[-2000:]
            if select.select([main], [], [], 0.2)[0]:
                try:
                    seen += os.read(main, 65536)
                except OSError:
                    break
        assert text in seen

    read_until(b"step 10 of 100")
    _write_lines(tmp_path, range(11, 101))
    read_until(b"step 100 of 100")
    watch.record(100)
    (tmp_path / "manifest.json").write_text("{}")
    read_until(b"finished")
    assert process.wait(60) == 0
    os.close(main)
