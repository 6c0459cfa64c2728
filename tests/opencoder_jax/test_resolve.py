"""`--resolve`: what a command would be called with, said without calling it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from opencoder_jax.configuration.command import ANSWERS_NAME, REQUESTS_NAME

BASE = """
from __gin__ import dynamic_registration
import __main__ as script
from tests.opencoder_jax import command_to_resolve
OUTPUT = %gin.REQUIRED
PART = @command_to_resolve.Part()
script.command:
  part = %PART
  output = %OUTPUT
"""


@pytest.fixture
def resolve(tmp_path: Path):
    """Answers to several gin files with bindings, each of them on top of `BASE`."""
    (tmp_path / "base.gin").write_text(BASE)

    def answers(*requests: tuple[str, list[str]]) -> list[dict[str, Any]]:
        words = []
        for number, (text, flags) in enumerate(requests):
            (tmp_path / f"{number}.gin").write_text(f"include '{tmp_path}/base.gin'\n{text}")
            words.append([f"--gin_file={tmp_path}/{number}.gin", "--gin.OUTPUT=x", *flags])
        (tmp_path / REQUESTS_NAME).write_text(json.dumps(words))
        module = "tests.opencoder_jax.command_to_resolve"
        command = [sys.executable, "-m", module, f"--resolve={tmp_path}"]
        subprocess.run(command, check=True)
        return json.loads((tmp_path / ANSWERS_NAME).read_text())

    return answers


HEAD = "from __gin__ import dynamic_registration\n"
SCRIPT = f"{HEAD}import __main__ as script\n"
PARTS = f"{SCRIPT}from tests.opencoder_jax import command_to_resolve\n"


def test_everything_is_written_out(resolve):
    text = f"""{PARTS}
script.command.parts = [@a/command_to_resolve.Part(), @b/command_to_resolve.Part()]
script.command.reporter = @command_to_resolve.Reporter()
a/command_to_resolve.Part.rate = 2
command_to_resolve.Part.workers = 4
"""
    [answer] = resolve((text, ["--runner=Other"]))
    assert answer["bindings"] == {
        "command.part": "@tests.opencoder_jax.command_to_resolve.Part()",
        "command.part.rate": "1.0",
        "command.part.sizes": "[1.0, 2.0]",
        "command.part.workers": "4",
        "command.part.names": "{'a': 1.0}",
        "command.output": "'x'",
        "command.parts": "[@tests.opencoder_jax.command_to_resolve.Part(), "
        "@tests.opencoder_jax.command_to_resolve.Part()]",
        "command.parts[0].rate": "2.0",
        "command.parts[0].sizes": "[1.0, 2.0]",
        "command.parts[0].workers": "4",
        "command.parts[0].names": "{'a': 1.0}",
        "command.parts[1].rate": "1.0",
        "command.parts[1].sizes": "[1.0, 2.0]",
        "command.parts[1].workers": "4",
        "command.parts[1].names": "{'a': 1.0}",
        "command.reporter": "@tests.opencoder_jax.command_to_resolve.Reporter()",
        "command.reporter.period": "10",
        "command.function": "double",
        "command.count": "3",
    }
    assert answer["incidental"] == [
        "command.part.workers",
        "command.parts[0].workers",
        "command.parts[1].workers",
        "command.reporter",
        "command.reporter.period",
    ]
    assert answer["facts"] == {"cost": 3.0, "share": 1 / 3}


def test_equal_settings_written_differently_are_equal(resolve):
    plain, *others = resolve(
        ("", []),
        (f"{SCRIPT}script.command.count = 3\n", []),
        (f"{PARTS}command_to_resolve.Part.rate = 1\n", []),
        (f"{PARTS}PART = @named/command_to_resolve.Part()\n", []),
        (f"{PARTS}script.command.part = @command_to_resolve.Part()\n", []),
        (f"{PARTS}RATE = 1.0\ncommand_to_resolve.Part.rate = %RATE\n", []),
        (f"{PARTS}command_to_resolve.Part.sizes = [1, 2.0]\n", []),
        (f"{PARTS}script.command.function = @command_to_resolve.double\n", []),
        (f"{PARTS}command_to_resolve.Part.rate = 7\n", ["--gin.command_to_resolve.Part.rate=1"]),
    )
    without_function = {k: v for k, v in plain["bindings"].items() if k != "command.function"}
    # Gin leaves idle macros: PART has no reader where `part` was bound anew.
    assert "PART" in others[3]["error"]
    for answer in others[:3] + others[4:]:
        bindings = answer["bindings"]
        assert {k: v for k, v in bindings.items() if k in without_function} == without_function


def test_mistakes_are_answers_and_later_requests_are_not_touched(resolve):
    text = f"{PARTS}from tests.opencoder_jax import command_under_test\n"
    answers = resolve(
        (f"{text}command_under_test.Settings.size = 1\n", []),
        (f"{SCRIPT}script.command.cuont = 3\n", []),
        (f"{SCRIPT}script.command.count = 'three'\n", []),
        (f"{SCRIPT}COUNT = 3\n", []),
        (f"{PARTS}command_to_resolve.Part.rate = -1.0\n", []),
        ("", ["--gin.Settings.size=3"]),
        ("", ["--gin_file=nowhere.gin"]),
        ("", ["--gin.command.count=0"]),
        ("", []),
    )
    errors = [answer.get("error") for answer in answers]
    assert "never take effect" in errors[0]
    assert "doesn't have a parameter named 'cuont'" in errors[1]
    assert "expected int" in errors[2]
    assert errors[3].startswith("these gin bindings never take effect on command")
    assert errors[3].endswith(": COUNT")
    assert errors[4] == "rate is -1.0, expected 0 or more"
    # The first request's gin file imported `Settings`, this one's does not.
    assert "No configurable matching 'Settings'" in errors[5]
    assert "nowhere.gin" in errors[6]
    assert errors[7] == "ZeroDivisionError: division by zero"
    assert errors[8] is None
