"""Addresses of pages: what names a page, and the host that it counts for.

Crawlers write the same page's address in several ways. One form is kept: scheme and host in
lower case, the host in ASCII, no user name or password, no default port, no fragment.
"""

import ipaddress
import re
import urllib.parse
from typing import NamedTuple

_LONGEST = 4096
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# What a URL cannot hold unescaped; browsers drop tab and line ends, and escape the others.
_DROPPED = re.compile(r"[\t\r\n]")
_ESCAPED = re.compile(r"[\x00-\x20\x7f\"<>\\^`{|}]")


class Address(NamedTuple):
    """A page's address.

    Attributes:
      url: its one form.
      host: without port and `www.`: the base domain that pages are counted by.
    """

    url: str
    host: str


class BadAddressError(Exception):
    """A text that is no address of a web page, with the drop reason."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def parse_address(text: str) -> Address:
    """The address in its one form.

    Raises:
      BadAddressError: `not_http` for other schemes, `bad_url` for what cannot be an address.
    """
    text = _DROPPED.sub("", text.strip())
    if len(text) > _LONGEST:
        raise BadAddressError("bad_url", f"{len(text)} characters, at most {_LONGEST}")
    scheme, colon, _ = text.partition(":")
    scheme = scheme.lower()
    if not colon or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise BadAddressError("bad_url", f"{text[:80]!r} has no scheme")
    if scheme not in _DEFAULT_PORTS:
        raise BadAddressError("not_http", f"scheme {scheme[:40]}")
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
        host = _ascii_host(parts.hostname or "")
    except ValueError as error:
        raise BadAddressError("bad_url", f"{text[:80]!r}: {error}") from error
    place = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS[scheme]:
        place += f":{port}"
    rest = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    rest = _ESCAPED.sub(lambda match: f"%{ord(match[0]):02X}", rest)
    return Address(f"{scheme}://{place}{rest}", host.removeprefix("www.") or host)


def _ascii_host(host: str) -> str:
    """Raises: ValueError: it is no name or number of a machine."""
    if ":" in host:
        return str(ipaddress.IPv6Address(host.partition("%")[0]))
    host = host.rstrip(".")
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise ValueError(f"host {host[:60]!r} is no name: {error}") from error
    host = host.lower()
    if not host or len(host) > 253 or not all(map(_LABEL.fullmatch, host.split("."))):
        raise ValueError(f"host {host[:60]!r} is no name")
    return host
