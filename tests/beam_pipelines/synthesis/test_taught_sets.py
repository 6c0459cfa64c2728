"""Each set that a teacher writes: what it asks, what it keeps, and what becomes of the rest."""

import dataclasses
import re
from pathlib import Path

import pytest

from beam_pipelines.synthesis.inputs import ConversationFolder, DocumentFolder
from beam_pipelines.synthesis.taught.dialogues import Dialogues
from beam_pipelines.synthesis.taught.diverse import TASK_TYPES, Diverse, Specification
from beam_pipelines.synthesis.taught.evolution import Evolution, overlap
from beam_pipelines.synthesis.taught.multilingual import Multilingual
from beam_pipelines.synthesis.taught.packages import InstalledApis, Packages, dotted_names
from beam_pipelines.synthesis.taught.synthetic_snippets import SyntheticSnippets
from beam_pipelines.synthesis.taught.textbooks import ANGLES, Textbooks
from opencoder_jax.errors import InputError
from opencoder_jax.formats.conversation import Conversation
from tests.beam_pipelines.corpora import write_corpus
from tests.beam_pipelines.synthesis.making import (
    SAMPLING,
    conversations,
    details,
    documents,
    drops,
    make,
    reasons,
    seeds,
    write_conversations,
)
from tests.beam_pipelines.synthesis.scripted_teacher import ScriptedTeacher
from tests.isolation import require_isolation

PYTHON = (
    "### {}\n```python\ndef twice(x):\n    return 2 * x\n```\n\n"
    "### Tests\n```\nassert twice(2) == 4\n```"
)
JAVASCRIPT = (
    "### {}\n```js\nfunction twice(x) {{ return 2 * x; }}\n```\n\n"
    "### Tests\n```js\nconsole.assert(twice(2) === 4);\n```"
)


@pytest.fixture
def corpus(tmp_path: Path) -> DocumentFolder:
    require_isolation()
    texts = [
        ("a", "leetcode.py", "# leetcode 1\ndef f():\n    return 1\n"),
        ("a", "plain.py", "def g():\n    return 2\n"),
        ("b", "leetcode.js", "// leetcode 2\nfunction f() {\n  return 1;\n}\n"),
    ]
    write_corpus(tmp_path / "corpus", texts)
    return DocumentFolder(str(tmp_path / "corpus"))


def test_snippets_of_several_languages_are_documents_with_their_tests(
    tmp_path: Path, corpus: DocumentFolder
) -> None:
    def answer(prompt: str) -> str:
        return (JAVASCRIPT if "JavaScript" in prompt else PYTHON).format("Function")

    with ScriptedTeacher(answer) as server:
        what = SyntheticSnippets(
            corpus,
            server.settings(tmp_path / "cache"),
            SAMPLING,
            seeds(languages=["python", "javascript"], keywords=["leetcode"]),
        )
        folder = make(what, tmp_path / "out")
    made = {document.language: document for document in documents(folder)}
    assert made["python"].text == "def twice(x):\n    return 2 * x\n\nassert twice(2) == 4\n"
    assert made["javascript"].text.endswith("console.assert(twice(2) === 4);\n")
    assert made["python"].provenance == "synthetic_snippets/function"
    assert details(made["python"])["executed"] is True
    assert made["javascript"].repo == "b"
    assert not reasons(folder)


def test_a_language_that_cannot_be_executed_is_refused_at_once(corpus: DocumentFolder) -> None:
    with pytest.raises(InputError, match="'haskell'"), ScriptedTeacher(str) as server:
        SyntheticSnippets(
            corpus, server.settings(Path("cache")), SAMPLING, seeds(languages=["haskell"])
        )


def test_textbooks_explain_each_seed_from_several_angles(
    tmp_path: Path, corpus: DocumentFolder
) -> None:
    texts = {"return 1": "A section. " * 20, "return 2": "Short."}

    def answer(prompt: str) -> str:
        return next(text for mark, text in texts.items() if mark in prompt) + prompt[:40]

    with ScriptedTeacher(answer) as server:
        what = Textbooks(corpus, server.settings(tmp_path / "cache"), SAMPLING, seeds(), 2, 100)
        folder = make(what, tmp_path / "out")
    made = documents(folder)
    assert len(made) == 2
    assert len({document.provenance for document in made}) == 2
    assert all(d.language == "markdown" and d.doc_type == "text" for d in made)
    assert {details(document)["angle"] for document in made} <= set(ANGLES)
    assert reasons(folder) == {"too_short": 2}


