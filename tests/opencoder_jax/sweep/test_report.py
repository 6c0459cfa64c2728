"""The report of a sweep: its numbers against the raw files, what is unfinished, damaged, alike."""

import csv
import json
import math
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.kept_rows import row_text
from opencoder_jax.evaluation.scores import scores
from opencoder_jax.formats.manifest import write_json
from opencoder_jax.report import sweep_charts
from opencoder_jax.sweep.plan_file import read_plan
from opencoder_jax.sweep.report import write_report
from opencoder_jax.sweep.results.comparison import compare
from opencoder_jax.sweep.results.measurements import measure
from tests.opencoder_jax.sweep.sweep_folder import (
    BITS,
    HELDOUT,
    HOSTILE,
    PASS,
    STEPS,
    SweepFolder,
    usual,
)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> SweepFolder:
    made = usual(tmp_path_factory.mktemp("sweep"))
    write_report(made.sweep_dir)
    return made


def rows(sweep: SweepFolder, name: str) -> list[dict[str, str]]:
    with open(Path(sweep.sweep_dir) / name, newline="") as file:
        return list(csv.DictReader(file))


def verdict(sweep: SweepFolder, arm: str, metric: str = "bits_per_byte") -> dict[str, str]:
    return next(
        row for row in rows(sweep, "verdicts.csv") if row["arm"] == arm and metric in row["metric"]
    )


def results(sweep: SweepFolder, metric=BITS) -> dict[str, Any]:
    return {r.arm: r for r in compare(measure(read_plan(sweep.sweep_dir)), metric)}


def raw_bits(sweep: SweepFolder, arm: str) -> Iterator[float]:
    """Straight from what the evaluations wrote."""
    plan = json.loads((Path(sweep.sweep_dir) / "plan.json").read_text())
    for run in plan["runs"]:
        if run["arm"] == arm:
            folder = sweep.root / "stages" / run["stages"]["evaluate"] / "bits_per_byte"
            found = json.loads((folder / "results.json").read_text())
            yield found["sets"]["refinecode"]["total"]["bits_per_byte"]


def test_the_table_is_what_the_raw_results_give(sweep) -> None:
    baseline = list(raw_bits(sweep, "file"))
    ps = {}
    for arm in ("chunk", "repo", "noisy"):
        values = list(raw_bits(sweep, arm))
        row = verdict(sweep, arm)
        apart = [a - b for a, b in zip(values, baseline, strict=True)]
        assert float(row["mean"]) == pytest.approx(statistics.mean(values))
        assert float(row["standard_error"]) == pytest.approx(stats.sem(values))
        assert float(row["difference"]) == pytest.approx(statistics.mean(apart))
        assert float(row["difference_error"]) == pytest.approx(stats.sem(apart))
        test = stats.ttest_rel(values, baseline)
        low, high = test.confidence_interval()
        assert float(row["difference_low"]) == pytest.approx(low)
        assert float(row["difference_high"]) == pytest.approx(high)
        assert float(row["p"]) == pytest.approx(test.pvalue)
        ps[arm] = test.pvalue
    in_order = sorted(ps.values())
    # The copy of `chunk` is no comparison of its own.
    holm = [3 * in_order[0], max(2 * in_order[1], 3 * in_order[0]), in_order[2]]
    adjusted = dict(zip(sorted(ps, key=lambda arm: ps[arm]), holm, strict=True))
    for arm, p in adjusted.items():
        assert float(verdict(sweep, arm)["p_holm"]) == pytest.approx(p)
    words = {arm: verdict(sweep, arm)["verdict"] for arm in ("chunk", "repo", "noisy", "copy")}
    assert words == {
        "chunk": "worse",
        "repo": "better",
        "noisy": "cannot tell",
        "copy": "worse",
    }


