"""The same ways to end in every language; one that is not installed is skipped, and says so."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.sandbox import LANGUAGES, Limits, Program, Result, Sandbox
from opencoder_jax.sandbox import languages as toolchains
from tests.isolation import require_isolation
from tests.opencoder_jax.sandbox.programs import (
    ASSERTION,
    COMPILE,
    CRASH,
    ENDLESS,
    FLOOD,
    MEMORY,
    PASSES,
    PROGRAMS,
    READS,
)

# The compilers' own time apart, programs are short; only the clock's are long.
LIMITS = Limits(wall_seconds=30.0, cpu_seconds=20, memory_bytes=256 << 20, output_bytes=4096)
# How a failed assertion is told, where the last line of stderr would be one of a stack.
REASONS = {
    "csharp": "Fail:",
    "go": "panic: wrong",
    "java": "java.lang.AssertionError",
    "javascript": "AssertionError [ERR_ASSERTION]: 3 == 4",
    "php": "Uncaught AssertionError: assert(array_sum([1, 2]) === 4)",
    "python": "AssertionError",
    "rust": "panicked at program.rs",
    "typescript": "AssertionError [ERR_ASSERTION]: 3 == 4",
}
# The rest need seconds: for them, the quick suite only sees that they run.
QUICK = ("python", "c", "javascript", "php", "bash")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    require_isolation()
    with Sandbox(LIMITS) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def hasty() -> Iterator[Sandbox]:
    """For programs that only the clock ends."""
    require_isolation()
    with Sandbox(Limits(wall_seconds=1.0, cpu_seconds=5)) as sandbox:
        yield sandbox


def run(sandbox: Sandbox, language: str, kind: str, stdin: str = "") -> Result:
    source = textwrap.dedent(PROGRAMS[language][kind]).lstrip()
    result = sandbox.run(source, language=language, stdin=stdin, arguments=["two words"])
    if result.verdict == "skipped":
        pytest.skip(f"sandbox: {result.reason}")
    return result


def languages(kind: str) -> list[object]:
    """Those that have such a program."""
    return [
        pytest.param(
            name,
            marks=() if name in QUICK or kind == PASSES else (pytest.mark.slow,),
        )
        for name in LANGUAGES
        if kind in PROGRAMS[name]
    ]


@pytest.mark.parametrize("language", languages(PASSES))
def test_a_program_passes(sandbox: Sandbox, language: str) -> None:
    result = run(sandbox, language, PASSES)
    assert (result.verdict, result.stdout, result.exit_code) == ("passed", "hello\n", 0), result


@pytest.mark.parametrize("language", languages(READS))
def test_a_program_reads_its_input_and_arguments(sandbox: Sandbox, language: str) -> None:
    result = run(sandbox, language, READS, stdin="21\n")
    assert (result.verdict, result.stdout) == ("passed", "42 two words\n"), result


@pytest.mark.parametrize("language", languages(ASSERTION))
def test_a_failed_assertion_is_no_pass(sandbox: Sandbox, language: str) -> None:
    result = run(sandbox, language, ASSERTION)
    # assert of C calls abort.
    expected = "killed" if language in ("c", "cpp") else "failed"
    assert result.verdict == expected, result
    assert REASONS.get(language, "") in result.reason, result


@pytest.mark.parametrize("language", languages(CRASH))
def test_a_crash_is_no_pass(sandbox: Sandbox, language: str) -> None:
    result = run(sandbox, language, CRASH)
    assert result.verdict in ("killed", "failed"), result
    assert result.exit_code != 0


@pytest.mark.parametrize("language", languages(ENDLESS))
def test_an_endless_loop_is_a_timeout(hasty: Sandbox, language: str) -> None:
    result = run(hasty, language, ENDLESS)
    assert (result.verdict, result.reason) == ("timeout", "it ran longer than 1.0 s"), result


@pytest.mark.parametrize("language", languages(MEMORY))
def test_endless_memory_is_limited(sandbox: Sandbox, language: str) -> None:
    result = run(sandbox, language, MEMORY)
    # What asks malloc and gives up is not told apart from any other abort.
    expected = ("memory", "killed") if language == "c" else ("memory",)
    assert result.verdict in expected, result


@pytest.mark.parametrize("language", languages(FLOOD))
def test_endless_output_is_cut(sandbox: Sandbox, language: str) -> None:
    result = run(sandbox, language, FLOOD)
    assert result.verdict == "output_limit", result
    assert len(result.stdout) == LIMITS.output_bytes


@pytest.mark.parametrize("language", languages(COMPILE))
def test_what_does_not_compile_is_told_with_the_compilers_words(
    sandbox: Sandbox, language: str
) -> None:
    result = run(sandbox, language, COMPILE)
    if language == "python":
        assert (result.verdict, result.reason) == ("failed", "SyntaxError: invalid syntax")
        return
    assert result.verdict == "compile_error", result
    assert "program." in result.stderr or "Main.java" in result.stderr
    assert result.stdout == ""


def test_the_walls_are_those_of_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_isolation()
    secret = tmp_path / "secret"
    secret.write_text("secret")
    monkeypatch.setenv("API_TOKEN", "very-secret")
    look = f"""
        for path in {secret} {__file__} /etc/passwd /home /root/.ssh /sys/kernel; do
            [[ -e $path ]] && exit 1
        done
        (echo > /dev/tcp/127.0.0.1/22) 2>/dev/null && exit 2
        touch /usr/x /x /proc/x 2>/dev/null && exit 3
        grep -q secret <(env) && exit 4
        mount -t tmpfs none /tmp 2>/dev/null && exit 5
        unshare --user true 2>/dev/null && exit 6
        [[ $(ls /proc | grep -c '^[0-9]') -le 6 ]] || exit 7
        grep -q 'CapEff:.0000000000000000' /proc/self/status || exit 8
        echo fine > /tmp/file && cat /dev/stdin
    """
    with Sandbox(LIMITS) as fresh:
        result = fresh.run(textwrap.dedent(look), language="bash", stdin="given")
    assert (result.verdict, result.stdout) == ("passed", "given"), result


@pytest.mark.parametrize(
    ("language", "hostile"),
    [
        ("c", '#include "/etc/passwd"\nint main() {}'),
        ("c", '#include "/proc/1/environ"\nint main() {}'),
        ("c", "#include __FILE__\n"),
        ("c", "int main[-1u] = {1};"),
        ("rust", 'const X: &str = include_str!("/etc/passwd"); fn main() {}'),
        ("rust", 'const X: &str = env!("API_TOKEN"); fn main() {}'),
        ("cpp", "template<int n> struct A : A<n + 1> {}; A<0> a; int main() {}"),
    ],
)
def test_a_compiler_is_behind_the_same_walls(
    sandbox: Sandbox, language: str, hostile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN", "very-secret")
    result = sandbox.run(hostile, language=language)
    if result.verdict == "skipped":
        pytest.skip(f"sandbox: {result.reason}")
    assert result.verdict in ("compile_error", "memory"), result
    assert "root:" not in result.stderr
    assert "very-secret" not in result.stderr


def test_a_compiler_has_its_own_limits() -> None:
    require_isolation()
    endless = """
        constexpr unsigned long f(unsigned long n) {
            unsigned long s = 0;
            for (unsigned long i = 0; i < n; i++) for (unsigned long j = 0; j < 200000; j++) s += j;
            return s;
        }
        static_assert(f(262143) == f(200000)); static_assert(f(262142) == f(200000));
        int main() {}
    """
    with Sandbox(Limits(compile_seconds=1.0)) as sandbox:
        result = sandbox.run(endless, language="cpp")
        if result.verdict == "skipped":
            pytest.skip(f"sandbox: {result.reason}")
        assert (result.verdict, result.reason) == ("timeout", "its compiler ran longer than 1.0 s")
        assert sandbox.run("pass").verdict == "passed"


def test_what_a_compiler_leaves_running_does_not_meet_the_program(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = toolchains.Plan(
        "program.sh",
        compile=("/bin/bash", "-c", "(trap '' TERM HUP; sleep 300) & disown -a; exit 0"),
        run=("/bin/bash", "program.sh"),
    )
    monkeypatch.setattr(toolchains, "plan", lambda language, source: plan)
    result = sandbox.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '", language="bash")
    assert result.verdict == "passed", result
    assert "sleep" not in result.stdout


def test_a_test_of_go_is_run_as_one(sandbox: Sandbox) -> None:
    source = """
        package main
        import "testing"
        func add(a int, b int) int { return a + b }
        func TestAdd(t *testing.T) { if add(1, 2) != WANT { t.Fatal("wrong") } }
    """
    right = sandbox.run(textwrap.dedent(source).replace("WANT", "3"), language="go")
    if right.verdict == "skipped":
        pytest.skip(f"sandbox: {right.reason}")
    wrong = sandbox.run(textwrap.dedent(source).replace("WANT", "4"), language="go")
    assert (right.verdict, wrong.verdict) == ("passed", "failed"), (right, wrong)


@pytest.mark.parametrize("argument", ["a\0b", "\ud800"])
def test_an_argument_that_no_command_line_has_is_named(sandbox: Sandbox, argument: str) -> None:
    result = sandbox.run("exit 0", language="bash", arguments=[argument])
    assert result.verdict == "failed"
    assert "bash: arguments: " in result.reason


def test_javascript_may_be_a_module(sandbox: Sandbox) -> None:
    result = sandbox.run("import assert from 'node:assert';\nassert(true);", language="javascript")
    if result.verdict == "skipped":
        pytest.skip(f"sandbox: {result.reason}")
    assert result.verdict == "passed", result


def test_a_public_java_class_may_stand_behind_an_import(sandbox: Sandbox) -> None:
    result = sandbox.run(
        "import java.util.*; public class A { public static void main(String[] words) {"
        " System.out.println(List.of(1).size()); } }",
        language="java",
    )
    assert result.verdict == "skipped" or (result.verdict, result.stdout) == ("passed", "1\n")


def test_further_java_sources_are_compiled_too(sandbox: Sandbox) -> None:
    result = sandbox.run(
        "import pair.Pair;\nclass Main { public static void main(String[] a) { new Pair(); } }",
        language="java",
        files={"pair/Pair.java": "package pair;\npublic class Pair {}"},
    )
    if result.verdict == "skipped":
        pytest.skip(f"sandbox: {result.reason}")
    assert result.verdict == "passed", result


def test_csharp_has_whole_numbers_of_any_size(sandbox: Sandbox) -> None:
    result = sandbox.run(
        "using System; using System.Numerics; using System.Diagnostics;\n"
        'class P { static void Main() { Debug.Assert($"{BigInteger.Pow(2, 70)}".Length == 22); } }',
        language="csharp",
    )
    if result.verdict == "skipped" or "System.Numerics.dll" in result.stderr:
        pytest.skip(f"sandbox: {result.reason}")
    assert result.verdict == "passed", result


def test_java_has_the_tuples_that_multipl_e_imports(sandbox: Sandbox) -> None:
    result = sandbox.run(
        "import org.javatuples.*;\nclass Main { public static void main(String[] a) {\n"
        "  assert Pair.with(1, 2).getValue1() == 2; } }",
        language="java",
    )
    if result.verdict == "skipped" or not Path(toolchains.JAVATUPLES).exists():
        pytest.skip("sandbox: no javac, or no javatuples")
    assert result.verdict == "passed", result


def test_a_missing_toolchain_is_skipped_with_its_name(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchains, "_locate", lambda name, folders: None)
    results = sandbox.run_many([Program("<?php", "php"), Program("fn main() {}", "rust")])
    assert [(r.verdict, r.reason) for r in results] == [
        ("skipped", "no php"),
        ("skipped", "no gcc"),
    ]


def test_a_toolchain_that_does_not_work_is_skipped_with_its_words(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "go"
    broken.write_text("#!/bin/sh\necho no toolchain chosen >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(toolchains, "_locate", lambda name, folders: str(broken))
    toolchains._go_root.cache_clear()
    result = sandbox.run("package main", language="go")
    toolchains._go_root.cache_clear()
    assert (result.verdict, result.reason) == ("skipped", "no working go: no toolchain chosen")


def test_a_toolchain_in_tmp_is_not_seen_by_programs(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = toolchains.Plan("program.php", run=("/tmp/php/php",), paths=("/tmp/php",))
    monkeypatch.setitem(toolchains._PLANNERS, "php", lambda source: plan)
    result = sandbox.run("<?php", language="php")
    assert result.reason == "/tmp/php lies in /tmp, which programs do not see"


def test_an_unknown_language_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(InputError, match="'cobol': expected one of bash, c, cpp"):
        sandbox.run("", language="cobol")


def test_the_standard_streams_can_be_opened_by_name(sandbox: Sandbox) -> None:
    program = "cat /dev/stdin > /dev/stdout; echo err > /dev/stderr"
    result = sandbox.run(program, language="bash", stdin="in")
    assert (result.stdout, result.stderr) == ("in", "err\n")
