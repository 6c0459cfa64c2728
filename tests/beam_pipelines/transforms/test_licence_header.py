"""The licence notice at a file's start goes; nothing else does."""

import pytest

from beam_pipelines.transforms.licence_header import remove_licence_header

APACHE = """# Copyright 2020 The Example Authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# distributed under the License is distributed on an "AS IS" BASIS,
# limitations under the License.
"""
C_NOTICE = """/*
 * Copyright (c) 1997, Jane Doe. All rights reserved.
 *
 * Redistribution and use in source and binary forms are permitted.
 */
"""


def test_the_notice_and_the_blank_lines_below_it_go() -> None:
    assert remove_licence_header(f"{APACHE}\n\nimport os\n", "python") == "import os\n"
    assert remove_licence_header(f"{C_NOTICE}\nint x;\n", "c") == "int x;\n"


@pytest.mark.parametrize(
    ("language", "notice"),
    [
        ("cpp", "// Copyright 2011 Acme Inc.\n// Use is governed by a BSD-style license.\n"),
        ("html", "<!--\n  Copyright 2019 Acme\n-->\n"),
        ("sql", "-- Copyright (C) 2001 Acme\n-- Licensed under the MIT License\n"),
        ("lua", "--[[\nCopyright 2001 Acme\n]]\n"),
        ("css", "/*! @license MIT */\n"),
        ("javascript", "// SPDX-License-Identifier: MIT\n"),
        ("haskell", "{- Copyright (c) 2010 A. Person -}\n"),
        ("python", '"""\nCopyright (c) 2012 A. Person\nLicensed under the MIT License\n"""\n'),
        ("matlab", "% Copyright 1984-2010 Acme, Inc.\n"),
        ("emacs lisp", ";; Copyright (C) 2001 Acme\n"),
    ],
)
def test_every_style_of_comment_is_known(language: str, notice: str) -> None:
    assert remove_licence_header(f"{notice}\nrest\n", language) == "rest\n"


@pytest.mark.parametrize(
    ("language", "first"),
    [
        ("python", "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n"),
        ("shell", "#!/bin/sh\n"),
        ("go", "//go:build linux\n"),
    ],
)
def test_lines_for_tools_stay(language: str, first: str) -> None:
    comment = "//" if language == "go" else "#"
    text = f"{first}{comment} Copyright 2020 Acme\n\nrest\n"
    cleaned = remove_licence_header(text, language)
    assert cleaned.startswith(first)
    assert "Copyright" not in cleaned
    assert cleaned.endswith("rest\n")


def test_declarations_before_the_notice_stay() -> None:
    php = "<?php\n/* Copyright 2020 Acme */\n\necho 1;\n"
    assert remove_licence_header(php, "php") == "<?php\necho 1;\n"
    xml = '<?xml version="1.0"?>\n<!-- Copyright 2020 Acme -->\n<a/>\n'
    assert remove_licence_header(xml, "xml") == '<?xml version="1.0"?>\n<a/>\n'


def test_a_description_below_the_notice_stays() -> None:
    text = "# Copyright 2020 Acme\n#\n# Reads the configuration file.\n\nimport os\n"
    expected = "# Reads the configuration file.\n\nimport os\n"
    assert remove_licence_header(text, "python") == expected


def test_a_description_in_the_same_block_comment_stays_a_comment() -> None:
    text = "/* Copyright 2020 Acme\n *\n * A ring buffer.\n */\nint x;\n"
    cleaned = remove_licence_header(text, "c")
    assert cleaned == "/*\n *\n * A ring buffer.\n */\nint x;\n"
    text = "/* A ring buffer.\n *\n * Copyright 2020 Acme */\nint x;\n"
    assert remove_licence_header(text, "c") == "/* A ring buffer.\n *\n*/\nint x;\n"


@pytest.mark.parametrize(
    "text",
    [
        '"""Parses licence files and their copyright notices."""\n\nimport os\n',
        "# Removes the copyright header of a file.\nimport os\n",
        "import os\n# Copyright 2020 Acme\n",
        "x = 1  # Copyright 2020 Acme\n",
        'LICENSE = """\nCopyright 2020 Acme\n"""\n',
        "# a comment\nimport os\n",
    ],
)
def test_other_comments_and_docstrings_stay(text: str) -> None:
    assert remove_licence_header(text, "python") == text


def test_a_notice_in_a_documentation_string_goes_and_the_documentation_stays() -> None:
    notice = ":copyright: (c) 2001 by Acme.\n:license: MIT, see LICENSE.\n"
    text = f'"""Does a thing.\n\n{notice}"""\nimport os\n'
    assert remove_licence_header(text, "python") == '"""Does a thing.\n\n"""\nimport os\n'


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        (
            "php",
            "<?php declare(strict_types=1);\n/*\n * (c) Acme 2001\n * Copyright Acme\n */\nx();\n",
            "<?php declare(strict_types=1);\nx();\n",
        ),
        (
            "csharp",
            "#region License\n// Copyright (c) 2007 Acme\n#endregion\n\nusing System;\n",
            "\nusing System;\n",
        ),
        (
            "c",
            "#ifndef A_H\n#define A_H\n/* Copyright (c) 2007 Acme */\nint x;\n",
            "#ifndef A_H\n#define A_H\nint x;\n",
        ),
        (
            "batchfile",
            "@echo off\nrem Copyright (c) 2007 Acme\nrem\nrem MIT license\nset X=1\n",
            "@echo off\nset X=1\n",
        ),
        (
            "haskell",
            "{-# LANGUAGE CPP #-}\n#if X\n#endif\n-- Copyright : (C) 2017 Acme\n\nmain = x\n",
            "{-# LANGUAGE CPP #-}\n#if X\n#endif\nmain = x\n",
        ),
        (
            "tcl",
            "# (c) 2007-2008 Acme.\n\n# Copies files.\nproc x {} {}\n",
            "# Copies files.\nproc x {} {}\n",
        ),
        (
            "c",
            "/*\n** The author disclaims copyright to this source code.\n*/\nint x;\n",
            "int x;\n",
        ),
    ],
)
def test_what_may_stand_before_a_notice_stays(language: str, text: str, expected: str) -> None:
    assert remove_licence_header(text, language) == expected


def test_a_description_between_two_parts_of_a_notice_stays() -> None:
    text = "# Copyright 2020 Acme\n#\n# Reads it.\n#\n# SPDX-License-Identifier: MIT\nimport os\n"
    assert remove_licence_header(text, "python") == "# Reads it.\n#\nimport os\n"


def test_a_documentation_line_above_the_notice_stays() -> None:
    text = '"""A module."""\n# Copyright 2017 Acme\n\nimport os\n'
    assert remove_licence_header(text, "python") == '"""A module."""\nimport os\n'


def test_a_file_that_is_only_a_notice_becomes_empty() -> None:
    assert remove_licence_header(APACHE, "python") == ""


def test_a_comment_that_never_ends_is_left_alone() -> None:
    text = "/* Copyright 2020 Acme\n" + "x" * 1000
    assert remove_licence_header(text, "c") == text


def test_a_cleaned_file_is_clean() -> None:
    once = remove_licence_header(f"{APACHE}\nimport os\n", "python")
    assert remove_licence_header(once, "python") == once
