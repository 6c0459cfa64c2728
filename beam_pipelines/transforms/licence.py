"""The licence of a document as an SPDX expression, and lists of those that are allowed.

Four places say it, the nearest first: `SPDX-License-Identifier` in the file, the notice in
its header, the licence files of its repository, and what the source declares. Texts are
told apart by `licenseclassifier` (a port of Google's licensecheck: word automata over 690
licences, offline, linear), expressions are read by `license-expression`.
Next: `select` applies an allow list in a job.
"""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import license_expression
from licenseclassifier import identify_license

from beam_pipelines.transforms.licence_header import licence_notice
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document

UNKNOWN = "unknown"
_TAG = re.compile(r"SPDX-License-Identifier:[ \t]*([^\n\r]{1,200})")
# REUSE wants the tag near the top; a tag far below belongs to something quoted.
_TAG_REACH = 4000
_COMMENT_END = re.compile(r"[ \t]*(?:\*/|-->|--%>|\*\)|-\}|#\}|\"\"\"|'''|\)|\*|#|%|;).*$")
_LICENCE_FILE = re.compile(
    r"(?:.*/)?(?:licen[sc]e|copying|unlicen[sc]e)(?:[.-][\w.-]{1,20})?", re.IGNORECASE
)
_NOT_A_LICENCE_FILE = re.compile(r"\.(?:py|js|ts|java|go|rs|c|h|cpp|php|rb|kt|svg|html?|css|json)$")
# A notice in a header names a licence in few words between a name and a description.
_NOTICE_COVERAGE = 1.0
_LONGEST_NOTICE = 20_000
_LONGEST_LICENCE_FILE = 200_000
# What package registries say instead of an identifier.
_ALIASES = {
    "apache 2.0": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "the apache software license, version 2.0": "Apache-2.0",
    "the apache license, version 2.0": "Apache-2.0",
    "mit license": "MIT",
    "the mit license": "MIT",
    "the mit license (mit)": "MIT",
    "mit/x11": "MIT",
    "expat": "MIT",
    "new bsd": "BSD-3-Clause",
    "new bsd license": "BSD-3-Clause",
    "modified bsd": "BSD-3-Clause",
    "modified bsd license": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd-3": "BSD-3-Clause",
    "3-clause bsd": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "simplified bsd": "BSD-2-Clause",
    "bsd 2-clause": "BSD-2-Clause",
    "bsd-2": "BSD-2-Clause",
    "2-clause bsd": "BSD-2-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "gplv2": "GPL-2.0-only",
    "gplv2+": "GPL-2.0-or-later",
    "gplv3": "GPL-3.0-only",
    "gplv3+": "GPL-3.0-or-later",
    "lgplv2+": "LGPL-2.0-or-later",
    "lgplv3": "LGPL-3.0-only",
    "lgplv3+": "LGPL-3.0-or-later",
    "mpl 2.0": "MPL-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psf": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "public domain": "LicenseRef-public-domain",
    "the unlicense (unlicense)": "Unlicense",
    "zope public license": "ZPL-2.1",
}


def document_licence(document: Document, of_folders: Mapping[str, str]) -> tuple[str, str]:
    """(SPDX expression, where it was found) of a document; two empty strings if nowhere.

    Args:
      document: as it was read, its header not yet removed.
      of_folders: folder of its repository (empty for the root) to what the licence files
        in it say.
    """
    for origin, expression in (
        ("tag", tagged_licence(document.text)),
        ("header", header_licence(document.text, document.language)),
        ("licence file", _nearest_above(document.path, of_folders)),
        ("declared", normalised(document.licence)),
    ):
        if expression:
            return expression, origin
    return "", ""


def _nearest_above(path: str, of_folders: Mapping[str, str]) -> str:
    """The licence of the nearest folder above a file: a vendored one holds for its folder only."""
    folder = path
    while folder and of_folders:
        folder = folder.rpartition("/")[0]
        if folder in of_folders:
            return of_folders[folder]
    return ""


def tagged_licence(text: str) -> str:
    """What the `SPDX-License-Identifier` tags at the top of a text say; all of them hold."""
    if "SPDX-License-Identifier:" not in text[:_TAG_REACH]:
        return ""
    tags = _TAG.findall(text, 0, _TAG_REACH)
    found = {normalised(_COMMENT_END.sub("", tag).strip(" \t\"'`")) for tag in tags}
    return all_of(found)