def test_every_run_has_a_row_with_all_its_figures(sweep) -> None:
    found = rows(sweep, "report.csv")
    assert [(row["arm"], row["seed"]) for row in found[:4]] == [
        ("file", "0"),
        ("file", "1"),
        ("file", "2"),
        ("chunk", "0"),
    ]
    first = found[0]
    assert first["state"] == "finished"
    assert float(first["pretrain:steps"]) == STEPS
    assert float(first["pretrain:tokens"]) == 512 * STEPS
    assert float(first["pretrain:tokens_per_second"]) == 1000 + (STEPS + 1) / 2
    assert float(first["pretrain:mfu"]) == 0.4
    assert float(first["corpus:records kept"]) == 900
    # A fiftieth of sixty lines is one.
    line = (sweep.root / "stages" / "pretrain-file-0" / "train" / "metrics.jsonl").read_text()
    last = json.loads(line.splitlines()[-1])["loss_per_nonpadding_target_token"]
    assert float(first["pretrain:loss"]) == last
    # All processes of a training, from its own account; the worker's clock of other stages.
    assert float(first["pretrain:wall_seconds"]) == 100
    assert float(first["evaluate:wall_seconds"]) == 30
    assert float(first["evaluate:pass@1:humaneval"]) == pytest.approx(0.05)
    assert float(first["evaluate:pass@1:humaneval:low"]) < 0.05
    failed = found[-1]
    assert (failed["arm"], failed["state"], failed["evaluate:pass@1:humaneval"]) == (
        "broken",
        "failed",
        "",
    )


def test_the_sum_of_the_sweep_counts_shared_stages_once(sweep) -> None:
    text = (Path(sweep.sweep_dir) / "report.md").read_text()
    # 12 trainings of 100 s on 4 devices and 12 evaluations of 30 s on one; `copy` shares them.
    assert "| pretrain | 15 | 12 | 20\u202fmin 00\u202fs | 5\u202fmin 00\u202fs | 1.33 |" in text
    assert "| evaluate | 15 | 12 | 6\u202fmin 00\u202fs | 10\u202fmin 00\u202fs | 0.1 |" in text


def test_what_came_out_stands_beside_what_was_expected(sweep) -> None:
    text = (Path(sweep.sweep_dir) / "report.md").read_text()
    assert "**Expected.** The paper found file best." in text
    assert "- chunk: worse; +0.1024 (+0.0905 to +0.1144)" in text
    assert "copy: worse, the same runs as chunk" in text
    assert "could not have been told" in text
    assert "- something odd" in text
    assert "failed: 3 of 18 runs (broken/0, broken/1, broken/2)" in text
    assert "| chunk | corpus | refinecode.level | 'file' | 'chunk' |" in text


def test_text_of_a_plan_is_text_on_the_page_and_in_markdown(sweep) -> None:
    page = (Path(sweep.sweep_dir) / "report.html").read_text()
    assert HOSTILE not in page
    assert "<img src=x" not in page
    assert "<script>" not in (Path(sweep.sweep_dir) / "report.md").read_text()


def test_languages_stand_beside_the_total(sweep) -> None:
    text = (Path(sweep.sweep_dir) / "report.md").read_text()
    table = text.split("## Languages: evaluate bits\\_per\\_byte of refinecode")[1].split("##")[0]
    assert "| c | 1.7490 ± 0.0277 | +0.1024 ± 0.0028 |" in table
    assert "| all | 1.5490 ± 0.0277 | +0.1024 ± 0.0028 |" in table


