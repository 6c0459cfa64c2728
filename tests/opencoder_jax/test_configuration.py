import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import gin
import pytest

from opencoder_jax import configuration
from opencoder_jax.configuration import ConfigurationError
from opencoder_jax.errors import STORAGE_EXIT_STATUS
from tests.opencoder_jax import command_under_test
from tests.opencoder_jax.command_under_test import Settings

BASE = """
from __gin__ import dynamic_registration
from tests.opencoder_jax import command_under_test
OUTPUT = %gin.REQUIRED
command_under_test.Settings.size = 7
"""
RUN = """
from __gin__ import dynamic_registration
import __main__ as script
from tests.opencoder_jax import command_under_test
include 'base.gin'
script.command:
  settings = @scoped/command_under_test.Settings()
  output = %OUTPUT
scoped/command_under_test.Settings.name = 'scoped'
"""


@pytest.fixture
def gin_folder(tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "base.gin").write_text(BASE)
    (folder / "run.gin").write_text(RUN)
    yield folder
    gin.clear_config()


def configure(folder, *bindings, file="run.gin"):
    return configuration.configure(
        command_under_test.command, gin_files=[file], bindings=bindings, search_paths=[folder]
    )


def run(folder, *arguments):
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.opencoder_jax.command_under_test",
            "--gin_file=run.gin",
            f"--gin_search_paths={folder}",
            *arguments,
        ],
        capture_output=True,
        text=True,
    )


def test_a_folder_of_results_may_be_called_as_one_of_gin_files(gin_folder, tmp_path, monkeypatch):
    nested = gin_folder / "results"
    nested.mkdir()
    (nested / "run.gin").write_text(RUN)
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    configured = configure(gin_folder, "OUTPUT = 'out'", file="results/run.gin")
    assert configured.__name__ == "command"


def test_files_includes_scopes_and_bindings_reach_the_function(gin_folder, capsys):
    configure(gin_folder, "OUTPUT = 'x'", "command.count = 5")()
    assert capsys.readouterr().out == "7 scoped x 5 []\n"


def test_the_command_line_needs_no_inner_quotes_and_passes_other_flags_on(gin_folder):
    result = run(gin_folder, "--gin.OUTPUT=runs/a-b.c", "--runner=FnApiRunner")
    assert result.stdout == "7 scoped runs/a-b.c 3 ['--runner=FnApiRunner']\n", result.stderr


@pytest.mark.parametrize(
    "text", ["def fib(n):", "# Sorts, then prints:\n", "import os; x = [1, 2]", "it's 3 > 2"]
)
def test_a_plain_text_on_the_command_line_needs_no_inner_quotes(gin_folder, capsys, text):
    flags = ["--gin_file=run.gin", f"--gin_search_paths={gin_folder}", f"--gin.OUTPUT={text}"]
    assert configuration.main(command_under_test.command, flags, pass_through="extra") == 0
    assert capsys.readouterr().out == f"7 scoped {text} 3 []\n"


def shown(named: Mapping[str, Settings]) -> None:
    print(named)


def test_scoped_references_inside_a_macro_take_effect(tmp_path, capsys):
    (tmp_path / "run.gin").write_text("""
from __gin__ import dynamic_registration
import __main__ as script
from tests.opencoder_jax import command_under_test
NAMED = {
    'a': @a/command_under_test.Settings(),
    'b': @b/command_under_test.Settings(),
}
a/command_under_test.Settings.name = 'first'
b/command_under_test.Settings.size = 9
script.shown.named = %NAMED
""")
    configuration.configure(shown, gin_files=[tmp_path / "run.gin"])()
    expected = {"a": Settings(name="first"), "b": Settings(size=9)}
    assert capsys.readouterr().out == f"{expected}\n"


def test_the_written_configuration_gives_the_same_run_again(gin_folder, tmp_path, capsys):
    configure(gin_folder, "OUTPUT = 'x'", "command.count = 5")
    configuration.write_config_gin(tmp_path)
    configuration.configure(command_under_test.command, gin_files=[tmp_path / "config.gin"])()
    assert capsys.readouterr().out == "7 scoped x 5 []\n"


@pytest.mark.parametrize(
    ("binding", "complaint"),
    [
        ("command.cuont = 5", "cuont"),
        ("nothing.size = 5", "nothing"),
        ("SIZE = 5", "never take effect on command .*SIZE"),
        ("other/command_under_test.Settings.size = 5", "other/.*Settings.size"),
        ("command_under_test.Settings.name = 'x'", "never take effect on command .*Settings.name"),
        ("command.count = 5 +", r"5 \+: Expected"),
    ],
)
def test_a_binding_that_names_nothing_or_takes_no_effect_is_an_error(
    gin_folder, binding, complaint
):
    with pytest.raises(ConfigurationError, match=complaint):
        configure(gin_folder, "OUTPUT = 'x'", binding)