def test_multilingual_tasks_are_balanced_and_run_where_that_is_possible(tmp_path: Path) -> None:
    require_isolation()
    texts = [("a", f"{i}.py", f"def f{i}():\n    return {i}\n") for i in range(20)]
    texts += [("b", f"{i}.js", f"function f{i}() {{}}\n") for i in range(4)]
    write_corpus(tmp_path / "corpus", texts)

    def answer(prompt: str) -> str:
        own = re.search(r"f\d+", prompt)[0]
        script = JAVASCRIPT if "JavaScript" in prompt else PYTHON
        tested = prompt.startswith("Language:")
        solution = script.format("Solution") if tested else "### Solution\n```\ncode\n```"
        return f"### Task\nAbout {own} in {'js' if script is JAVASCRIPT else 'py'}.\n\n{solution}"

    with ScriptedTeacher(answer) as server:
        what = Multilingual(
            DocumentFolder(str(tmp_path / "corpus")),
            server.settings(tmp_path / "cache"),
            SAMPLING,
            seeds(languages=[], per_language=6),
        )
        folder = make(what, tmp_path / "out")
    made = conversations(folder)
    languages = [conversation.language for conversation in made]
    assert (languages.count("python"), languages.count("javascript")) == (6, 4)
    executed = {c.known()["executed"] for c in made if c.known()["kind"] == "generation"}
    assert executed == {True}
    assert all(not c.known()["executed"] for c in made if c.known()["kind"] != "generation")
    assert not reasons(folder)


def test_questions_about_packages_use_what_is_installed(tmp_path: Path) -> None:
    require_isolation()
    source = InstalledApis(["json"])
    assert "json.dumps" in source.apis
    answers = {
        "json.dumps": "import json\nassert json.dumps([1]) == '[1]'",
        "json.loads": "import json\nprint(json.no_such_function('1'))",
        "json.dump": "import json\nprint(json.loads('1'))",
        "json.load": "print(",
        "json.JSONDecoder": "from json import JSONDecoder\nJSONDecoder().decode('{')",
    }

    def answer(prompt: str) -> str:
        name = re.search(r"documentation of `([\w.]+)`", prompt)[1]
        assert source.apis[name].documentation in prompt
        if name == "json.JSONEncoder":
            return "### Question\nWhat encodes?\n\n### Answer\nUse json.JSONEncoder for that."
        if name not in answers:
            named = "json.JSONNothing, or json.JSONEncoder"
            return f"### Question\nWhat decodes?\n\n### Answer\nUse {named}."
        return f"### Question\nHow {name}?\n\n### Answer\n```python\n{answers[name]}\n```"

    with ScriptedTeacher(answer) as server:
        teacher = server.settings(tmp_path / "cache")
        what = Packages(source, teacher, SAMPLING, seeds(), 1, without_program=True)
        folder = make(what, tmp_path / "out")
        strict = make(dataclasses.replace(what, without_program=False), tmp_path / "strict")
    made = {c.messages[0][1]: c for c in conversations(folder)}
    assert set(made) == {"How json.dumps?", "What encodes?"}
    assert [c.messages[0][1] for c in conversations(strict)] == ["How json.dumps?"]
    assert reasons(strict)["answer_without_code"] >= 1
    assert made["How json.dumps?"].known()["apis"] == "json.dumps"
    assert made["How json.dumps?"].known()["executed"] is True
    assert made["How json.dumps?"].repo.startswith("json-")
    by_path = {drop.path: drop.reason for drop in drops(folder)}
    assert by_path["json.dump"] == "does_not_use_package"
    assert by_path["json.load"] == "not_parsable"
    assert by_path["json.JSONDecoder"] == "run_failed"
    assert by_path["json.loads"] == "does_not_use_package"
    assert reasons(folder)["does_not_use_package"] >= 2


def test_a_corpus_says_which_functions_are_used(tmp_path: Path) -> None:
    require_isolation()
    texts = [
        ("a", "uses.py", "from json import dumps as d\n\ndef f(x):\n    return d(x)\n"),
        ("a", "not.py", "def f(x):\n    return x\n"),
    ]
    write_corpus(tmp_path / "corpus", texts)

    def answer(prompt: str) -> str:
        assert "return d(x)" in prompt or "import dumps as d" in prompt
        code = "import json\njson.dumps(1)"
        return f"### Question\nHow?\n\n### Answer\n```python\n{code}\n```"

    source = InstalledApis(["json"], corpus=str(tmp_path / "corpus"))
    with ScriptedTeacher(answer) as server:
        what = Packages(source, server.settings(tmp_path / "cache"), SAMPLING, seeds(), 2)
        folder = make(what, tmp_path / "out")
    (made,) = conversations(folder)
    assert made.repo == "a"
    assert made.known()["apis"] == "json.dumps"