def test_languages_of_a_benchmark_and_of_held_out_text_are_measured_too(tmp_path) -> None:
    sweep = SweepFolder(tmp_path, ["file", "chunk"], seeds=(0, 1), metrics=(HELDOUT,))
    task = sweep.folder("evaluate-file-0") / "multipl_e"
    task.mkdir()
    problems = [
        {"task_id": f"{language}/{n}", "language": language, "subset": "", "verdict": verdict}
        for language, verdicts in (("cpp", "pp"), ("rust", "pf"))
        for n, verdict in enumerate({"p": "passed", "f": "failed"}[v] for v in verdicts)
    ]
    (task / "samples.jsonl").write_text("".join(map(row_text, problems)))
    write_json(task / "results.json", scores(problems, [1]))
    write_json(task / "manifest.json", {})
    sweep.pretrain("file", 0, [2.0], 2.0, languages={"python": 1.2})
    stages = measure(read_plan(sweep.sweep_dir)).stages
    evaluated = stages["evaluate-file-0"]
    assert evaluated.values["pass@1:multipl_e"] == 0.75
    assert evaluated.values["pass@1:multipl_e/rust"] == 0.5
    assert evaluated.problems["pass@1:multipl_e/rust"] == {"rust/0": 1.0, "rust/1": 0.0}
    assert stages["pretrain-file-0"].values["heldout_bits_per_byte/python"] == 1.2
    write_report(sweep.sweep_dir)
    text = (Path(sweep.sweep_dir) / "report.md").read_text()
    assert "| rust | 50.0 % | – |" in text
    assert "| python | 1.2000 | – |" in text


def test_models_of_several_sizes_get_a_curve_over_their_compute(tmp_path) -> None:
    flops = {f"size={n}": 1e15 * 5**n for n in range(4)}
    sweep = SweepFolder(tmp_path, list(flops), seeds=(0, 1), metrics=(HELDOUT,), flops=flops)
    for number, arm in enumerate(flops):
        for seed in (0, 1):
            sweep.pretrain(arm, seed, [2.0], 1.5 + 5 ** (-0.25 * number) + seed / 1000)
    page = write_report(sweep.sweep_dir).read_text()
    text = (Path(sweep.sweep_dir) / "report.md").read_text()
    found = re.search(r"FLOPs of training: floor ([\d.]+) ± [\d.]+, exponent ([\d.]+) ±", text)
    assert found is not None
    assert float(found[1]) == pytest.approx(1.5, abs=0.02)
    assert float(found[2]) == pytest.approx(0.25, abs=0.02)
    assert 'id="scaling-0"' in page


def test_rates_over_compute_are_in_per_cent_as_in_the_tables(tmp_path) -> None:
    flops = {"small": 1e15, "large": 1e16}
    sweep = SweepFolder(tmp_path, list(flops), seeds=(0,), metrics=(PASS,), flops=flops)
    for arm in flops:
        sweep.evaluate(arm, 0, {"python": 1.0}, [True, False])
    measured = measure(read_plan(sweep.sweep_dir))
    chart = sweep_charts.scaling(measured, compare(measured, PASS))
    assert chart is not None
    assert chart["layout"]["yaxis"]["tickformat"] == ".1%"
    assert "%{y:.1%}" in chart["data"][0]["hovertemplate"]


def test_pairs_are_told_by_what_they_share(sweep) -> None:
    found = results(sweep)
    assert found["repo"].order_shared is True
    assert found["chunk"].order_shared is False


def test_a_sweep_that_has_not_begun_has_a_report(tmp_path, capsys) -> None:
    sweep = SweepFolder(tmp_path, ["file", "chunk"])
    write_report(sweep.sweep_dir)
    assert verdict(sweep, "chunk")["verdict"] == "no result"
    assert {row["state"] for row in rows(sweep, "report.csv")} == {"unfinished"}
    assert "no result of the baseline" in capsys.readouterr().out


def test_training_that_goes_on_has_curves_and_no_result(tmp_path) -> None:
    sweep = SweepFolder(tmp_path, ["file"], metrics=(HELDOUT,))
    sweep.pretrain("file", 0, [3.0, 2.0, 1.0], 1.0, finished=False)
    path = sweep.root / "stages" / "pretrain-file-0" / "train" / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 4, "lo')
    figures = measure(read_plan(sweep.sweep_dir)).stages["pretrain-file-0"]
    assert figures.state == "unfinished"
    assert list(figures.curve) == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert "heldout_loss" not in figures.values
    assert figures.values["steps"] == 3
    # The last line of a training that is finished has been written whole.
    sweep.done("pretrain-file-0", wall=1.0)
    with pytest.raises(InputError, match=r"metrics.jsonl, line 4 is damaged"):
        measure(read_plan(sweep.sweep_dir))


