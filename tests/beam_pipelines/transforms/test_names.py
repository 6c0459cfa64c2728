"""Names of persons are found where a text introduces one, and nowhere else."""

import pytest

from beam_pipelines.transforms.personal_data import replace_personal_data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@author Ingrid Solberg", "@author <name>"),
        ('__author__ = "Ingrid Solberg"', '__author__ = "<name>"'),
        ("authors = ['Ingrid Solberg', \"Luc O'Neil\"]", "authors = ['<name>', \"<name>\"]"),
        ("Signed-off-by: Jean-Luc van der Berg", "Signed-off-by: <name>"),
        (
            "Copyright (c) 2010-2012 J. R. Solberg and Luc Oman",
            "Copyright (c) 2010-2012 <name> and <name>",
        ),
        ("# Contributed by Ingrid Solberg.", "# Contributed by <name>."),
        ("by Ingrid Solberg <i@solberg.no>", "by <name> <<email>>"),
        ("i@solberg.no (Ingrid Solberg)", "<email> (<name>)"),
        ("Maintainer: 田中太郎", "Maintainer: <name>"),
    ],
)
def test_names_behind_tags_and_beside_addresses_go(text: str, expected: str) -> None:
    assert replace_personal_data(text).text == expected


@pytest.mark.parametrize(
    "text",
    [
        "Ingrid Solberg wrote this",
        "author = Author.objects.get(name=Name)",
        "class Author(Base Model):",
        "@author The Acme Team",
        "Copyright 2020 Acme Software Foundation",
        "Author: Your Name",
        "maintained by Acme Inc",
        "authors: ReadTheDocs StackOverflow",
        "author: solberg",
        "authorize: Ingrid Solberg",
        "TODO(ingrid): Fix This",
    ],
)
def test_organisations_identifiers_and_placeholders_stay(text: str) -> None:
    assert replace_personal_data(text).text == text