def test_names_are_followed_through_imports() -> None:
    source = (
        "import numpy as np, os.path\nfrom json import dumps as d, loads\nimport a.b as c\n"
        "np.linalg.norm(x)\nd(1)\nloads\nos.path.join\nc.e()\nx.y\n"
    )
    found = dotted_names(source)
    for name in ("numpy.linalg.norm", "json.dumps", "json.loads", "os.path.join", "a.b.e"):
        assert name in found
    assert not any(name.startswith("x") for name in found)


def test_a_package_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(InputError, match="no_such_package"):
        _ = InstalledApis(["no_such_package"]).apis


def test_diverse_tasks_are_specified_tested_and_refined(tmp_path: Path) -> None:
    require_isolation()
    texts = [("web", f"{i}.md", f"Page {i} about sorting lists.\n") for i in range(12)]
    write_corpus(tmp_path / "corpus", texts)
    code = "def f{i}(x):\n    return sorted(x)"

    def answer(prompt: str) -> str:
        i = int(re.search(r"(?:Page |f)(\d+)", prompt)[1])
        if prompt.startswith("This text comes"):
            return "NOTHING" if i == 0 else f"Page {i} about sorting lists."
        if "Kind of question" in prompt:
            assert "Programming language: Python" in prompt
            return f"### Question\nWrite f{i}."
        if "Write unit tests" in prompt:
            expected = "[2, 1]" if i == 1 else "[1, 2]"
            return f"```python\nassert f{i}([2, 1]) == {expected}\n```"
        broken = "Write the answer again" in prompt and i == 2
        body = "def f2(x):\n    return x" if broken else code.format(i=i)
        explained = " Sorted compares." if "Write the answer again" in prompt else ""
        return f"Here it is.{explained}\n\n```python\n{body}\n```"

    with ScriptedTeacher(answer) as server:
        teacher = server.settings(tmp_path / "cache")
        what = Diverse(
            DocumentFolder(str(tmp_path / "corpus")),
            teacher,
            SAMPLING,
            seeds(languages=[], doc_types=["text"]),
            Specification({"python": 1.0}, {"easy": 1.0, "hard": 1.0}, {"write": 1.0}),
            server.settings(tmp_path / "cache", "stronger"),
            SAMPLING,
            SAMPLING,
        )
        folder = make(what, tmp_path / "out")
    assert reasons(folder) == {"seed_not_useful": 1, "tests_failed": 2}
    made = conversations(folder)
    assert len(made) == 9
    assert all("Sorted compares." in c.messages[1][1] for c in made)
    assert {c.known()["difficulty"] for c in made} == {"easy", "hard"}
    teachers = [call["teacher"] for call in made[0].known()["calls"]]
    assert teachers == ["scripted", "scripted", "stronger", "stronger", "stronger"]


def test_a_specification_keeps_its_weights() -> None:
    weights = Specification({"python": 3.0, "go": 1.0}, {"easy": 1.0}, {"write": 1.0, "fix": 0.0})
    drawn = [weights.choose(str(i)) for i in range(2000)]
    assert abs(sum(language == "go" for language, _, _ in drawn) / 2000 - 0.25) < 0.03
    assert {kind for _, _, kind in drawn} == {"write"}
    for wrong in ({}, {"write": -1.0}, {"sing": 1.0}):
        with pytest.raises(InputError):
            Specification({"python": 1.0}, {"easy": 1.0}, wrong)
    assert {"write", "explain"} <= set(TASK_TYPES)


def dialogue(number: int, *messages: tuple[str, str]) -> Conversation:
    return Conversation(f"{number:032x}", messages, "python", f"repo-{number}", "imported")


def test_tasks_evolve_round_after_round(tmp_path: Path) -> None:
    folder = write_conversations(
        tmp_path / "set",
        [dialogue(i, ("user", f"Sort list number {i}."), ("assistant", "x")) for i in range(6)],
    )

    def answer(prompt: str) -> str:
        number = int(re.search(r"number (\d+)", prompt)[1])
        if "Make this programming task" not in prompt:
            return f"The answer of {number}."
        task = prompt.split('"""')[1].strip()
        if number == 0:
            return task
        if number == 1:
            return "#Rewritten Task#: sort number 1 quickly and well with care and so on."
        return f"{task} Handle {'even' if 'duplicates' in task else 'duplicates and'} empty lists."

    with ScriptedTeacher(answer) as server:
        teacher = server.settings(tmp_path / "cache")
        what = Evolution(
            ConversationFolder(str(folder)), teacher, SAMPLING, 2, 0.9, 1000, teacher, SAMPLING
        )
        out = make(what, tmp_path / "out")
    assert reasons(out) == {"not_evolved": 1, "speaks_of_prompt": 1}
    made = conversations(out)
    assert sorted(c.known()["round"] for c in made) == ["1"] * 4 + ["2"] * 4
    second = next(c for c in made if c.known()["round"] == "2")
    assert "duplicates" in second.messages[0][1]
    assert "Handle even empty lists" in second.messages[0][1]
    assert second.known()["seed"].startswith("Sort list number")


