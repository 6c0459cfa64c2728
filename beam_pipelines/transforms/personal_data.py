"""Replaces e-mail addresses, IP addresses, passwords and keys by placeholders.

Paper §2.1.1: `<email>`, `<ip>`, `<password>`, `<key>`. Names of people are not looked for:
no rule tells them from identifiers. Addresses that identify nobody stay (private,
loopback, documentation and well-known ones, `example.com`), and so do numbers that look
like versions. Formats of keys are detect-secrets'. Each pattern begins with a literal
that is looked for first, and takes linear time on any text.
"""

import dataclasses
import functools
import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any

from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector

EMAIL, IP, PASSWORD, KEY = "<email>", "<ip>", "<password>", "<key>"

_EMAIL = re.compile(
    r"(?<![\w.%+-])(?P<local>[A-Za-z0-9][\w.%+-]{0,63})"
    r"@(?P<domain>(?:[A-Za-z0-9-]{1,63}\.){1,8}(?P<top>[A-Za-z]{2,12}))(?![\w-])"
)
# `a@b.T` is a matrix product in Python: only top-level domains that mail is sent to.
_TOP_LEVEL = re.compile(
    r"[a-z]{2}|com|org|net|edu|gov|mil|int|info|biz|dev|app|tech|cloud|name|pro|xyz", re.IGNORECASE
)
# Both begin with a literal, which `re` finds fast; the full patterns have to try every word.
_MAY_HOLD_EMAIL = re.compile(r"@(?<=[\w.%+-]@)[A-Za-z0-9-]{1,63}\.")
_MAY_HOLD_IPV4 = re.compile(r"\.\d{1,3}\.\d")
_SERVICE_ACCOUNTS = frozenset({"git", "hg", "svn"})
_EXAMPLE_DOMAIN = re.compile(
    r"(?:.+\.)?(?:example\.(?:com|org|net|edu)|[\w-]+\.(?:test|invalid))", re.IGNORECASE
)

_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\w)")
# Global unicast addresses begin with 2 or 3 (RFC 4291).
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?![\w:])")
_VERSION_BEFORE = re.compile(
    r"(?:version|release|revision|build|assembly|section|\bv|\bver|[=<>~!]=|\brfc|§)[^\n\d]{0,12}$",
    re.IGNORECASE,
)
_CONTEXT = 24
# Public resolvers, in every networking tutorial.
_WELL_KNOWN = frozenset({"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9"})
# Below it the four numbers are more often a version or an OID than an address.
_SMALLEST_LIKELY_SUM = 64

_PASSWORD = re.compile(
    r"(?:password|passwd|pwd)[\"']?[ \t]{0,8}(?:=>|:=|[:=])[ \t]{0,8}"
    r"(?P<quote>[\"'])(?P<value>[^\"'\s<>{}$%\\]{6,64})(?P=quote)",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"://[^\s/:@\"']{1,64}:(?P<value>[^\s/:@\"'<>{}$%\[\]]{3,64})@")
_NAMES_A_PASSWORD = re.compile(
    r"pass|pwd|secret|token|example|change|dummy|your|test", re.IGNORECASE
)

_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,1000}")
_PRIVATE_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PRIVATE_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
# (literals of which one is in every key of the format, detector)
_DETECTORS: tuple[tuple[tuple[str, ...], Any], ...] = (
    (("AKIA", "ASIA", "A3T", "ABIA", "ACCA"), AWSKeyDetector),
    (("AccountKey=",), AzureStorageKeyDetector),
    (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), GitHubTokenDetector),
    (("glpat-", "gldt-", "glft-", "glsoat-", "glrt-"), GitLabTokenDetector),
    (("pypi-AgEI",), PypiTokenDetector),
    (("SG.",), SendGridDetector),
    (("xox", "hooks.slack.com"), SlackDetector),
    (("sq0csp-",), SquareOAuthDetector),
    (("k_live_",), StripeDetector),
)


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
    """Keys first, since the other patterns would cut them up."""
    counts: dict[str, int] = {}
    for placeholder, replace in (
        (KEY, _replace_keys),
        (PASSWORD, _replace_passwords),
        (EMAIL, _replace_emails),
        (IP, _replace_addresses),
    ):
        text, count = replace(text)
        if count:
            counts[placeholder] = count
    return Replacements(text, counts)


