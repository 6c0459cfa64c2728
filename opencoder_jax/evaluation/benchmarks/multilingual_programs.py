"""Programs of McEval's and MdEval's many languages: what was written, and its tests.

Their problems are heads (imports, an opened class, a signature), bodies and tests that follow
each language's habits: Java and C# tests stand inside the class, Rust's in a test module, Go's
use a library. Here they become programs that the sandbox compiles and runs, and that fail where
a test fails. The published evaluators let some failures pass: `console.assert` only prints, and
so do C#'s tests.
"""

import re

from opencoder_jax.evaluation.benchmark import Program
from opencoder_jax.evaluation.drivers import driver_text
from opencoder_jax.evaluation.function_text import lines_that, without_function, without_inert

# The data sets' names of languages to the sandbox's.
LANGUAGES = {
    "Python": "python",
    "C": "c",
    "CPP": "cpp",
    "Java": "java",
    "JavaScript": "javascript",
    "TypeScript": "typescript",
    "Go": "go",
    "Rust": "rust",
    "PHP": "php",
    "C#": "csharp",
    "Shell": "bash",
}
_THROWING_ASSERT = (
    "console.assert = (condition, ...words) => {"
    " if (!condition) throw new Error(words.join(' ') || 'assertion failed'); };\n"
)
# Crates that no toolchain has by itself; their heads name them all the same.
_FOREIGN_CRATES = re.compile(r"^[ \t]*use (?:rand|regex|md5)\b[^;]*;[ \t]*\n?", re.MULTILINE)
# Standard packages that Go code names without importing them, or imports without naming.
_GO_PACKAGES = (
    *("bytes", "cmp", "container/heap", "container/list", "crypto/md5", "encoding/hex", "errors"),
    *("fmt", "maps", "math", "math/big", "math/bits", "math/rand", "os", "reflect", "regexp"),
    *("slices", "sort", "strconv", "strings", "sync", "testing", "time", "unicode", "bufio"),
)
# What a project of .NET 8 uses without saying so.
_CSHARP_USINGS = (
    "".join(
        f"using {name};\n"
        for name in ("System", "System.Collections.Generic", "System.IO", "System.Linq")
    )
    + "using System.Threading;\nusing System.Threading.Tasks;\n"
)
_GO_IMPORT = re.compile(r"^import\s*(?:\([^)]*\)|\"[^\"]*\")[ \t]*\n?", re.MULTILINE)


def program(language: str, code: str, test: str, entry_point: str = "") -> Program:
    """The program of a whole solution and its tests.

    Args:
      language: as the sandbox names it.
      code: imports and functions; a class may be left open or be closed.
      test: as published.
      entry_point: the function, where the test calls its argument.
    """
    if language == "python":
        return Program(f"{code}\n\n{test}\n{_python_call(test, entry_point)}")
    if language in ("java", "csharp"):
        return _in_class(language, code, test)
    if language in ("javascript", "typescript"):
        declared = "" if language == "javascript" else "// @ts-nocheck\n"
        return Program(f"{declared}{_THROWING_ASSERT}{code}\n{test}\n", language)
    if language == "go":
        return _go(code, test)
    if language == "rust":
        return _rust(code, test)
    if language == "php":
        code = code if code.lstrip().startswith("<?") else f"<?php\n{code}"
        code = code.replace("?>", "")
        test = re.sub(r"\A\s*<\?(?:php\b)?|\?>\s*\Z", "", test)
        call = "\nmain();\n" if "function main(" in test and "\nmain(" not in test else ""
        return Program(f"{code}\n{test}{call}", language)
    if language in ("c", "cpp"):
        includes = "#include <assert.h>\n" if "assert" in test and "assert.h" not in code else ""
        return Program(f"{includes}{without_function(code, 'main')}\n{test}\n", language)
    return Program(f"{code}\n\n{test}\n", language)


def _python_call(test: str, entry_point: str) -> str:
    """The call of `check` where the published test only defines it."""
    if re.search(r"^check\(", test, re.MULTILINE):
        return ""
    defined = re.search(r"^def check\((\w*)\)", test, re.MULTILINE)
    if not defined:
        return ""
    return f"check({entry_point})\n" if defined[1] else "check()\n"


def _in_class(language: str, code: str, test: str) -> Program:
    main = "Main" if language == "csharp" else "main"
    code = _with_depth(without_function(code, main), 1)
    if language == "csharp" and "Main(" not in test:
        test += "\nstatic void Main() { check(); }\n"
    if language == "java" and "void main(" not in test:
        test += "\npublic static void main(String[] args) { check(); }\n"
    source = _with_depth(f"{code}\n{test}", 0)
    if language == "csharp":
        source = _CSHARP_USINGS + source
    # C#'s tests print what they compare.
    return Program(source, language, forbidden=r"^False\b" if language == "csharp" else "")


def _with_depth(text: str, depth: int) -> str:
    """The text with so many blocks left open, by closing some or taking last braces away."""
    text = text.rstrip()
    bare = without_inert(text)
    opened = bare.count("{") - bare.count("}")
    while opened < depth and "}" in text:
        place = text.rindex("}")
        text = text[:place] + text[place + 1 :]
        opened += 1
    return text + "\n" + "}" * max(0, opened - depth) + "\n"


def _rust(code: str, test: str) -> Program:
    code = without_function(code, "main")
    unused = [c for c in ("rand", "regex", "md5") if _crate_is_used(code, c)]
    code = re.sub(r",?\s*ascii::AsciiExt", "", _FOREIGN_CRATES.sub("", code))
    names = re.findall(r"#\[test\]\s*(?:pub\s+)?fn\s+(\w+)", test)
    module = re.search(r"mod\s+(\w+)\s*\{", test)
    prefix = f"{module[1]}::" if module else ""
    test = test.replace("#[cfg(test)]", "")
    test = re.sub(r"#\[test\]\s*(?:pub\s+)?fn", "pub fn", test)
    calls = "".join(f"    {prefix}{name}();\n" for name in names)
    source = f"{code}\n{test}\nfn main() {{\n{calls}}}\n" if names else f"{code}\n{test}\n"
    missing = f"no crate {', '.join(unused)}" if unused else ""
    return Program(source, "rust", unrunnable=missing)


def _crate_is_used(code: str, crate: str) -> bool:
    bare = without_inert(_FOREIGN_CRATES.sub("", code))
    used = {"rand": r"\brand::|thread_rng|gen_range", "regex": r"\bRegex\b|\bregex::"}
    return bool(re.search(used.get(crate, rf"\b{crate}::"), bare))


def _go(code: str, test: str) -> Program:
    """One file with the imports that it uses, testify's assertions among its own functions."""
    code = without_function(
        _GO_IMPORT.sub("", re.sub(r"^package .*\n", "", code, flags=re.M)), "main"
    )
    test = _GO_IMPORT.sub("", re.sub(r"^package .*\n", "", test, flags=re.M))
    own = driver_text("testify.go")
    _, own = lines_that(_GO_IMPORT.sub("", own), r"package ")
    bare = without_inert(f"{code}\n{test}\n{own}")
    imports = [
        package
        for package in _GO_PACKAGES
        if re.search(rf"(?<![\w.]){package.rsplit('/', 1)[-1]}\.[A-Z]", bare)
    ]
    listed = "".join(f'\t"{package}"\n' for package in imports)
    return Program(f"package main\n\nimport (\n{listed})\n\n{code}\n{test}\n{own}", "go")
