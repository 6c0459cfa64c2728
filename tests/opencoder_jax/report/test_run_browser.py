"""Folders of runs read for their page: true curves, whose results are whose, damage told."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.report.run_browser import fields_of, names_of, shown_at_first
from opencoder_jax.report.run_curves import Lines, curves, read_lines, seconds
from opencoder_jax.report.run_folders import Found, RunFolder, read_runs
from opencoder_jax.sweep.browse import browse
from tests.opencoder_jax.report import run_folders


def lines_of(**columns: list[float]) -> Lines:
    return Lines({name: np.array(values, float) for name, values in columns.items()}, "")


def read(folder: Path, answers: int = 4) -> Found:
    return read_runs([("", folder)], answers=answers)


def one_run(folder: Path) -> RunFolder:
    (run,) = read(folder).runs
    return run


def test_no_spike_is_lost_and_the_ends_are_exact_however_long_a_run_was() -> None:
    steps = np.arange(1.0, 100_001)
    values = np.sin(steps)
    values[54_321] = 900.0
    values[77_777] = -900.0
    made = curves(Lines({"step": steps, "grad": values}, ""), buckets=200)
    means, lows, highs = made["series"]["grad"]
    assert len(made["step"]) == len(means) == 200
    assert (max(highs), min(lows)) == (900.0, -900.0)
    assert made["step"][0] == 1
    assert made["step"][-1] == 100_000
    assert means[0] == pytest.approx(values[0], rel=1e-4)
    assert means[-1] == pytest.approx(values[-1], rel=1e-4)
    # A bucket ends at the step that it is drawn at, and has what lies since the one before.
    inside = values[made["step"][99] : made["step"][100]]
    assert means[100] == pytest.approx(inside.mean(), rel=1e-3)


def test_a_short_run_is_kept_line_by_line_with_its_gaps() -> None:
    made = curves(
        lines_of(step=[1, 2, 3], learning_rate=[0.1, math.nan, 0.3], z=[0, 0, 0]), buckets=60
    )
    assert made["series"] == {"learning_rate": [0.1, None, 0.3]}
    assert made["tokens"] is made["seconds"] is None


def test_hours_are_those_of_training_and_those_lost() -> None:
    lines = lines_of(
        step=[1, 2, 3],
        # Phases before have seen 1000.
        tokens_seen=[1100, 1200, 1300],
        **{
            "timing/target_tokens_per_second": [50, 50, 100],
            "timing/lost_seconds/startup": [9, 9, 9],
            "timing/lost_seconds/evaluation": [math.nan, 5, 7],
        },
    )
    alive = seconds(lines)
    assert alive is not None
    assert alive.tolist() == [11, 18, 21]


@pytest.mark.parametrize(
    ("text", "steps", "problem"),
    [
        ('{"step": 1}\n{"step": 2}\n{"st', [1, 2], ""),
        ('{"step": 1}\n{"st\n{"step": 3}\n', [1], "line 2 is damaged"),
        ('{"step": 1}\n[1]\n', [1], "line 2 is damaged"),
        ('{"step": 1}\n{"loss": 3}\n', [1], "line 2 is damaged"),
        ('{"step": 1}\n' + "[" * 100_000 + "\n", [1], "line 2 is damaged"),
        ('{"step": NaN}\n', [], "line 1 is damaged"),
        ('{"step": 1, "x": 1' + "0" * 400 + "}\n", [], "line 1 is damaged"),
        ('{"step": 1, "loss": Infinity, "name": "x", "skipped": null}\n', [1], ""),
        ("", [], ""),
    ],
)
def test_metrics_are_read_as_far_as_they_are_sound(
    tmp_path: Path, text: str, steps: list[int], problem: str
) -> None:
    (tmp_path / "metrics.jsonl").write_text(text)
    lines = read_lines(tmp_path / "metrics.jsonl")
    assert lines.steps.tolist() == steps
    assert problem in lines.problem
    assert bool(problem) == bool(lines.problem)


def test_arms_seeds_and_evaluations_come_from_the_plan(tmp_path: Path) -> None:
    run_folders.write_runs(tmp_path, runs=6, lines=20)
    # The stages lie beside the sweep's folder, not below it.
    found = read(tmp_path / "sweep")
    assert found.notes == []
    assert [(run.arms, run.seeds) for run in found.runs] == [
        ([arm], [seed]) for seed in (0, 1) for arm in run_folders.ARMS[: 4 if seed == 0 else 2]
    ]
    assert names_of(found.runs)[0] == "pretrain file/0"
    assert found.runs[0].changes == ["file: corpus: refinecode/dedup/file.gin"]
    for run in found.runs:
        tasks = {result.task: result for result in run.results}
        level = run_folders.ARMS.index(run.arms[0])
        assert tasks["bits_per_byte"].figures["bits_per_byte/refinecode"] == 1.3 + level / 20
        assert tasks["samples"].answers[0].completion.startswith(f"    return {level}\n")
        assert 0 < tasks["humaneval"].figures["pass@1/humaneval"] < 1


def test_without_a_plan_results_belong_to_whose_parameters_they_name(tmp_path: Path) -> None:
    run_folders.write_run(tmp_path / "a", arm="file", seed=0, lines=5)
    run_folders.write_run(tmp_path / "b", arm="file", seed=1, lines=5)
    run_folders.write_evaluation(tmp_path / "eval", params="params of file 1", level=1)
    run_folders.write_evaluation(tmp_path / "a" / "evaluation", params="another type", level=0)
    run_folders.write_evaluation(tmp_path / "other", params="of nobody", level=0)
    found = read(tmp_path)
    figures = {
        run.title: {result.folder.parent.name for result in run.results} for run in found.runs
    }
    assert figures == {"a": {"evaluation"}, "b": {"eval"}}
    assert len(found.notes) == 3
    assert all("a model that is not on this page" in note for note in found.notes)


def test_wall_time_is_that_of_all_processes(tmp_path: Path) -> None:
    folder = run_folders.write_run(tmp_path / "a", arm="file", seed=0, lines=5)
    records = [
        {"started": 1.0, "resume_step": 0, "host": "x", "pid": 1},
        {"step": 4, "training": 30.0, "lost": {"startup": 6.0}},
        {"started": 2.0, "resume_step": 4, "host": "x", "pid": 2},
        {"step": 5, "training": 10.0, "lost": {"startup": 4.0}},
    ]
    path = folder / "goodput.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    figures = one_run(tmp_path).figures
    assert (figures["wall_seconds"], figures["goodput"]) == (50.0, 0.8)
    path.write_text('{"step": 4}\n')
    run = one_run(tmp_path)
    assert run.figures["wall_seconds"] == 31.5
    assert "goodput.jsonl is damaged" in run.problems[0]


def test_first_answers_are_shown_and_some_that_passed(tmp_path: Path) -> None:
    run_folders.write_run(tmp_path / "a", arm="file", seed=0, lines=5)
    run_folders.write_evaluation(tmp_path / "a" / "evaluation", params="", level=0)
    (result,) = (r for r in read(tmp_path, answers=3).runs[0].results if r.task == "humaneval")
    assert [answer.title for answer in result.answers] == [
        f"HumanEval/{n}" for n in (0, 1, 2, 4, 9, 14)
    ]
    assert [answer.verdict for answer in result.answers] == ["failed"] * 3 + ["passed"] * 3
    assert result.count == 40


def test_a_task_that_was_done_twice_has_two_columns(tmp_path: Path) -> None:
    run_folders.write_run(tmp_path / "a", arm="file", seed=0, lines=5)
    for name, level in (("evaluation", 0), ("evaluation-hot", 1)):
        run_folders.write_evaluation(tmp_path / "a" / name, params="", level=level)
    fields = {field.name: field.values for field in fields_of(read(tmp_path).runs)}
    assert fields["bits_per_byte/refinecode[evaluation]"] == [1.3]
    assert fields["bits_per_byte/refinecode[evaluation-hot]"] == [1.35]


def test_evaluations_in_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    run_folders.write_run(tmp_path / "a", arm="file", seed=0, lines=5)
    for name, level in (("cold/evaluation", 0), ("hot/evaluation", 1)):
        run_folders.write_evaluation(tmp_path / name, params="params of file 0", level=level)
    fields = {field.name: field.values for field in fields_of(read(tmp_path).runs)}
    assert fields["bits_per_byte/refinecode[cold/evaluation]"] == [1.3]
    assert fields["bits_per_byte/refinecode[hot/evaluation]"] == [1.35]


def test_sweeps_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    for name in ("first", "second"):
        run_folders.write_runs(tmp_path / name, runs=1, lines=3)
    roots = [(name, tmp_path / name / "sweep") for name in ("first", "second")]
    key = run_folders.key("file", 0)
    assert names_of(read_runs(roots, answers=1).runs) == [
        f"pretrain file/0 ({name}/stages/{key})" for name in ("first", "second")
    ]


def test_a_run_that_is_looked_at_from_inside_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run_folders.write_run(tmp_path / "a", arm="file", seed=0, lines=3))
    assert one_run(Path()).title == "a"


def test_a_shared_stage_is_one_run_of_several_arms(tmp_path: Path) -> None:
    run = RunFolder("stages/x", tmp_path / "x", stages=["pretrain"], sweeps=["s"])
    run.arms, run.seeds = ["a", "b"], [0]
    assert names_of([run]) == ["pretrain a & b/0"]
    run.arms.append("c")
    other = RunFolder("stages/y", tmp_path / "y", stages=["pretrain"], arms=["d", "e", "f"])
    other.seeds, other.sweeps = [0], ["s"]
    assert names_of([run, other]) == ["pretrain 3 arms/0 (x)", "pretrain 3 arms/0 (y)"]
    fields = {field.name: field.values for field in fields_of([run])}
    assert fields["arm"] == [["a", "b", "c"]]


def test_settings_that_are_equal_everywhere_are_folded_away(tmp_path: Path) -> None:
    run_folders.write_runs(tmp_path, runs=8, lines=20)
    shown = shown_at_first(fields_of(read(tmp_path).runs))
    assert "schedule.peak" in shown
    assert "arm" in shown
    assert "bits_per_byte/refinecode" in shown
    # Equal in all; the sweep's seed again; a language's part of a figure that is there.
    assert not {"optimizer.weight_decay", "random_seed", "bits_per_byte/refinecode/c"} & {*shown}


def damage(folder: Path) -> None:
    """Runs as kills, full disks and other programs leave them."""
    for name in ("settings", "finish", "metrics", "samples", "nothing", "odd"):
        run_folders.write_run(
            folder / name, arm="file", seed=0, lines=9, finished=name != "nothing"
        )
    (folder / "settings" / "run.json").write_text('{"config": ')
    (folder / "settings" / "manifest.json").unlink()
    (folder / "finish" / "manifest.json").write_bytes(b"\0\0\0\0")
    (folder / "metrics" / "train" / "metrics.jsonl").write_bytes(b'{"step": 1}\n\xff\xfe\n')
    run_folders.write_evaluation(folder / "samples" / "evaluation", params="", level=0)
    (folder / "samples" / "evaluation" / "humaneval" / "samples.jsonl").write_text('{"a": 1}\n?\n')
    (folder / "samples" / "evaluation" / "samples" / "results.json").write_text("[]")
    (folder / "nothing" / "train" / "metrics.jsonl").unlink()
    (folder / "nothing" / "config.gin").unlink()
    odd = json.loads((folder / "odd" / "manifest.json").read_text())
    odd["config"] |= {"a": math.nan, "b": [None], "c": {}, "schedule.peak": [1, math.inf]}
    odd |= {"inputs": {"initial_checkpoint": {"a": {}}}, "files": 3, "counts": "x"}
    (folder / "odd" / "manifest.json").write_text(json.dumps(odd))
    (folder / "odd" / "timing.json").write_text('{"wall_seconds": "long", "goodput": NaN}')
    (folder / "settings" / "timing.json").write_text('{"wall_seconds": NaN}')
    (folder / "sweep").mkdir()
    (folder / "sweep" / "plan.json").write_text('{"format_version": 1}')
    (folder / "again").symlink_to(folder, target_is_directory=True)
    (folder / "gone").symlink_to(folder / "nowhere")


def test_damaged_runs_are_told_and_the_page_is_written(tmp_path: Path) -> None:
    damage(tmp_path / "runs")
    found = read(tmp_path / "runs")
    problems = {run.title: "; ".join(run.problems) for run in found.runs}
    assert sorted(problems) == ["finish", "metrics", "nothing", "odd", "samples", "settings"]
    for title, told in {
        "settings": "run.json is damaged",
        "finish": "manifest.json is damaged",
        "metrics": "train/metrics.jsonl: line 2 is damaged",
        "samples": "humaneval/samples.jsonl line 2 is damaged",
        "nothing": "no step has been recorded",
    }.items():
        assert told in problems[title]
    assert "samples/results.json is damaged" in problems["samples"]
    assert "config.gin is missing" in problems["nothing"]
    states = {run.title: run.state for run in found.runs}
    assert states["settings"] == states["finish"] == "unfinished"
    assert len(found.notes) == 1
    assert "plan.json is damaged" in found.notes[0]
    page = browse([str(tmp_path / "runs")], str(tmp_path / "page.html")).read_text()
    assert "6 runs" in page
    assert "plan.json is damaged" in page


def test_numbers_beyond_floats_and_dead_links_end_nothing(tmp_path: Path) -> None:
    huge = "1" + "0" * 400
    folder = run_folders.write_run(tmp_path / "runs" / "a", arm="file", seed=0, lines=3)
    (folder / "manifest.json").unlink()
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace('"random_seed": 0', f'"random_seed": {huge}'))
    (folder / "timing.json").write_text(f'{{"wall_seconds": {huge}, "peak_memory_bytes": 7}}')
    (folder / "goodput.jsonl").write_text(
        f'{{"step": 1, "training": {huge}, "lost": {{"startup": 0.5}}}}\n'
    )
    (folder / "latest").symlink_to(folder / "checkpoint_3")
    (folder / "itself").symlink_to("itself")
    run_folders.write_evaluation(folder / "evaluation", params="", level=0)
    (folder / "evaluation" / "humaneval" / "results.json").write_text(
        f'{{"pass_at_1": {huge}, "pass_at_2": 0.5, "pass_at_2_interval": [0.4, {huge}]}}'
    )
    run = one_run(tmp_path / "runs")
    assert [problem[:24] for problem in run.problems] == ["goodput.jsonl is damaged"]
    assert "wall_seconds" not in run.figures
    assert run.figures["peak_memory_bytes"] == 7
    assert "config.gin" in dict(run.files)
    assert not {"latest", "itself"} & dict(run.files).keys()
    (rates,) = (result for result in run.results if result.task == "humaneval")
    assert (rates.figures, rates.intervals) == ({"pass@2/humaneval": 0.5}, {})
    assert huge in browse([str(tmp_path / "runs")], str(tmp_path / "page.html")).read_text()


def test_what_may_not_be_read_is_told(tmp_path: Path) -> None:
    for name in ("closed", "gin", "open"):
        run_folders.write_run(tmp_path / name, arm="file", seed=0, lines=3)
    for name in ("run.json", "manifest.json"):
        (tmp_path / "closed" / name).unlink()
    closed = tmp_path / "closed" / "train", tmp_path / "gin" / "config.gin"
    for path in closed:
        path.chmod(0)
    if os.access(closed[0], os.R_OK):
        pytest.skip("this user may read everything")
    found = read(tmp_path)
    assert {run.title: run.problems for run in found.runs} == {
        "gin": ["config.gin cannot be read: Permission denied"],
        "open": [],
    }
    assert found.notes == [f"{closed[0]} cannot be read: Permission denied"]


@pytest.mark.parametrize(
    "change", [{"outputs": None}, {"outputs": "a\0b"}, {"runs": []}, {"records": {}}]
)
def test_a_plan_of_odd_values_ends_nothing(tmp_path: Path, change: dict[str, object]) -> None:
    run_folders.write_runs(tmp_path, runs=2, lines=3)
    path = tmp_path / "sweep" / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    found = read(tmp_path)
    assert len(found.runs) == 2
    assert bool(found.notes) == ("runs" not in change)


def test_a_stage_that_failed_says_so(tmp_path: Path) -> None:
    run_folders.write_runs(tmp_path, runs=1, lines=9)
    key = run_folders.key("file", 0)
    (tmp_path / "stages" / key / "manifest.json").unlink()
    (tmp_path / "work" / key).mkdir(parents=True)
    failed = {"attempt": 2, "exit_status": 2, "log": "error: loss not finite"}
    (tmp_path / "work" / key / "failed.json").write_text(json.dumps(failed))
    run = one_run(tmp_path)
    assert run.state == "failed"
    assert run.problems == ["failed with exit status 2: error: loss not finite"]


def test_text_of_runs_is_never_markup(tmp_path: Path) -> None:
    run_folders.write_runs(tmp_path, runs=2, lines=9)
    run_folders.write_run(tmp_path / "<img src=x onerror=alert(1)>", arm="file", seed=7, lines=3)
    (tmp_path / "stages" / run_folders.key("file", 0) / "config.gin").write_text(
        "x = '\ud800'", errors="surrogatepass"
    )
    page = browse([str(tmp_path)], str(tmp_path / "page.html")).read_text()
    assert "<img" not in page
    # The two blocks of data and the program.
    assert page.count("</script>") == page.count("<script") == 3
    assert "innerHTML" not in page


def test_names_in_addresses_stay_when_the_page_is_made_again(tmp_path: Path) -> None:
    def ids() -> dict[str, str]:
        page = browse([str(tmp_path)], str(tmp_path / "page.html")).read_text()
        rows = json.loads(page.split('id="rows">')[1].split("</script>")[0])
        return {run["title"]: run["id"] for run in rows["runs"]}

    run_folders.write_run(tmp_path / "b", arm="file", seed=0, lines=3)
    before = ids()
    run_folders.write_run(tmp_path / "a", arm="file", seed=1, lines=3)
    assert ids() == before | {"a": ids()["a"]}


def test_several_folders_are_told_apart(tmp_path: Path) -> None:
    for name in ("one/runs", "two/runs"):
        run_folders.write_run(tmp_path / name / "pretrain", arm="file", seed=0, lines=3)
    page = browse(
        [str(tmp_path / "one" / "runs"), str(tmp_path / "two" / "runs")],
        str(tmp_path / "page.html"),
    ).read_text()
    assert "one/runs/pretrain" in page
    assert "two/runs/pretrain" in page


def test_what_cannot_be_shown_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which runs"):
        browse([])
    with pytest.raises(InputError, match="no such folder"):
        browse([str(tmp_path / "nothing")])
    with pytest.raises(InputError, match="no run there"):
        browse([str(tmp_path)])
    with pytest.raises(InputError, match="is in a store"):
        browse(["gs://bucket/runs"])
    with pytest.raises(InputError, match="write a local file"):
        browse([str(tmp_path)], "gs://bucket/page.html")
