"""Of what a teacher writes only what its tests prove is kept, and every other answer is, too.

The teacher plants each kind of generation: passing, failing, contaminated, tests that never call
the solution, and so on; the seed says which.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.accounting import Drop, decode_drop
from beam_pipelines.synthesis.inputs import DocumentFolder
from beam_pipelines.synthesis.seeds import SeedSettings
from beam_pipelines.synthesis.taught.educational import Educational
from beam_pipelines.synthesize import synthesize
from beam_pipelines.teacher.prompt import Sampling
from opencoder_jax.formats.conversation import Conversation, decode_conversation
from opencoder_jax.formats.manifest import read_manifest
from opencoder_jax.formats.shards import read_records
from tests.beam_pipelines.corpora import write_corpus
from tests.beam_pipelines.synthesis.scripted_teacher import CUT, ScriptedTeacher
from tests.isolation import require_isolation

GOOD = "def triple(x):\n    return 3 * x"
TESTS = "assert triple(2) == 6\nassert triple(0) == 0"
CONTAMINATED = (
    "def has_close_elements(numbers, threshold):\n    return any(abs(a - b) < threshold\n"
    "        for i, a in enumerate(numbers) for b in numbers[:i])"
)
# Kind of generation to (solution, tests); its name is the reason of the drop.
PLANTED = {
    "kept": (GOOD, TESTS),
    "tests_failed": (GOOD, "assert triple(2) == 7"),
    "tests_timeout": ("def spin():\n    while True:\n        pass", "spin()"),
    "passes_without_solution": (GOOD, "assert callable(triple)"),
    "passes_without_solution, which catches": (
        GOOD,
        "try:\n    assert triple(2) == 6\nexcept BaseException:\n    pass",
    ),
    "passes_without_solution, which defines it anew": (
        GOOD,
        "def triple(x):\n    return 3 * x\nassert triple(2) == 6",
    ),
    "tests_repeat_one_case": (GOOD, "assert triple(2) == 6\nassert triple(2) == 6"),
    "tests_do_not_use_solution": (GOOD, "assert 3 * 2 == 6"),
    "depends_on_hash_seed": (
        "def first():\n    return hash('words') % 1000",
        "assert first() == ORDER",
    ),
    "not_parsable": ("def triple(x) return 3 * x", TESTS),
    "benchmark_entry_point": (CONTAMINATED, "assert has_close_elements([1.0, 1.1], 0.5)"),
    "answer_incomplete": ("", ""),
    "teacher_refusal": ("", ""),
    "echoes_prompt": (GOOD, TESTS),
    "teacher_truncated": ("", ""),
    "low_score": ("", ""),
    "rating_unparsable": ("", ""),
}


def test_each_kind_of_generation_ends_where_it_should(made: Path) -> None:
    drops = {drop.path: drop for drop in dropped(made)}
    reasons = {kind: kind.partition(",")[0] for kind in PLANTED if kind != "kept"}
    assert {path: drop.reason for path, drop in drops.items()} == {
        f"{kind}.py": reason for kind, reason in reasons.items()
    } | {"kept again.py": "duplicate"}
    (kept,) = kept_in(made)
    assert kept.messages == (
        ("user", "Write triple. (kept)"),
        ("assistant", f"```python\n{GOOD}\n```"),
    )


def test_a_rejected_generation_is_kept_whole(made: Path) -> None:
    drops = {drop.path: drop for drop in dropped(made)}
    assert GOOD in drops["tests_failed.py"].sample
    assert "assert triple(2) == 7" in drops["tests_failed.py"].sample
    assert "no section Task" in drops["answer_incomplete.py"].detail
    assert drops["answer_incomplete.py"].sample == "I have no idea."
    assert drops["teacher_truncated.py"].sample == "### Task\nA task that never en"
    assert drops["low_score.py"].detail == "2, at least 6"


def test_a_record_says_how_it_was_made(made: Path) -> None:
    (kept,) = kept_in(made)
    known = kept.known()
    assert known["tests"] == TESTS
    assert (known["entry_point"], known["executed"], known["score"]) == ("triple", True, "9")
    score, task = known["calls"]
    assert (score["template"], task["template"]) == ("educational/score", "educational/task")
    assert task["teacher"] == "scripted"
    assert (task["temperature"], task["max_tokens"]) == (0.7, 512)
    assert score["seed"] != task["seed"]
    assert kept.repo == "repo"


def test_the_funnel_and_the_account_agree(made: Path) -> None:
    counts = read_manifest(made)["counts"]
    total = len(PLANTED) + 1
    assert counts["funnel"] == [
        ["candidates", total],
        ["scored", total - 2],
        ["written", total - 6],
        ["proved", total - 15],
        ["decontaminated", total - 16],
        ["unique", 1],
    ]
    assert counts["accounting"]["input"] == total
    assert counts["accounting"]["output"] == 1
    assert counts["passed_over"] == {"language": 1, "too_short": 1}


def test_calls_are_counted_and_a_finished_set_asks_nothing_again(
    made: Path, teacher: ScriptedTeacher
) -> None:
    (usage,) = json.loads((made / "teacher.json").read_text())
    total = len(PLANTED) + 1
    assert usage["total"]["asked"] == total + total - 2
    before = len(teacher.asked)
    run(made.parent, teacher)
    assert len(teacher.asked) == before


@pytest.mark.slow
def test_two_processes_make_the_same_set_of_the_same_calls(
    made: Path, teacher: ScriptedTeacher
) -> None:
    before = len(teacher.asked)
    processes = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    run(made.parent, teacher, "again", pipeline_args=processes)
    assert len(teacher.asked) == before
    again = made.parent.parent / "again" / "educational"
    assert read_manifest(again)["fingerprint"] == read_manifest(made)["fingerprint"]


@pytest.mark.slow
def test_a_dry_run_tells_what_is_in_the_cache_and_makes_nothing(
    made: Path, teacher: ScriptedTeacher, capsys
) -> None:
    before = len(teacher.asked)
    run(made.parent, teacher, "dry", dry_run=True)
    told = capsys.readouterr().out
    total = len(PLANTED) + 1
    assert f"scored: 0 calls, {total} more are in the cache" in told
    assert f"written: 0 calls, {total - 2} more are in the cache" in told
    assert len(teacher.asked) == before
    assert not (made.parent.parent / "dry").exists()


@pytest.fixture(scope="module")
def teacher(hash_of_words: int):
    def answer(prompt: str) -> str:
        kind = re.search(r"# kind: (.*)", prompt)[1]
        if "Give a score" in prompt:
            scores = {"low_score": "Score: 2", "rating_unparsable": "It is fine."}
            return scores.get(kind, "Score: 9")
        if kind == "answer_incomplete":
            return "I have no idea."
        if kind == "teacher_truncated":
            return f"### Task\nA task that never en{CUT}"
        if kind == "teacher_refusal":
            return "I'm sorry, but I can't help with that request."
        solution, tests = PLANTED[kind.removesuffix(" again")]
        tests = tests.replace("ORDER", str(hash_of_words))
        echo = "You are an expert programmer and teacher of programming."
        echo = f"{echo} " if kind == "echoes_prompt" else ""
        return (
            f"### Task\n{echo}Write triple. ({kind.removesuffix(' again')})\n\n### Solution\n"
            f"```python\n{solution}\n```\n\n### Tests\n```python\n{tests}\n```\n"
        )

    with ScriptedTeacher(answer) as server:
        yield server


@pytest.fixture(scope="module")
def hash_of_words() -> int:
    from opencoder_jax.sandbox import Sandbox

    require_isolation()
    with Sandbox() as sandbox:
        return int(sandbox.run("print(hash('words') % 1000)").stdout)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, teacher: ScriptedTeacher) -> Path:
    folder = tmp_path_factory.mktemp("educational")
    kinds = [*PLANTED, "kept again"]
    texts = [
        ("repo", f"{kind}.py", f"def seed():\n    # kind: {kind}\n    return 1\n") for kind in kinds
    ]
    texts += [("repo", "page.html", "<p>\n<b>\n</b>\n</p>\n"), ("repo", "short.py", "x = 1\n")]
    write_corpus(folder / "corpus", texts)
    run(folder / "sets", teacher)
    return folder / "sets" / "educational"


def run(output: Path, teacher: ScriptedTeacher, name: str = "", **options: Any) -> None:
    root = output.parent
    sampling = Sampling(temperature=0.7, max_tokens=512, seed=3)
    synthesize(
        Educational(
            source=DocumentFolder(str(root / "corpus")),
            teacher=teacher.settings(root / "cache"),
            sampling=sampling,
            seeds=SeedSettings(
                languages=["python"], min_lines=2, max_lines=40, max_characters=2000
            ),
            min_score=6.0,
            scoring=Sampling(temperature=0.0, max_tokens=8),
        ),
        output_dir=str(root / name if name else output),
        benchmarks=["humaneval"],
        num_shards=2,
        **options,
    )


def kept_in(folder: Path) -> list[Conversation]:
    return [decode_conversation(record) for record in read_records(folder, "conversations")]


def dropped(folder: Path) -> list[Drop]:
    return [decode_drop(record) for record in read_records(folder / "dropped", "dropped")]