def test_what_an_arm_took_leaves_out_runs_that_are_not_finished(tmp_path) -> None:
    sweep = SweepFolder(tmp_path, ["file"], metrics=(HELDOUT,))
    sweep.corpus("file", 10)
    sweep.pretrain("file", 0, [3.0, 2.0, 1.0], 1.0)
    sweep.evaluate("file", 0, {"python": 1.0})
    sweep.pretrain("file", 1, [3.0], 1.0, mfu=0.1, finished=False)
    write_report(sweep.sweep_dir)
    report = (Path(sweep.sweep_dir) / "report.md").read_text()
    (row,) = re.findall(r"\| file \| 1.2.M .*", report)
    assert [cell.strip() for cell in row.split("|")[3:7]] == [
        "1\u202f536",
        "1\u202f002",
        "1e+15",
        "40.0\u202f%",
    ]


def test_losses_that_are_no_numbers_leave_the_charts_whole(tmp_path) -> None:
    sweep = SweepFolder(tmp_path, ["file", "chunk"], metrics=(HELDOUT,))
    for seed in (0, 1, 2):
        sweep.pretrain("file", seed, [3.0, 2.0], 2.0)
        last = (2.0, math.nan, math.inf)[seed]
        sweep.pretrain("chunk", seed, [3.0, 2.5, last], last, languages={"c": last})
    page = write_report(sweep.sweep_dir).read_text()
    text = page.split('<script id="figures" type="application/json">')[1].split("</script>")[0]
    # As a browser reads it, which knows no NaN.
    figures = json.loads(text, parse_constant=lambda word: pytest.fail(word))
    lines = {line["name"]: line["y"] for line in figures["curve-train-pretrain"]["data"]}
    assert lines["chunk, seed 1"] == [3.0, 2.5]
    report = (Path(sweep.sweep_dir) / "report.md").read_text()
    assert not re.search(r"\b(nan|inf)\b", report)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("stages/evaluate-file-0/bits_per_byte/results.json", '{"sets": {"refinecode": {}}}'),
        ("stages/evaluate-file-0/bits_per_byte/results.json", "["),
        ("stages/evaluate-file-0/humaneval/samples.jsonl", '{"verdict": "passed"}\n'),
        ("stages/pretrain-file-0/train/metrics.jsonl", '{"a": 1\n{"step": 2}\n'),
        ("stages/pretrain-file-0/timing.json", "{}"),
        ("stages/corpus-file/manifest.json", '{"counts": {"documents": {"input": "x"}}}'),
        ("work/evaluate-file-0/done.json", "{"),
    ],
)
def test_damaged_files_are_named(tmp_path, file: str, content: str) -> None:
    sweep = usual(tmp_path, seeds=(0, 1))
    (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match=rf"{file}.* is damaged"):
        write_report(sweep.sweep_dir)


def test_one_seed_tells_of_problems_alone(tmp_path) -> None:
    sweep = SweepFolder(tmp_path, ["file", "chunk"], seeds=(0,), metrics=(BITS, PASS))
    sweep.evaluate("file", 0, {"python": 1.5}, [False] * 20)
    sweep.evaluate("chunk", 0, {"python": 1.2}, [True] * 9 + [False] * 11)
    bits = results(sweep)["chunk"]
    assert bits.words == "cannot tell (one seed)"
    assert bits.difference.p is None
    passed = results(sweep, PASS)["chunk"]
    assert passed.words == "better (one seed: over its problems alone)"
    # McNemar's exact test of 9 to 0.
    assert passed.difference.p == pytest.approx(2 / 2**9)
    assert results(sweep, PASS)["file"].interval is not None


