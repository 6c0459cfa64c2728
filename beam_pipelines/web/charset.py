"""The text of a page's bytes, whatever it says of its encoding.

Declarations lie: servers add a default to every page, editors keep the template's `meta`.
What is UTF-8 is UTF-8, since hardly anything else is so by accident; a declaration counts
where the bytes agree with it, and uchardet's guess where they do not. Names mean what
browsers take them for (`iso-8859-1` is windows-1252, `gb2312` is gb18030).
"""

import codecs
import re

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from beam_pipelines.accounting import SAMPLE_CHARACTERS

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_META = re.compile(
    rb"""<(?:meta|\?xml)\b[^>]*?(?:charset|encoding)\s*=\s*["']?\s*([\w.:+-]+)""", re.I
)
_META_WITHIN = 4096
# Multi-byte encodings: bytes of another one hardly ever follow their rules for long.
_STRICT = frozenset({"gb18030", "gbk", "big5", "euc_jp", "euc_kr", "shift_jis"})
_SEVEN_BIT = "iso2022_jp"
_WIDER = {"gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "big5": "big5hkscs"}
_LARGEST_BAD_SHARE = 0.01
_LARGEST_BAD_DECLARED = 0.1
_LARGEST_STRAY_SHARE = 0.005
_MARKS = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"%PDF-",
    b"PK\x03\x04",
    b"\x1f\x8b",
    b"RIFF",
    b"\x7fELF",
    b"BZh",
    b"\xfd7zXZ",
    b"7z\xbc\xaf",
    b"Rar!",
    b"MZ",
    b"\0asm",
    b"wOFF",
    b"wOF2",
    b"ID3",
    b"OggS",
    b"\x28\xb5\x2f\xfd",
    b"\xd0\xcf\x11\xe0",
)
_CONTROL = bytes(set(range(32)) - {9, 10, 11, 12, 13, 27})
_LARGEST_CONTROL_SHARE = 0.02
_SAMPLED = 1 << 16


class NoTextError(Exception):
    """Bytes that are no text, with the drop reason."""

    def __init__(self, reason: str, detail: str, sample: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.sample = sample


def page_text(body: bytes, declared: str, is_html: bool) -> str:
    """The text of a page, without a byte-order mark and NULs.

    Args:
      body: the page.
      declared: the encoding that the server names; may be empty.
      is_html: whether the page itself may name one.

    Raises:
      NoTextError: `empty`, `binary`, or `bad_charset` where no encoding fits.
    """
    if not body or body.isspace():
        raise NoTextError("empty", f"{len(body)} bytes")
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return _clean(_lenient(body[len(mark) :], encoding))
    body = _refuse_binary(body)
    names = [declared]
    if is_html and (meta := _META.search(body, 0, _META_WITHIN)):
        names.append(meta[1].decode("ascii"))
    known = [name for name in map(_canonical, names) if name]
    if body.isascii():
        shifted = _SEVEN_BIT in known and b"\x1b" in body
        return _clean(body.decode(_SEVEN_BIT if shifted else "ascii", "replace"))
    text = _as_utf8(body, "utf-8" in known)
    return _clean(_in_legacy(body, known) if text is None else text)


def _as_utf8(body: bytes, is_declared: bool) -> str | None:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        pass
    # A comment in another encoding, a title that was cut in a character.
    text = body.decode("utf-8", "replace")
    allowed = _LARGEST_BAD_DECLARED if is_declared else _LARGEST_BAD_SHARE
    return text if _bad(text) <= allowed else None


def _in_legacy(body: bytes, declared: list[str]) -> str:
    """Raises: NoTextError: no encoding fits."""
    candidates = [name for name in declared if name != "utf-8"]
    detected = _detected(body)
    for name in candidates:
        # Nearly all bytes mean something in a single-byte encoding, so those prove nothing.
        if name in _STRICT or detected not in _STRICT:
            text = _lenient(body, name)
            if _bad(text) <= _LARGEST_BAD_SHARE:
                return text
    for name in (detected, *candidates, "cp1252"):
        if name and name != "utf-8":
            text = _lenient(body, name)
            if _bad(text) <= _LARGEST_BAD_SHARE:
                return text
    text = body.decode("utf-8", "replace")
    # A few stray bytes in a page of ASCII: no encoding fits, and hardly anything is lost.
    if text.count("\ufffd") <= _LARGEST_STRAY_SHARE * len(text):
        return text
    raise NoTextError(
        "bad_charset",
        f"declared {', '.join(declared) or 'none'}, looks like {detected or 'none'}, fits neither",
        text[:SAMPLE_CHARACTERS],
    )


def _detected(body: bytes) -> str:
    # Its mapping to browsers' names takes what it does not know for UTF-8.
    name = detect_encoding(body, _SAMPLED, html5_compatible=False) or ""
    return _canonical("euc-kr" if name.lower() in ("cp949", "uhc") else name)


def _lenient(body: bytes, encoding: str) -> str:
    return body.decode(_WIDER.get(encoding, encoding), "replace")


def _bad(text: str) -> float:
    """Share of the characters beyond ASCII that are none."""
    wide = len(text) - len(text.encode("ascii", "ignore"))
    return text.count("\ufffd") / max(wide, 1)


def _canonical(name: str) -> str:
    """Python's name of what browsers take an encoding's name for; empty for unknown ones."""
    mapped = map_encoding_to_html5(name, fallback_utf8=False) if name else None
    if not mapped:
        return ""
    try:
        return codecs.lookup(mapped).name
    except LookupError:
        return ""


def _refuse_binary(body: bytes) -> bytes:
    """The body without NULs, UTF-16 without a mark made UTF-8.

    Raises:
      NoTextError: `binary`.
    """
    mark = next((mark for mark in _MARKS if body.startswith(mark)), None)
    start = body[:_SAMPLED]
    if b"\0" in start and mark is None:
        for encoding, zeros in (("utf-16-le", start[1::2]), ("utf-16-be", start[::2])):
            if zeros.count(0) > 0.4 * len(zeros) and start.count(0) < 1.2 * zeros.count(0):
                return body.decode(encoding, "replace").encode("utf-8", "replace")
    control = len(start) - len(start.translate(None, _CONTROL))
    if control > _LARGEST_CONTROL_SHARE * len(start):
        raise NoTextError("binary", f"{control} control characters in the first {len(start)} bytes")
    if mark is not None and control:
        raise NoTextError("binary", f"begins with {mark!r}")
    return body.replace(b"\0", b"") if b"\0" in body else body


def _clean(text: str) -> str:
    if "\0" in text:
        text = text.replace("\0", "")
    return text.removeprefix("\ufeff")
