"""The languages that programs can be in: how each is compiled and run, and with what.

One function a language plans a program: the file it goes into, the compiler's command,
its own, and what of the host these need to see beyond Python and the system's folders.
Toolchains are looked for when a language is first asked for, in `PATH` and where their
installers put them; where one is missing the program is skipped. Commands are those of
MultiPL-E and McEval, so that verdicts are comparable. Planning happens on the caller's
side; `stages` carries a plan out inside.
"""

import dataclasses
import functools
import glob
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from opencoder_jax.errors import InputError
from opencoder_jax.sandbox import go_library

_PROBE_SECONDS = 30
_USUAL_FOLDERS = (
    "~/.cargo/bin",
    "/usr/local/cargo/bin",
    "/usr/local/go/bin",
    "/usr/lib/go/bin",
    "/snap/bin",
    "/opt/*/bin",
    "/usr/local/bin",
    "/usr/bin",
)
_PROGRAM = "./program"
# MultiPL-E's programs import it, as Java has no tuples. Debian's place, which all programs see.
JAVATUPLES = "/usr/share/java/javatuples.jar"


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How one program is compiled and run.

    `{scratch}` (the working folder) and `{memory_mb}` (the memory limit) in commands and
    environment are filled in inside.

    Attributes:
      file: name of the source.
      run: its command.
      compile: the compiler's; empty where there is none.
      paths: what of the host is visible, read-only, beyond what always is.
      environment: of compiler and program, beyond the sandbox's own.
      threads: that the runtime starts for itself; they come on top of `Limits.processes`.
      reserves_addresses: it asks for more address space than it ever uses, so memory is
        limited by what it may write to and by what is resident.
      memory_words: matches in the stderr of a program that failed for lack of memory.
      failure_words: matches in the stderr of one that failed though it exits with 0.
    """

    file: str
    run: tuple[str, ...]
    compile: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    threads: int = 0
    reserves_addresses: bool = False
    memory_words: str = ""
    failure_words: str = ""


class MissingToolchain(Exception):  # noqa: N818  (caught, never shown as an error)
    """A language that this machine cannot run; the message is the reason, as `no php`."""


def plan(language: str, source: str) -> Plan:
    """How to compile and run `source`.

    Raises:
      InputError: there is no such language.
      MissingToolchain: this machine cannot run it.
    """
    if language not in _PLANNERS:
        raise InputError(
            f"sandbox language {language!r}: expected one of {', '.join(sorted(LANGUAGES))}"
        )
    planned = _PLANNERS[language](source)
    for path in planned.paths:
        if path.startswith("/tmp/"):
            raise MissingToolchain(f"{path} lies in /tmp, which programs do not see")
    return planned


def missing_toolchain(language: str) -> str:
    """What this machine lacks to run a language, as `no php`; empty: nothing.

    Raises:
      InputError: there is no such language.
    """
    try:
        if language != "python":
            plan(language, "")
    except MissingToolchain as missing:
        return str(missing)
    return ""


def _c(source: str) -> Plan:
    return Plan(
        "program.c",
        run=(_PROGRAM,),
        compile=(_find("gcc", "clang", "cc"), "-o", "program", "program.c", "-lm", "-pthread"),
    )


def _cpp(source: str) -> Plan:
    compiler = _find("g++", "clang++", "c++")
    return Plan(
        "program.cpp",
        run=(_PROGRAM,),
        compile=(compiler, "-std=c++17", "-o", "program", "program.cpp", "-pthread"),
        memory_words=r"std::bad_alloc",
    )


def _java(source: str) -> Plan:
    home = Path(_find("javac", folders=("/usr/lib/jvm/*/bin",))).parents[1]
    if not (home / "bin" / "java").exists() or not (home / "release").exists():
        raise MissingToolchain("no java beside javac")
    name = _java_class(source)
    classes = f".:{JAVATUPLES}" if os.path.exists(JAVATUPLES) else "."
    # Short programs: what starts fast and with few threads wins.
    options = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
    return Plan(
        f"{name}.java",
        compile=(
            str(home / "bin" / "javac"),
            *(f"-J{option}" for option in options),
            *("-cp", classes, "-encoding", "UTF-8", "-nowarn", f"{name}.java"),
        ),
        run=(
            str(home / "bin" / "java"),
            *options,
            *("-Xmx{memory_mb}m", "-Dfile.encoding=UTF-8", "-ea", "-cp", classes, name),
        ),
        # Debian keeps a JDK's configuration in /etc.
        paths=(str(home), *glob.glob("/etc/java-*")),
        threads=32,
        reserves_addresses=True,
        memory_words=r"OutOfMemoryError|insufficient memory|unable to allocate",
    )


def _java_class(source: str) -> str:
    """The class that the file must be named after; without a public one, that of `main`."""
    public = re.search(
        r"(?:^|[;}])\s*public\s+(?:(?:final|abstract|strictfp)\s+)*class\s+(\w+)", source, re.M
    )
    if public:
        return public[1]
    before_main = source.partition("static void main")[0]
    classes = re.findall(r"^\s*(?:final\s+|abstract\s+)*class\s+(\w+)", before_main, re.M)
    return classes[-1] if classes else "Main"


def _javascript(source: str) -> Plan:
    module = re.search(r"^\s*(import\s+[\w{*\"']|export\s)", source, re.M)
    return _node("program.mjs" if module and "require(" not in source else "program.js")


def _typescript(source: str) -> Plan:
    node = _node("program.js")
    try:
        compiler = _find("tsc")
    except MissingToolchain:
        if _node_version() < (22, 18):
            raise
        # Types are stripped, not checked.
        return _node("program.ts")
    options = ("--target", "es2022", "--module", "commonjs", "--moduleResolution", "node")
    return dataclasses.replace(
        node,
        file="program.ts",
        compile=(node.run[0], compiler, *options, "program.ts"),
        paths=(*node.paths, str(_package_root(Path(compiler)))),
    )


def _node(file: str) -> Plan:
    node = _find("node", "nodejs", folders=("~/.nvm/versions/node/*/bin",))
    return Plan(
        file,
        run=(node, "--max-old-space-size={memory_mb}", file),
        paths=(node,),
        threads=16,
        reserves_addresses=True,
        memory_words=r"JavaScript heap out of memory|Array buffer allocation failed",
    )


def _go(source: str) -> Plan:
    root = _go_root()
    library = go_library.folder(root)
    is_test = re.search(r"^func Test\w*\(", source, re.M) and not re.search(
        r"^func main\(\)", source, re.M
    )
    file, command = ("program_test.go", ("test", "-c")) if is_test else ("program.go", ("build",))
    return Plan(
        file,
        compile=(f"{root}/bin/go", *command, "-o", "program", file),
        run=(_PROGRAM,),
        paths=(root, library) if library else (root,),
        environment={
            **go_library.environment(root),
            "GOCACHE": library or "{scratch}/.cache",
            "GOPATH": "{scratch}/.go",
        },
        threads=32,
        reserves_addresses=True,
        memory_words=r"out of memory|cannot allocate memory",
    )


def _rust(source: str) -> Plan:
    linker = _find("gcc", "clang", "cc")
    root = _rust_root()
    return Plan(
        "program.rs",
        compile=(
            f"{root}/bin/rustc",
            *("--edition=2021", "-C", f"linker={linker}", "-C", "debuginfo=0", "-A", "warnings"),
            *("-o", "program", "program.rs"),
        ),
        run=(_PROGRAM,),
        paths=(root,),
        memory_words=r"memory allocation of \d+ bytes failed",
    )


def _php(source: str) -> Plan:
    settings = ("zend.assertions=1", "assert.exception=1", "display_errors=stderr")
    return Plan(
        "program.php",
        run=(
            _find("php"),
            *(word for setting in settings for word in ("-d", setting)),
            *("-d", "memory_limit={memory_mb}M", "program.php"),
        ),
        paths=tuple(glob.glob("/etc/php*")),
        memory_words=r"Allowed memory size of|Out of memory",
    )


def _csharp(source: str) -> Plan:
    # Not always: Debian has this library in a package of its own.
    numerics = ("-r:System.Numerics.dll",) if "System.Numerics" in source else ()
    return Plan(
        "program.cs",
        compile=(_find("mcs"), "-d:DEBUG", "-warn:0", *numerics, "-out:program.exe", "program.cs"),
        run=(_find("mono"), "--debug", "program.exe"),
        paths=tuple(glob.glob("/etc/mono")),
        environment={"MONO_TRACE_LISTENER": "Console.Error"},
        threads=16,
        reserves_addresses=True,
        memory_words=r"OutOfMemoryException|Could not allocate",
        # A failed Debug.Assert is only told to the listener.
        failure_words=r"System\.Diagnostics\.DefaultTraceListener\.Fail|^Fail:",
    )


def _bash(source: str) -> Plan:
    return Plan(
        "program.sh",
        run=(_find("bash"), "program.sh"),
        memory_words=r"cannot allocate memory|xrealloc|xmalloc",
    )


_PLANNERS: dict[str, Callable[[str], Plan]] = {
    "bash": _bash,
    "c": _c,
    "cpp": _cpp,
    "csharp": _csharp,
    "go": _go,
    "java": _java,
    "javascript": _javascript,
    "php": _php,
    "rust": _rust,
    "typescript": _typescript,
}
# Python needs no plan: it is what the sandbox itself runs on.
LANGUAGES = ("python", *_PLANNERS)


def _find(*names: str, folders: tuple[str, ...] = ()) -> str:
    """The real path of the first of these programs that there is."""
    for name in names:
        found = _locate(name, folders)
        if found:
            return found
    raise MissingToolchain(f"no {names[0]}")


@functools.cache
def _locate(name: str, folders: tuple[str, ...]) -> str | None:
    usual = [
        match
        for pattern in (*folders, *_USUAL_FOLDERS)
        for match in sorted(glob.glob(os.path.expanduser(pattern)), reverse=True)
    ]
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(usual))
    return os.path.realpath(found) if found else None


@functools.cache
def _go_root() -> str:
    return os.path.realpath(_ask(_find("go"), "env", "GOROOT"))


@functools.cache
def _rust_root() -> str:
    """The toolchain's own folder; `rustc` in `PATH` may be rustup's link to it."""
    rustc = shutil.which("rustc") or shutil.which(
        "rustc", path=os.path.expanduser("~/.cargo/bin:/usr/local/cargo/bin")
    )
    if rustc is None:
        raise MissingToolchain("no rustc")
    return os.path.realpath(_ask(rustc, "--print", "sysroot"))


@functools.cache
def _node_version() -> tuple[int, ...]:
    version = _ask(_find("node", "nodejs"), "--version")
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _ask(*command: str) -> str:
    """What a toolchain says about itself."""
    name = os.path.basename(command[0])
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PROBE_SECONDS, cwd="/"
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingToolchain(f"no working {name}: {error}") from error
    if done.returncode != 0:
        # A link of rustup's, say, for a user who has no toolchain.
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise MissingToolchain(f"no working {name}: {said[0]}")
    return done.stdout.strip()


def _package_root(path: Path) -> Path:
    """The npm package that `path` is in."""
    folders = [folder for folder in path.parents if (folder / "package.json").exists()]
    return folders[0] if folders else path.parent
