"""A page's text comes out whatever its declarations say."""

import codecs

import pytest

from beam_pipelines.web.charset import NoTextError, page_text

CHINESE = "编程语言的教程：如何在服务器上安装软件，以及怎样编写第一个程序。" * 5
JAPANESE = "プログラミング言語の入門書です。サーバーにソフトウェアをインストールします。" * 5
KOREAN = "프로그래밍 언어 입문서입니다. 서버에 소프트웨어를 설치합니다. " * 5
RUSSIAN = "Учебник по языку программирования: как установить программу на сервер. " * 5
GERMAN = "Übung macht den Meister – schöne Grüße aus Köln, „natürlich“ für 5 €. " * 5

TEXTS = [
    (CHINESE, "gb18030"),
    (CHINESE, "gb2312"),
    (CHINESE, "big5")
    if CHINESE.encode("big5", "ignore").decode("big5") == CHINESE
    else ("程式語言的教學：如何在伺服器上安裝軟體，以及怎樣編寫第一個程式。" * 5, "big5"),
    (JAPANESE, "shift_jis"),
    (JAPANESE, "euc_jp"),
    (KOREAN, "euc_kr"),
    (RUSSIAN, "windows-1251"),
    (RUSSIAN, "koi8-r"),
    (GERMAN, "windows-1252"),
    (GERMAN, "utf-8"),
    (CHINESE, "utf-8"),
]
NAMES = [name for _, name in TEXTS]


def _page(text: str, declared: str = "") -> str:
    meta = f"<meta http-equiv='Content-Type' content='text/html; charset={declared}'>"
    return f"<html><head>{meta if declared else ''}</head><body><p>{text}</p></body></html>"


@pytest.mark.parametrize(("text", "encoding"), TEXTS, ids=NAMES)
@pytest.mark.parametrize("where", ["header", "meta"])
def test_a_true_declaration_counts(text: str, encoding: str, where: str) -> None:
    html = _page(text, encoding if where == "meta" else "")
    header = encoding if where == "header" else ""
    assert page_text(html.encode(encoding), header, True) == html


@pytest.mark.parametrize("declared", ["utf-8", "iso-8859-1", "windows-1252", "nonsense", ""])
@pytest.mark.parametrize(
    ("text", "encoding"), [pair for pair in TEXTS if pair[1] not in ("koi8-r",)], ids=str
)
def test_a_false_declaration_is_found_out(text: str, encoding: str, declared: str) -> None:
    if declared in ("iso-8859-1", "windows-1252") and encoding in ("windows-1251",):
        pytest.skip("two single-byte encodings: the declaration is believed")
    html = _page(text, declared)
    assert page_text(html.encode(encoding), declared, True) == html


@pytest.mark.parametrize("declared", ["gb2312", "big5", "shift_jis", "windows-1251"])
@pytest.mark.parametrize("text", [GERMAN, CHINESE, RUSSIAN])
def test_utf8_is_utf8_whatever_is_declared(text: str, declared: str) -> None:
    html = _page(text, declared)
    assert page_text(html.encode(), declared, True) == html


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (b"", "utf-16-le"),
        (b"", "utf-16-be"),
    ],
)
def test_marks_and_zeros_tell_wide_encodings(mark: bytes, encoding: str) -> None:
    html = _page(GERMAN, "iso-8859-1")
    assert page_text(mark + html.encode(encoding), "gb2312", True) == html


def test_a_broken_comment_does_not_cost_a_page_its_encoding() -> None:
    body = _page(CHINESE, "utf-8").encode() + b"<!-- \xb0\xe6 -->"
    text = page_text(body, "", True)
    assert CHINESE in text


def test_a_few_stray_bytes_do_not_cost_a_page() -> None:
    body = _page("Plain text. " * 100).encode().replace(b"text. ", b"text\x81\x8d. ", 2)
    assert page_text(body, "utf-8", True).count("Plain text") == 100


def test_bytes_of_no_encoding_are_told() -> None:
    body = b"<p>" + bytes([0x81, 0x8D, 0x8F, 0x20, 0xFF, 0x90]) * 200
    with pytest.raises(NoTextError) as caught:
        page_text(body, "utf-8", True)
    assert caught.value.reason == "bad_charset"


def test_nuls_are_left_out() -> None:
    assert page_text(b"<p>a\0b" + b"c" * 1000, "", True) == "<p>ab" + "c" * 1000


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b" \r\n\t", "empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 20, "binary"),
        (b"%PDF-1.7\n" + bytes(range(256)) * 20, "binary"),
        (bytes(range(256)) * 100, "binary"),
        (b"\0" * 5000, "binary"),
        (b"GIF89a" + bytes(range(1, 256)) * 5, "binary"),
    ],
)
def test_what_is_no_text_is_told(body: bytes, reason: str) -> None:
    with pytest.raises(NoTextError) as caught:
        page_text(body, "utf-8", True)
    assert caught.value.reason == reason
