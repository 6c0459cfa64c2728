"""Documents stay by stars and licence; the nearest statement of a licence counts."""

import pytest

from beam_pipelines.transforms.licence import (
    AllowList,
    document_licence,
    header_licence,
    is_licence_file,
    licence_of_file,
    normalised,
    tagged_licence,
)
from beam_pipelines.transforms.select import SelectByLicence, SelectByStars
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document, document_id
from tests.beam_pipelines.dedup.running import run

MIT = """MIT License

Copyright (c) 2020 Acme

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT
OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
APACHE_HEADER = """# Copyright 2020 Acme
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
"""
GPL_HEADER = """/*
 * This program is free software; you can redistribute it and/or modify it under the terms of the
 * GNU General Public License as published by the Free Software Foundation; either version 2 of the
 * License, or (at your option) any later version.
 */
"""


def document(path: str, text: str = "x = 1\n", repo: str = "r", **facts: object) -> Document:
    made = Document(document_id("test", repo, path), text, repo, path, language="python")
    return made.replace(**facts)


def paths(documents: list) -> list[str]:
    return sorted(d.path for d in documents)


def test_repositories_with_enough_stars_stay() -> None:
    documents = [document(f"{stars}.py", stars=stars) for stars in (0, 4, 5, 9)]
    outputs = run(documents, SelectByStars(5))
    assert paths(outputs["kept"]) == ["5.py", "9.py"]
    drop = min(outputs["dropped"], key=lambda d: d.value)
    assert (drop.reason, drop.value, drop.threshold) == ("too_few_stars", 0.0, ">= 5")


def test_the_nearest_statement_counts() -> None:
    declared = document("a.py", licence="BSD-3-Clause")
    assert document_licence(declared, {}) == ("BSD-3-Clause", "declared")
    assert document_licence(declared, {"": "MIT"}) == ("MIT", "licence file")
    header = declared.replace(text=APACHE_HEADER + "x = 1\n")
    assert document_licence(header, {"": "MIT"}) == ("Apache-2.0", "header")
    tagged = declared.replace(text="# SPDX-License-Identifier: ISC\n" + APACHE_HEADER)
    assert document_licence(tagged, {"": "MIT"}) == ("ISC", "tag")
    assert document_licence(document("a.py"), {}) == ("", "")


def test_a_vendored_licence_holds_for_its_folder_only() -> None:
    folders = {"": "MIT", "vendor/x": "GPL-3.0-only"}
    for path, expected in (
        ("a.py", "MIT"),
        ("vendor/y/a.py", "MIT"),
        ("vendor/x/a.py", "GPL-3.0-only"),
        ("vendor/x/deep/a.py", "GPL-3.0-only"),
        ("vendor/xy/a.py", "MIT"),
    ):
        assert document_licence(document(path), folders) == (expected, "licence file")
    assert document_licence(document("a.py"), {"vendor/x": "MIT"}) == ("", "")


def test_headers_and_tags_are_read_in_any_comment() -> None:
    assert header_licence(GPL_HEADER + "int x;\n", "c") == "GPL-2.0-or-later"
    assert header_licence("x = 1\n" + APACHE_HEADER, "python") == ""
    assert tagged_licence("/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */\n") == (
        "GPL-2.0-only WITH Linux-syscall-note"
    )
    assert (
        tagged_licence("<!-- SPDX-License-Identifier: MIT OR Apache-2.0 -->") == "MIT OR Apache-2.0"
    )
    assert tagged_licence(
        "// SPDX-License-Identifier: MIT\n// SPDX-License-Identifier: Zlib\n"
    ) == ("MIT AND Zlib")
    assert tagged_licence("# SPDX-License-Identifier: made up") == ""


@pytest.mark.parametrize(
    ("declared", "expression"),
    [
        ("mit", "MIT"),
        ("MIT License", "MIT"),
        ("MIT/Apache-2.0", "MIT OR Apache-2.0"),
        ("License :: OSI Approved :: Apache Software License", "Apache-2.0"),
        ("GPL-2.0", "GPL-2.0-only"),
        ("Apache-2.0 WITH LLVM-exception", "Apache-2.0 WITH LLVM-exception"),
        ("BSD", ""),
        ("see LICENSE", ""),
        ("", ""),
        ("(" * 400, ""),
    ],
)
def test_declared_licences_become_expressions(declared: str, expression: str) -> None:
    assert normalised(declared) == expression


def test_licence_files_are_known_by_name_and_text() -> None:
    names = ["LICENSE", "licence.md", "COPYING", "LICENSE-MIT", "a/b/License.txt", "UNLICENSE"]
    assert all(map(is_licence_file, names))
    assert not any(
        map(is_licence_file, ["license.py", "src/licensing.md", "license_check.c", "a.py"])
    )
    assert licence_of_file(MIT) == "MIT"
    assert licence_of_file("All rights reserved. Ask Acme for a licence.") == ""


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-2.0-only", False),
        ("MIT OR GPL-2.0-only", True),
        ("MIT AND GPL-2.0-only", False),
        ("MIT AND (GPL-3.0-only OR Zlib)", True),
        ("MIT WITH LLVM-exception", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("", False),
    ],
)
def test_expressions_mean_what_spdx_says(expression: str, allowed: bool) -> None:
    assert AllowList(["MIT", "Zlib"]).allows(expression) == allowed


def test_unknown_is_allowed_by_name_only() -> None:
    assert AllowList(["MIT", "unknown"]).allows("")
    assert not AllowList(["MIT", "unknown"]).allows("GPL-3.0-only")
    with pytest.raises(InputError, match="'MITT' is no SPDX identifier"):
        AllowList(["MITT"])


def test_a_job_takes_the_licence_of_the_file_then_of_its_repository() -> None:
    documents = [
        document("LICENSE", MIT, repo="mit"),
        document("vendor/x/LICENSE", "no licence at all", repo="mit"),
        document("a.py", repo="mit", licence="GPL-3.0-only"),
        document("gpl.c", GPL_HEADER + "int x;\n", repo="mit", language="c"),
        document("b.py", repo="declared", licence="GPL-3.0-only"),
        document("c.py", repo="declared", licence="Apache License 2.0"),
        document("d.py", repo="silent"),
    ]
    outputs = run(documents, SelectByLicence(["MIT", "Apache-2.0"]))
    assert paths(outputs["kept"]) == ["LICENSE", "a.py", "c.py", "vendor/x/LICENSE"]
    assert {d.path: d.licence for d in outputs["kept"]} == {
        "LICENSE": "MIT",
        "vendor/x/LICENSE": "MIT",
        "a.py": "MIT",
        "c.py": "Apache-2.0",
    }
    assert {(d.path, d.reason, d.detail) for d in outputs["dropped"]} == {
        ("gpl.c", "licence_not_allowed", "GPL-2.0-or-later (header)"),
        ("b.py", "licence_not_allowed", "GPL-3.0-only (declared)"),
        ("d.py", "licence_not_allowed", "unknown"),
    }


@pytest.mark.slow
def test_the_choice_is_the_same_in_worker_processes() -> None:
    documents = [document("LICENSE", MIT, repo=f"r{i}") for i in range(5)]
    documents += [document("a.py", repo=f"r{i}") for i in range(10)]
    options = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    for flags in ([], options):
        outputs = run(documents, SelectByLicence(["MIT"]), flags)
        assert sorted(d.repo for d in outputs["kept"]) == sorted([f"r{i}" for i in range(5)] * 2)