def test_a_rate_has_to_be_told_over_seeds_and_problems(tmp_path) -> None:
    """Two problems of forty, with every seed: no noise between seeds, and still only two."""
    sweep = SweepFolder(tmp_path, ["file", "chunk"], metrics=(PASS,))
    for seed in (0, 1, 2):
        sweep.evaluate("file", seed, {"python": 1.5}, [False] * 40)
        sweep.evaluate("chunk", seed, {"python": 1.5}, [True] * 2 + [False] * 38)
    found = results(sweep, PASS)["chunk"]
    assert found.verdict == "cannot tell"
    assert found.difference.p == pytest.approx(0.5)
    assert found.difference.low == 0
    assert found.difference.high > 0.05


def test_what_pooled_noise_would_tell_is_a_hint_and_no_verdict(tmp_path) -> None:
    arms = ["file", "a", "b", "c"]
    sweep = SweepFolder(tmp_path, arms, metrics=(BITS,))
    apart = {"file": (0, 0, 0), "a": (30, 12, 25), "b": (1, -3, 2), "c": (3, 0, -4)}
    for arm, per_mille in apart.items():
        for seed, value in enumerate(per_mille):
            sweep.evaluate(arm, seed, {"python": 1.5 + 0.1 * seed + value / 1000})
    found = results(sweep)["a"]
    assert found.verdict == "cannot tell"
    assert found.adjusted_p > 0.05 > found.pooled_p
    assert "if all arms are equally noisy" in found.reason


def test_seeds_that_share_a_stage_are_one_value(tmp_path) -> None:
    """A metric of a stage without a seed: three seeds, one measurement."""
    sweep = SweepFolder(tmp_path, ["file", "chunk"], metrics=(BITS,))
    plan = json.loads(Path(sweep.sweep_dir, "plan.json").read_text())
    for run in plan["runs"]:
        run["stages"]["evaluate"] = f"evaluate-{run['arm']}-0"
    Path(sweep.sweep_dir, "plan.json").write_text(json.dumps(plan))
    sweep.evaluate("file", 0, {"python": 1.5})
    sweep.evaluate("chunk", 0, {"python": 1.2})
    found = results(sweep)["chunk"]
    assert found.estimate.n == 1
    assert found.words == "cannot tell (one seed)"


@pytest.mark.parametrize("constant", ["file", "chunk"])
def test_seeds_that_change_nothing_are_one_value(tmp_path, constant: str) -> None:
    """Equal values have no spread, and tell nothing of what another seed would give."""
    sweep = SweepFolder(tmp_path, ["file", "chunk"], metrics=(BITS,))
    for seed in (0, 1, 2):
        for arm, level in (("file", 1.5), ("chunk", 1.2)):
            spread = 0 if arm == constant else 0.001 * seed
            sweep.evaluate(arm, seed, {"python": level + spread})
    found = results(sweep)["chunk"]
    assert found.words == f"cannot tell (all seeds of {constant} gave one value: one seed)"
    assert found.difference.p is None
    # Nor does its mean have an error.
    estimate = results(sweep)[constant].estimate
    assert (estimate.n, estimate.error) == (1, None)


def test_a_verdict_says_which_seeds_it_leaves_out(tmp_path) -> None:
    """The seeds that are left may be the lucky ones."""
    arms = ["file", "failed", "waits", "nan", "sound"]
    sweep = SweepFolder(tmp_path, arms, metrics=(BITS,))
    for seed in (0, 1, 2):
        for arm in arms:
            if seed < 2 or arm in ("file", "sound"):
                level = 1.5 if arm == "file" else 1.2
                noise = 1e-5 * len(arm) * seed * seed
                sweep.evaluate(arm, seed, {"python": level + 0.1 * seed + noise})
    sweep.failed("pretrain-failed-2")
    sweep.evaluate("nan", 2, {"python": math.nan})
    for arm in arms:
        for seed in (0, 1, 2):
            if (arm, seed) != ("failed", 2):
                sweep.corpus(arm, 10)
                sweep.pretrain(arm, seed, [1.0], 1.0)
    found = {arm: result.words for arm, result in results(sweep).items()}
    assert found == {
        "file": "baseline",
        "failed": "better (1 of 3 seeds failed)",
        "waits": "better (1 of 3 seeds not finished)",
        "nan": "better (1 of 3 seeds without a finite value)",
        "sound": "better",
    }