def test_overlap() -> None:
    assert overlap("Sort a list.", "sort, a list") == 1.0
    assert overlap("sort a list", "add two numbers") == 0.0
    assert overlap("a b", "a b c d") == pytest.approx(2 / 3)


@pytest.fixture
def dialogues(tmp_path: Path) -> ConversationFolder:
    english = "How do I sort a list of numbers in Python, and what does it cost?"
    turns = {
        0: [("user", f"{english} I am jane.doe@corp-mail.com."),
            ("assistant", "Use sorted, it is n log n.")],
        1: [("user", f"{english} Quickly."), ("assistant", "dunno")],
        2: [("user", "What shall I cook for dinner tonight, my friends?"), ("assistant", "Rice.")],
        3: [("user", "Wie sortiere ich eine Liste von Zahlen in Python?"), ("assistant", "So.")],
        4: [("user", "如何在 Python 中对一个列表进行排序?"), ("assistant", "用 sorted。")],
        5: [("user", english + " x" * 2000), ("assistant", "Use sorted.")],
        6: [("system", "Be brief."), ("user", f"{english} And then?"), ("assistant", "sorted"),
            ("user", "And backwards, please?"), ("assistant", "reverse"), ("user", "Thanks.")],
    }  # fmt: skip
    made = [dialogue(number, *messages) for number, messages in turns.items()]
    return ConversationFolder(str(write_conversations(tmp_path / "set", made)))


def judge(prompt: str) -> str:
    if "yes or no" in prompt:
        return "No." if "dinner" in prompt else "Yes."
    if "Rate it from 0" in prompt:
        return "Score: 1" if '"""\ndunno' in prompt else "Score: 8"
    return "Call `sorted(numbers)`."


def test_dialogues_about_code_stay_and_low_answers_are_written_anew(
    tmp_path: Path, dialogues: ConversationFolder
) -> None:
    with ScriptedTeacher(judge) as server:
        teacher = server.settings(tmp_path / "cache")
        what = Dialogues(
            dialogues, teacher, SAMPLING, "real_user", ["en", "zh"], 2000, "low", 5.0, teacher,
            SAMPLING,
        )  # fmt: skip
        folder = make(what, tmp_path / "out")
    assert reasons(folder) == {"not_about_code": 1, "human_language": 1, "too_long": 1}
    assert not any("jane.doe" in asked for asked in server.asked)
    made = {int(c.known()["source_id"], 16): c for c in conversations(folder)}
    assert set(made) == {0, 1, 4, 6}
    assert "<email>" in made[0].messages[0][1]
    assert made[0].known()["replaced"] == "1 <email>"
    assert made[1].messages[-1] == ("assistant", "Call `sorted(numbers)`.")
    assert made[1].provenance == "dialogues/answer"
    assert made[0].messages[-1][1] == "Use sorted, it is n log n."
    assert (made[0].provenance, made[0].known()["rating"]) == ("dialogues/rate", "8")
    assert made[4].known()["human_language"] == "zh"
    # Multi-turn with its system prompt, up to the last answer.
    assert [role for role, _ in made[6].messages] == [
        "system", "user", "assistant", "user", "assistant",
    ]  # fmt: skip


@pytest.mark.parametrize(("rewrite", "anew"), [("never", 0), ("always", 4)])
def test_rewriting_can_be_switched(
    tmp_path: Path, dialogues: ConversationFolder, rewrite: str, anew: int
) -> None:
    with ScriptedTeacher(judge) as server:
        teacher = server.settings(tmp_path / "cache")
        what = Dialogues(
            dialogues, teacher, SAMPLING, "infinity", ["en", "zh"], 2000, rewrite, 5.0, teacher,
            SAMPLING,
        )  # fmt: skip
        made = conversations(make(what, tmp_path / "out"))
    assert len(made) == 4
    assert sum(c.provenance == "dialogues/answer" for c in made) == anew