def _substitute(
    pattern: re.Pattern[str],
    text: str,
    placeholder: str,
    is_personal: Callable[[re.Match[str]], bool] = lambda match: True,
    group: str | int = 0,
) -> tuple[str, int]:
    """`text` with `group` of each match that is personal replaced, and their number."""
    pieces: list[str] = []
    last = count = 0
    for match in pattern.finditer(text):
        if is_personal(match):
            pieces += text[last : match.start(group)], placeholder
            last = match.end(group)
            count += 1
    return "".join(pieces) + text[last:], count


def _replace_keys(text: str) -> tuple[str, int]:
    total = 0
    for pattern in _key_patterns(text):
        text, count = _substitute(pattern, text, KEY)
        total += count
    if "PRIVATE KEY" in text:
        text, count = _replace_private_keys(text)
        total += count
    return text, total


def _key_patterns(text: str) -> Iterator[re.Pattern[str]]:
    for literals, detector in _DETECTORS:
        if any(literal in text for literal in literals):
            yield from detector.denylist
    if "eyJ" in text:
        yield _JWT


def _replace_private_keys(text: str) -> tuple[str, int]:
    """Replaces what stands between the lines `BEGIN` and `END`, if both are there."""
    pieces: list[str] = []
    last = count = 0
    while begin := _PRIVATE_KEY_BEGIN.search(text, last):
        end = _PRIVATE_KEY_END.search(text, begin.end())
        if end is None:
            break
        pieces += text[last : begin.end()], KEY
        last = end.start()
        count += 1
    return "".join(pieces) + text[last:], count


def _replace_passwords(text: str) -> tuple[str, int]:
    total = 0
    if _mentions_password(text):
        text, total = _substitute(_PASSWORD, text, PASSWORD, _is_password, "value")
    if "://" in text and "@" in text:
        text, count = _substitute(_URL_PASSWORD, text, PASSWORD, _is_url_password, "value")
        total += count
    return text, total


def _mentions_password(text: str) -> bool:
    return any(word in text for word in ("passw", "Passw", "PASSW", "pwd", "Pwd", "PWD"))


def _is_password(match: re.Match[str]) -> bool:
    """Whether a value is one: of two kinds of characters, and no field's name or path."""
    value = match["value"]
    kinds = (str.islower, str.isupper, str.isdigit, lambda char: not char.isalnum())
    mixed = sum(any(map(kind, value)) for kind in kinds) >= 2
    return mixed and not _NAMES_A_PASSWORD.search(value) and not value.startswith(("/", "."))


def _is_url_password(match: re.Match[str]) -> bool:
    return not _NAMES_A_PASSWORD.search(match["value"])


def _replace_emails(text: str) -> tuple[str, int]:
    if not _MAY_HOLD_EMAIL.search(text):
        return text, 0
    return _substitute(_EMAIL, text, EMAIL, _is_personal_email)


def _is_personal_email(match: re.Match[str]) -> bool:
    return bool(
        _TOP_LEVEL.fullmatch(match["top"])
        and match["local"].lower() not in _SERVICE_ACCOUNTS
        and not _EXAMPLE_DOMAIN.fullmatch(match["domain"])
    )


def _replace_addresses(text: str) -> tuple[str, int]:
    total = 0
    if _MAY_HOLD_IPV4.search(text):
        text, total = _substitute(_IPV4, text, IP, _is_personal_ipv4)
    text, count = _substitute(_IPV6, text, IP, lambda match: _is_global(match[0]))
    return text, total + count


def _is_personal_ipv4(match: re.Match[str]) -> bool:
    numbers = match[0].split(".")
    context = match.string[max(0, match.start() - _CONTEXT) : match.start()]
    return (
        match[0] not in _WELL_KNOWN
        and sum(map(int, numbers)) >= _SMALLEST_LIKELY_SUM
        and not _VERSION_BEFORE.search(context)
        and _is_global(match[0])
    )


@functools.lru_cache(maxsize=4096)
def _is_global(address: str) -> bool:
    """Whether it is a public address; private, loopback, documentation and such are not."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.is_global and not parsed.is_multicast
