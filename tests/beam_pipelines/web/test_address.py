"""One address for each page, and none for what is no page."""

import pytest

from beam_pipelines.web.address import Address, BadAddressError, parse_address


@pytest.mark.parametrize(
    ("text", "url", "host"),
    [
        ("http://Example.ORG", "http://example.org/", "example.org"),
        (
            "HTTPS://www.Example.org:443/A/b?C=d#part",
            "https://www.example.org/A/b?C=d",
            "example.org",
        ),
        ("https://example.org:8080/", "https://example.org:8080/", "example.org"),
        ("http://user:secret@example.org/x", "http://example.org/x", "example.org"),
        ("http://münchen.example/ü", "http://xn--mnchen-3ya.example/ü", "xn--mnchen-3ya.example"),
        ("http://中文网.example/", "http://xn--fiq228c5hs.example/", "xn--fiq228c5hs.example"),
        ("http://example.org./a b\n<c>", "http://example.org/a%20b%3Cc%3E", "example.org"),
        ("http://[2001:DB8::1]:80/", "http://[2001:db8::1]/", "2001:db8::1"),
        ("http://192.0.2.7/", "http://192.0.2.7/", "192.0.2.7"),
        ("http://example.org?x=1", "http://example.org/?x=1", "example.org"),
        ("http://example.org//double", "http://example.org//double", "example.org"),
        ("http://www.a/", "http://www.a/", "a"),
    ],
)
def test_addresses_have_one_form(text: str, url: str, host: str) -> None:
    assert parse_address(text) == Address(url, host)
    assert parse_address(url) == Address(url, host)


@pytest.mark.parametrize(
    "text", ["dns:example.org", "ftp://a.org/x", "mailto:a@b.org", "data:,x", "file:///x"]
)
def test_other_schemes_are_no_pages(text: str) -> None:
    with pytest.raises(BadAddressError) as caught:
        parse_address(text)
    assert caught.value.reason == "not_http"


@pytest.mark.parametrize(
    "text",
    [
        "example.org/x",
        "//example.org",
        "http://",
        "http:///path",
        "http://a b/",
        "http://example.org:99999/",
        "http://example.org:x/",
        "http://[::1/",
        "http://[fe80::zz]/",
        "http://.../",
        "http://-/",
        "http://" + "a" * 300 + ".org/",
        "http://example.org/" + "x" * 5000,
        "http://\udcff.org/",
    ],
)
def test_what_cannot_be_an_address_is_told(text: str) -> None:
    with pytest.raises(BadAddressError) as caught:
        parse_address(text)
    assert caught.value.reason == "bad_url"
