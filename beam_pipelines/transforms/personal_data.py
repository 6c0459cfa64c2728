"""Replaces names, e-mail addresses, IP addresses, passwords and keys by placeholders.

Paper §2.1.1: `<name>`, `<email>`, `<ip>`, `<password>`, `<key>`. This module finds the
addresses and rewrites the text; `names` and `secrets` find the rest. Addresses that identify
nobody stay (private, loopback, documentation and well-known ones, `example.com`), and so
do numbers that look like versions. Time is linear on any text: each pattern begins with a
literal, and what stands before it is looked for in a window.
"""

import dataclasses
import functools
import ipaddress
import re
from collections.abc import Iterator

from beam_pipelines.transforms.names import find_names
from beam_pipelines.transforms.secrets import find_secrets
from beam_pipelines.transforms.spans import EMAIL, IP, Span, substitute, without_overlaps

# The literal first, which `re` finds fast; then what stands before it.
_AT_DOMAIN = re.compile(
    r"@(?<=[\w.%+-]@)(?P<domain>(?:[A-Za-z0-9-]{1,63}\.){1,8}(?P<top>[A-Za-z]{2,24}))(?![\w-])"
)
_LOCAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.%+-]*$")
_LONGEST_LOCAL = 64
# `a@b.T` is a matrix product in Python: only top-level domains that mail is sent to.
_TOP_LEVEL = re.compile(
    r"[a-z]{2}|com|org|net|edu|gov|mil|int|info|biz|dev|app|tech|cloud|name|pro|xyz|email|online"
    r"|site|codes|engineering|software|systems|science|technology|academy|agency|company|network",
    re.IGNORECASE,
)
_SERVICE_ACCOUNTS = frozenset({"git", "hg", "svn", "user", "username", "noreply", "no-reply"})
_EXAMPLE_DOMAIN = re.compile(
    r"(?:.+\.)?(?:example\.(?:com|org|net|edu)|[\w-]+\.(?:test|invalid|example|localhost|local))",
    re.IGNORECASE,
)
# `jane at acme dot org`.
_DOT = re.compile(r"dot(?<=[ (\[]dot)[ )\]]{1,2}(?:com|org|net|edu|[a-z]{2})\b")
_AT_BEFORE = re.compile(r"(?<![\w.+-])[\w.+-]{2,40} ?[ (\[]at[ )\]] ?[\w-]{2,40} ?[ (\[]$")
# `user:password@host` in a URL is no address, nor is `pkg@1.2`, nor `icon@2x.png`.
_URL_BEFORE = re.compile(r"://[^\s/\"'<>]{0,64}$")

_IPV4_MIDDLE = re.compile(r"\.(?<=\d\.)\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w-]|\.\w)")
_IPV4_FIRST = re.compile(r"(?<![\w.-])\d{1,3}$")
# Global unicast addresses begin with 2 or 3 (RFC 4291).
_IPV6 = re.compile(r":(?<=[23][0-9A-Fa-f]{3}:)[0-9A-Fa-f:]{2,34}(?![\w:])")
_IPV6_BEFORE = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}$")
_VERSION_BEFORE = re.compile(
    r"(?:version|release|revision|build|assembly|section|\bv|\bver|[=<>~!]=|\brfc|§)[^\n\d]{0,12}$",
    re.IGNORECASE,
)
# A vector graphic's path leaves out what it can: `.63-.01 1.23.82.72 1.21 1.87.87`.
_NUMBERS_AFTER = re.compile(r"[ -]\.?\d+(?:\.\d+){0,2}(?=[ -])")
_CONTEXT = 24
# Public resolvers, in every networking tutorial.
_WELL_KNOWN = frozenset({"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9"})
# Below it the four numbers are more often a version or an OID than an address.
_SMALLEST_LIKELY_SUM = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Replacements:
    """A text without personal data.

    Attributes:
      text: with placeholders.
      counts: placeholder to the number of times that it was put in; only those that were.
    """

    text: str
    counts: dict[str, int]


def replace_personal_data(text: str) -> Replacements:
    """The text with every span of `personal_spans` replaced."""
    spans = personal_spans(text)
    counts: dict[str, int] = {}
    for span in spans:
        counts[span.placeholder] = counts.get(span.placeholder, 0) + 1
    return Replacements(substitute(text, spans), counts)


def personal_spans(text: str) -> list[Span]:
    """Where a text holds personal data, in order and without overlaps."""
    encoded = text.encode("utf-8")
    emails = [*_emails(text), *_spelled_out(text)]
    names = find_names(text, encoded, [(span.start, span.end) for span in emails])
    return without_overlaps([*find_secrets(text, encoded), *emails, *_addresses(text), *names])


def _emails(text: str) -> Iterator[Span]:
    for match in _AT_DOMAIN.finditer(text):
        at = match.start()
        window = text[max(0, at - _LONGEST_LOCAL - 1) : at]
        local = _LOCAL.search(window)
        if local is None or len(local[0]) > _LONGEST_LOCAL:
            continue
        start = at - len(local[0])
        before = text[start - 1] if start else ""
        if before.isalnum() or not _is_personal(local[0], match):
            continue
        if before == ":" and _URL_BEFORE.search(text, max(0, start - _LONGEST_LOCAL), start):
            continue
        yield Span(start, match.end(), EMAIL)


def _spelled_out(text: str) -> Iterator[Span]:
    for match in _DOT.finditer(text):
        window = max(0, match.start() - 90)
        before = _AT_BEFORE.search(text[window : match.start()])
        if before:
            yield Span(window + before.start(), match.end(), EMAIL)


def _is_personal(local: str, match: re.Match[str]) -> bool:
    top = match["top"]
    return bool(
        _TOP_LEVEL.fullmatch(top)
        # `x@W.T` and `a@b.Mm`: nobody writes a top-level domain in mixed case.
        and (top.islower() or (top.isupper() and match["domain"].isupper()))
        and local.lower() not in _SERVICE_ACCOUNTS
        and not _EXAMPLE_DOMAIN.fullmatch(match["domain"])
    )


def _addresses(text: str) -> Iterator[Span]:
    for match in _IPV4_MIDDLE.finditer(text):
        first = _IPV4_FIRST.search(text, max(0, match.start() - 4), match.start())
        address = first[0] + match[0] if first else ""
        if first and _is_personal_ipv4(text, first.start(), address):
            yield Span(first.start(), match.end(), IP)
    for match in _IPV6.finditer(text):
        first = _IPV6_BEFORE.search(text, max(0, match.start() - 5), match.start())
        if first and _is_global(first[0] + match[0]):
            yield Span(first.start(), match.end(), IP)


def _is_personal_ipv4(text: str, start: int, address: str) -> bool:
    return (
        address not in _WELL_KNOWN
        and sum(map(int, address.split("."))) >= _SMALLEST_LIKELY_SUM
        and _is_global(address)
        and not _VERSION_BEFORE.search(text[max(0, start - _CONTEXT) : start])
        and not _NUMBERS_AFTER.match(text, start + len(address))
    )


@functools.lru_cache(maxsize=4096)
def _is_global(address: str) -> bool:
    """Whether it is a public address; private, loopback, documentation and such are not."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.is_global and not parsed.is_multicast