def header_licence(text: str, language: str) -> str:
    """The licences that the notice at the file's start names."""
    notice = licence_notice(text, language)[:_LONGEST_NOTICE]
    if not notice:
        return ""
    return all_of({_known(match.id) for match in identify_license(notice, _NOTICE_COVERAGE)})


def is_licence_file(path: str) -> bool:
    """Whether a path is that of `LICENSE`, `COPYING.txt`, `LICENSE-MIT` and their like."""
    return bool(_LICENCE_FILE.fullmatch(path)) and not _NOT_A_LICENCE_FILE.search(path)


def licence_of_file(text: str) -> str:
    """The expression of a licence file: all texts in it hold."""
    found = identify_license(text[:_LONGEST_LICENCE_FILE])
    return all_of({_known(match.id) for match in found}) or tagged_licence(text)


def all_of(expressions: Iterable[str]) -> str:
    """One expression for several that all hold."""
    found = sorted(set(expressions) - {""})
    return " AND ".join(f"({e})" if " OR " in e and len(found) > 1 else e for e in found)


def normalised(declared: str) -> str:
    """A declared licence as an SPDX expression; empty where it is none or ambiguous (`BSD`).

    Of several under `AND` each may be written as people write it; all have to be known.
    """
    text = declared.strip().rsplit("::", 1)[-1].strip()
    text = _ALIASES.get(text.lower(), text)
    expression = _parsed(text)
    if expression is None and "/" in text:
        # Cargo's old way: `MIT/Apache-2.0`.
        expression = _parsed(" OR ".join(part.strip() for part in text.split("/")))
    if expression is None and " AND " in text and "(" not in text:
        parts = [normalised(part) for part in text.split(" AND ")]
        expression = _parsed(all_of(parts)) if all(parts) else None
    return "" if expression is None else expression.render("{symbol.key}")


class AllowList:
    """SPDX identifiers that may stay.

    `A OR B` is allowed if either is, `A AND B` if both are, `A WITH exception` if A is (an
    exception only adds permissions). `A-or-later` counts as its own identifier.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        """Args:
        allowed: identifiers, and `unknown` for a licence that nothing tells.

        Raises:
          InputError: one is no SPDX identifier.
        """
        self._unknown = UNKNOWN in allowed
        self._keys: set[str] = set()
        for name in allowed:
            if name == UNKNOWN:
                continue
            parsed = _parsed(name)
            if parsed is None or not isinstance(parsed, license_expression.LicenseSymbol):
                raise InputError(
                    f"allowed licence {name!r} is no SPDX identifier (like 'MIT'), nor 'unknown'"
                )
            self._keys.add(parsed.key)

    def allows(self, expression: str) -> bool:
        """Whether a document of this licence may stay; `expression` is empty where unknown."""
        parsed = _parsed(expression) if expression else None
        return self._unknown if parsed is None else self._holds(parsed)

    def _holds(self, node: Any) -> bool:
        if isinstance(node, license_expression.OR):
            return any(map(self._holds, node.args))
        if isinstance(node, license_expression.AND):
            return all(map(self._holds, node.args))
        if isinstance(node, license_expression.LicenseWithExceptionSymbol):
            return node.license_symbol.key in self._keys
        return node.key in self._keys


@functools.cache
def _licensing() -> license_expression.Licensing:
    return license_expression.get_spdx_licensing()


@functools.lru_cache(maxsize=4096)
def _parsed(expression: str) -> Any:
    """The parsed expression; None unless all its identifiers are SPDX's or `LicenseRef-`."""
    if not expression or len(expression) > 500:
        return None
    try:
        parsed = _licensing().parse(expression)
    except license_expression.ExpressionError:
        return None
    if parsed is None:
        return None
    unknown = _licensing().unknown_license_keys(parsed)
    return None if any(not key.startswith("LicenseRef-") for key in unknown) else parsed


def _known(identifier: str) -> str:
    """An identifier as SPDX has it today (`GPL-2.0` is `GPL-2.0-only`)."""
    return normalised(identifier) or f"LicenseRef-{identifier}"
