"""Finds keys, tokens and passwords: Kingfisher's rules, and a few of our own beside them.

Kingfisher (MongoDB, Apache-2.0) brings about 480 rules for the formats of providers, with
checks of entropy and context, and one engine that looks for all of them in one pass, in
linear time on any text. Its scanner makes no requests. `secret_rules.yml` adds formats
that it reports in fewer places than we want, and values by the name that they are given
to; those need the tests of shape below. `docs/cleaning.md` has precision and recall.
"""

import collections
import functools
import math
import re
from collections.abc import Iterator
from importlib import resources

import kingfisher_sdk

from beam_pipelines.transforms.spans import KEY, PASSWORD, Span

# Identifiers that are no secret, and rules that took other words for one on real files.
_NO_SECRET = re.compile(r"(?:[_-](?:id|name|url|uri|host|domain|username|string|repository)$)")
_IMPRECISE = frozenset({"betterleaks.linkedin-client-secret", "betterleaks.private-key"})
_OUR_ID = "opencoder."
_WINDOW, _OVERLAP = 1 << 18, 1 << 15  # bytes

_PLACEHOLDER_WORD = re.compile(
    r"pass|pwd|secret|token|example|change|dummy|your|test|fake|sample|placeholder|xxx|none|null"
    r"|foo|bar|admin|guest|user|welcome|required|invalid|default|string|value|field|key",
    re.IGNORECASE,
)
# A key between these lines; the lines themselves say what it was.
_PRIVATE_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PRIVATE_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_SHORTEST_PRIVATE_KEY = 24
# Bits a character: English identifiers stay below, random hexadecimal digits reach 3.3.
_KEY_ENTROPY = 3.0
_FEWEST_DIGITS = 3
_WORDS_OF_CODE = re.compile(r"[A-Za-z]{8,}")


def find_secrets(text: str, encoded: bytes) -> Iterator[Span]:
    """Keys and passwords, in no order; they may overlap.

    Args:
      text: of a document.
      encoded: the same in UTF-8.
    """
    position, characters = 0, 0  # of the same place, in bytes and in characters
    for start, end, placeholder in _found(encoded):
        if len(text) == len(encoded):
            yield Span(start, end, placeholder)
            continue
        characters += _num_characters(encoded[position:start])
        position = start
        yield Span(characters, characters + _num_characters(encoded[start:end]), placeholder)
    if "PRIVATE KEY" in text:
        yield from _private_keys(text)


def _found(encoded: bytes) -> Iterator[tuple[int, int, str]]:
    """(start, end, placeholder) of what the rules find in UTF-8, in order.

    A long text is scanned in windows, which bounds what a text of nothing but keys takes.
    They overlap: what the rules look at around a finding is in the window that reports it.
    """
    begin = reported = 0
    while True:
        end = _window_end(encoded, begin + _WINDOW)
        following = end if end == len(encoded) else end - _OVERLAP // 2
        found: list[tuple[int, int, str]] = []
        for finding in _scanner().scan(
            encoded[begin:end] if end - begin < len(encoded) else encoded
        ):
            start = begin + finding.location["start_offset"]
            if reported <= start < following and (placeholder := _kind(finding)):
                found.append((start, begin + finding.location["end_offset"], placeholder))
        yield from sorted(found)
        if end == len(encoded):
            return
        reported = following
        begin = _window_end(encoded, end - _OVERLAP)


def _window_end(encoded: bytes, most: int) -> int:
    """At most `most`: the end of a line, or of a character where no line ends nearby."""
    if most >= len(encoded):
        return len(encoded)
    newline = encoded.rfind(b"\n", most - _OVERLAP // 4, most)
    if newline >= 0:
        return newline + 1
    while encoded[most] & 0xC0 == 0x80:
        most -= 1
    return most


def _num_characters(encoded: bytes) -> int:
    return len(encoded.decode("utf-8", "ignore"))


@functools.cache
def _scanner() -> kingfisher_sdk.Scanner:
    """One a process; it takes half a second and 45 MB. Base64 in the text is not decoded."""
    with resources.as_file(resources.files(__package__) / "secret_rules.yml") as ours:
        return kingfisher_sdk.Scanner(kingfisher_sdk.Rules([ours], confidence="low"), base64=False)


def _kind(finding: kingfisher_sdk.Finding) -> str:
    """The placeholder for what was found; empty where it is no secret."""
    rule, secret = finding.rule_id, finding.secret
    if rule.startswith(_OUR_ID):
        kind = rule.removeprefix(_OUR_ID)
        if kind == "password-url":
            return PASSWORD if is_url_password(secret) else ""
        if kind.startswith("password"):
            return PASSWORD if is_password(secret) else ""
        if kind == "keyword":
            return KEY if is_key(secret) else ""
        return "" if "EXAMPLE" in secret else KEY
    # Passwords in URLs are judged by our own rule.
    if rule in _IMPRECISE or _NO_SECRET.search(rule):
        return ""
    return KEY


def is_password(value: str) -> bool:
    """Whether a value that a password's name stands before is one, by its characters.

    It is of two kinds of characters, no field's name, path or placeholder.
    """
    kinds = (str.islower, str.isupper, str.isdigit, lambda char: not char.isalnum())
    mixed = sum(any(map(kind, value)) for kind in kinds) >= 2
    return (
        mixed
        and not value.startswith(("/", ".", "-"))
        and not _PLACEHOLDER_WORD.search(value)
        and not value.replace("_", "").replace("-", "").replace(".", "").isalpha()
        and len(set(value)) > 3
    )


def is_url_password(value: str) -> bool:
    """Whether `value` in `://user:value@host` is a real one: not `pass`, `tiger`, `1234`."""
    return is_password(value) and len(value) >= 6


def is_key(value: str) -> bool:
    """Whether a value that a key's name stands before is one: random, not made of words."""
    letters = value.strip("=")
    digits = sum(map(str.isdigit, letters))
    return (
        digits >= _FEWEST_DIGITS
        and digits < len(letters)
        and not _PLACEHOLDER_WORD.search(letters)
        and not _has_words(letters)
        and _entropy(letters) >= _KEY_ENTROPY
    )


def _has_words(value: str) -> bool:
    """Whether it has a long run of letters of one case, as names do and random text does not."""
    return any(run.islower() or run.isupper() for run in _WORDS_OF_CODE.findall(value))


def _entropy(value: str) -> float:
    counts = collections.Counter(value).values()
    return math.log2(len(value)) - sum(n * math.log2(n) for n in counts) / len(value)


def _private_keys(text: str) -> Iterator[Span]:
    """What stands between the lines `BEGIN` and `END`, if both are there."""
    position = 0
    while begin := _PRIVATE_KEY_BEGIN.search(text, position):
        end = _PRIVATE_KEY_END.search(text, begin.end())
        if end is None:
            return
        if end.start() - begin.end() >= _SHORTEST_PRIVATE_KEY:
            yield Span(begin.end(), end.start(), KEY)
        position = end.end()