def test_an_arm_that_leaves_the_metric_alone_is_the_same(tmp_path) -> None:
    sweep = SweepFolder(tmp_path, ["file", "twin"], metrics=(BITS,), same_as={"twin": "file"})
    for seed in (0, 1, 2):
        sweep.evaluate("file", seed, {"python": 1.5})
    found = results(sweep)["twin"]
    assert (found.verdict, found.like, found.difference) == ("the same", "file", None)


def test_arms_that_came_to_the_same_data_are_told(tmp_path) -> None:
    arms = ["file", "chunk", "repo_chunk", "chance"]
    sweep = SweepFolder(tmp_path, arms, seeds=(0, 1), metrics=(HELDOUT,))
    for arm, order in zip(arms, ("one", "two", "two", "three"), strict=True):
        for seed in (0, 1):
            heldout = 1.9 if arm == "file" else 1.8
            sweep.pretrain(arm, seed, [2.0] * STEPS, heldout + seed / 10, order=order)
            sweep.evaluate(arm, seed, {"python": 1.0})
        sweep.corpus(arm, 900)
    write_report(sweep.sweep_dir)
    text = (Path(sweep.sweep_dir) / "report.md").read_text()
    told = [line for line in text.splitlines() if "the very same data" in line]
    assert told == [
        r"- chunk and repo\_chunk differ in settings, yet trained on the very same data: one result"
    ]


def test_warnings_tell_what_a_table_does_not(tmp_path) -> None:
    sweep = SweepFolder(tmp_path, ["file", "chunk"], seeds=(0,), metrics=(HELDOUT,))
    for arm, steps in (("file", 40), ("chunk", 20)):
        sweep.corpus(arm, 500)
        sweep.pretrain(arm, 0, [2.0] * steps, 2.0)
        sweep.evaluate(arm, 0, {"python": 1.0})
    sweep.done("pretrain-chunk-0", wall=1.0, version="0.2.0")
    (sweep.root / "stages" / "pretrain-file-0" / "heldout" / "metrics.jsonl").unlink()
    write_report(sweep.sweep_dir)
    text = (Path(sweep.sweep_dir) / "report.md").read_text()
    assert "different versions of the code: 0.1.0, 0.2.0" in text
    assert "other numbers of tokens than the baseline: chunk -50.0 %" in text
    assert "one seed: what training varies by" in text
    assert "pretrain heldout\\_loss: finished, and without this figure: file/0" in text


def test_a_training_that_all_seeds_share_is_told(tmp_path) -> None:
    sweep = SweepFolder(tmp_path, ["file", "chunk"], metrics=(BITS,))
    plan = json.loads(Path(sweep.sweep_dir, "plan.json").read_text())
    for run in plan["runs"]:
        run["stages"]["pretrain"] = "pretrain-file-0"
    Path(sweep.sweep_dir, "plan.json").write_text(json.dumps(plan))
    write_report(sweep.sweep_dir)
    text = (Path(sweep.sweep_dir) / "report.md").read_text()
    assert "all seeds share pretrain: their spread is that of later stages alone" in text


def test_outputs_go_where_they_are_asked_for(sweep, tmp_path) -> None:
    page = write_report(sweep.sweep_dir, output=str(tmp_path / "docs" / "dedup"))
    assert page == tmp_path / "docs" / "dedup" / "report.html"
    assert {path.name for path in page.parent.iterdir()} == {
        "report.html",
        "report.md",
        "report.csv",
        "verdicts.csv",
    }