@pytest.mark.parametrize("more", ["", ", 'c': {'a': 1}"])
def test_a_key_that_a_dictionary_has_twice_is_an_error_that_names_it(gin_folder, more):
    text = RUN + f"TABLE = {{\n  'a': {{'a': 1, 'b': 2}},\n  'b': 3,\n  'a': 4{more}}}\n"
    (gin_folder / "twice.gin").write_text(text)
    with pytest.raises(ConfigurationError, match=r"key 'a' is in one dictionary twice.*twice\.gin"):
        configure(gin_folder, file="twice.gin")
    with pytest.raises(ConfigurationError, match="key 'a' is in one dictionary twice"):
        configuration.read_gin(gin_folder / "twice.gin")


def test_one_key_in_several_dictionaries_is_no_mistake(gin_folder):
    text = "TABLE = {'a': {'a': {'a': 1}}, 'b': [{'a': 1}, {'a': 2}]}\n"
    (gin_folder / "table.gin").write_text(text)
    table = configuration.read_gin(gin_folder / "table.gin").macros["TABLE"]
    assert table == {"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 2}]}


def test_an_unset_required_value_is_named(gin_folder):
    with pytest.raises(ConfigurationError, match="required and unset: OUTPUT"):
        configure(gin_folder)


def test_a_missing_gin_file_says_where_it_was_looked_for(gin_folder):
    with pytest.raises(ConfigurationError, match=r"absent\.gin.*gin_configs"):
        configure(gin_folder, file="absent.gin")


def test_bad_input_is_one_line_and_status_2(gin_folder):
    result = run(gin_folder, "--gin.OUTPUT=x", "--gin.command.count=-1")
    assert result.returncode == 2
    assert result.stderr == "error: count is -1, expected 0 or more\n"


def write_on_a_full_disk() -> None:
    Path("/dev/full").write_text("no room for this")


def test_storage_that_fails_under_gin_is_one_line_and_status_74(capsys):
    assert configuration.main(write_on_a_full_disk, []) == STORAGE_EXIT_STATUS
    said = "error: cannot read or write: [Errno 28] No space left on device\n"
    assert capsys.readouterr().err == said


def test_dry_run_prints_the_configuration_and_runs_nothing(gin_folder):
    result = run(gin_folder, "--gin.OUTPUT=x", "--dry_run")
    assert "script.command.output = %OUTPUT" in result.stdout
    assert "scoped x" not in result.stdout


def test_help_lists_what_can_be_bound(gin_folder):
    help_text = run(gin_folder, "--help").stdout
    assert "Prints what it was given." in help_text
    assert "command.count: int = 3" in help_text


def test_base_files_flags_and_words_reach_the_function(gin_folder, capsys):
    def main(*arguments):
        return configuration.main(
            command_under_test.command,
            [f"--gin_search_paths={gin_folder}", *arguments],
            base_gin_files=["run.gin"],
            flags={"output": "OUTPUT", "count": "command.count"},
            words="extra",
        )

    (gin_folder / "mine.gin").write_text("command.count = 8\n")
    given = ["a b", "--output=5", f"--gin_file={gin_folder / 'mine.gin'}", "c"]
    assert main(*given) == 0
    # The base file is read first, a flag of text stays text, words stand anywhere.
    assert capsys.readouterr().out == "7 scoped 5 8 ['a b', 'c']\n"
    assert main(*given, "--count=9") == 0
    assert capsys.readouterr().out == "7 scoped 5 9 ['a b', 'c']\n"
    assert main(*given, "--count=many") == 2
    assert "--count: invalid int value: 'many'" in capsys.readouterr().err
    assert main(*given, "--unknown") == 2
    assert "unknown flags: --unknown" in capsys.readouterr().err
    # What follows `--` is words alone, whatever it looks like.
    assert main(*given, "--", "d", "--count=many", "--gin.x=y", "--", "--help") == 0
    words = ["a b", "c", "d", "--count=many", "--gin.x=y", "--", "--help"]
    assert capsys.readouterr().out == f"7 scoped 5 8 {words}\n"


def test_equal_configurations_have_one_canonical_form():
    first = configuration.canonical({"b": (1, 2), "a": Settings(size=2)})
    second = configuration.canonical({"a": Settings(2, "plain"), "b": [1, 2]})
    assert first == second
    assert first["a"] == {"type": "Settings", "size": 2, "name": "plain"}


def test_flags_of_settings_may_begin_with_a_word(gin_folder, capsys):
    arguments = ["--gin_file=run.gin", f"--gin_search_paths={gin_folder}", "--gin.OUTPUT=out"]
    status = configuration.main(
        command_under_test.command, [*arguments, "--unit_size=9"], settings={"unit_": Settings}
    )
    captured = capsys.readouterr()
    assert status == 0, captured.err
    assert captured.out == "9 scoped out 3 []\n"


def test_a_command_may_foretell_in_a_dry_run(capsys, tmp_path):
    seen = []

    def tell(count: int = 1, only_tell: bool = False) -> None:
        """Tells."""
        seen.append((count, only_tell))

    (tmp_path / "run.gin").write_text("# Nothing.\n")
    flags = [f"--gin_file={tmp_path / 'run.gin'}"]
    for more in ([], ["--dry_run"]):
        assert configuration.main(tell, [*flags, *more], dry_run="only_tell") == 0
    assert seen == [(1, False), (1, True)]
    assert configuration.main(tell, [*flags, "--dry_run"]) == 0
    assert len(seen) == 2
