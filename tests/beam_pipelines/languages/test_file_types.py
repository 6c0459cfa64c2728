"""The table of languages: what a name says about a file."""

import collections

import pytest

from beam_pipelines.languages import file_types
from beam_pipelines.languages.file_types import FileType, identify


@pytest.mark.parametrize(
    ("path", "language", "doc_type"),
    [
        ("src/main.py", "python", "code"),
        ("a/b.cpp", "cpp", "code"),
        ("Program.cs", "csharp", "code"),
        ("include/x.h", "c", "code"),
        ("README.md", "markdown", "text"),
        ("package.json", "json", "data"),
        ("style.css", "css", "data"),
        ("schema.sql", "sql", "code"),
        ("index.html", "html", "code"),
        ("Analysis.ipynb", "jupyter notebook", "excluded"),
        ("board.gbr", "gerber image", "excluded"),
        ("table.csv", "csv", "excluded"),
        ("data.xyzzy", "unknown", "unknown"),
        ("no_extension", "unknown", "unknown"),
    ],
)
def test_names_have_the_language_and_type_of_the_released_filter(path, language, doc_type):
    assert identify(path) == FileType(language, doc_type)


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("View.m", "objective-c"),
        ("alu.v", "verilog"),
        ("Token.sol", "solidity"),
        ("pkg.spec", "rpm spec"),
        ("article.cls", "tex"),
        ("solve.f", "fortran"),
        ("basic.t", "perl"),
        ("boot.S", "unix assembly"),
        ("Main.C", "cpp"),
    ],
)
def test_extensions_that_several_languages_claim_have_the_most_common_one(path, language):
    assert identify(path).language == language


def test_the_whole_name_goes_before_the_extension():
    assert identify("src/CMakeLists.txt").language == "cmake"
    assert identify("requirements.txt").language == "pip requirements"
    assert identify("go.mod").language == "go module"
    assert identify("notes.txt").language == "text"


def test_the_longest_extension_wins():
    assert identify("config.cmake.in").language == "cmake"
    assert identify("types.d.ts").language == "typescript"


def test_an_extension_is_found_in_any_case_a_file_name_only_in_its_own():
    assert identify("SETUP.PY").language == "python"
    assert identify("Makefile").language == "makefile"
    assert identify("MAKEFILE.XYZ").language == "unknown"


@pytest.mark.parametrize(
    ("line", "language"),
    [
        ("#!/usr/bin/env python3.12", "python"),
        ("#!/usr/bin/env -S PYTHONPATH=x python3 -u", "python"),
        ("#!/bin/bash -e", "shell"),
        ("#! /usr/bin/perl -w", "perl"),
        ("#!/usr/bin/env node", "javascript"),
        ("#!", "unknown"),
        ("# python", "unknown"),
    ],
)
def test_a_script_without_extension_is_known_by_its_first_line(line, language):
    assert identify("bin/tool", line).language == language


def test_an_extension_goes_before_the_first_line():
    assert identify("setup.py", "#!/bin/sh").language == "python"


def test_the_table_has_the_languages_of_linguist_in_four_types():
    types = collections.Counter(entry.doc_type for entry in file_types.languages().values())
    assert types == {"code": 610, "data": 159, "text": 23, "excluded": 41}


def test_every_comment_syntax_of_the_table_is_described():
    from beam_pipelines.languages.comments import comment_syntax

    for language in file_types.languages():
        comment_syntax(language)
