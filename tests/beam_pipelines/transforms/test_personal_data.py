"""Personal data is replaced by placeholders, and what only looks like it stays."""

import pytest

from beam_pipelines.transforms.personal_data import replace_personal_data


def placeholders(text: str) -> str:
    return replace_personal_data(text).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# by jane.doe+dev@mail.acme.co.uk\n", "# by <email>\n"),
        ("<jane@acme.org>, <joe@acme.de>", "<<email>>, <<email>>"),
        ("host = '203.0.114.7'", "host = '<ip>'"),
        ("connect 93.184.216.34:80", "connect <ip>:80"),
        ("2a00:1450:4001:82a::200e up", "<ip> up"),
        ('password = "hunter2-Xy"', 'password = "<password>"'),
        ('"db_passwd": "9f8aQ!x"', '"db_passwd": "<password>"'),
        ("postgres://bob:s3cr!tQ@db/x", "postgres://bob:<password>@db/x"),
        ("key = 'AKIA" + "QYLPMN5HHHFPZAM2'", "key = '<key>'"),
        ("token ghp_" + "w7Qp2ZkR9sVbX4mTc8LdYh3Nf6JgAe5UuKoE", "token <key>"),
        ("sk_live_" + "w7Qp2ZkR9sVbX4mTc8LdYh3N", "<key>"),
    ],
)
def test_personal_data_is_replaced(text: str, expected: str) -> None:
    assert placeholders(text) == expected


def test_the_body_of_a_private_key_is_replaced() -> None:
    begin, end = "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"
    text = f"a\n{begin}\nMIIEowIBAAKCAQEA\nw7Qp2ZkR9sVbX4mT\n{end}\nb\n{begin}\n"
    assert placeholders(text) == f"a\n{begin}<key>{end}\nb\n{begin}\n"


@pytest.mark.parametrize(
    "text",
    [
        "git@github.com:acme/x.git",
        "user@example.com and a@b.example.org",
        "@functools.cache\n@app.route('/x')",
        "y = x@w.T + a@b.reshape",
        "127.0.0.1 10.1.2.3 192.168.0.1 0.0.0.0 255.255.255.0 192.0.2.1 224.0.0.251",
        "nameserver 8.8.8.8",
        "version 93.184.216.34 and v93.184.216.34, ==93.184.216.34",
        "1.2.3.4 and 2.5.29.15",
        "d='M-.52.28 1.23.82.72 1.21 1.87.87 2.33'",
        "93.184.216.34.5 and 999.184.216.34",
        "std::vector<int> a::b; fe80::1; 2001:db8::1; ::1",
        'password = "password"; passwd = ""; pwd = "/home/x1"',
        "password = getpass(); password = '${DB_PASS1}'; password: 'enter it 2x'",
        "http://user:password@host http://{user}:{pw}@host",
        "-----BEGIN PUBLIC KEY-----\nMII\n-----END PUBLIC KEY-----",
    ],
)
def test_what_identifies_nobody_stays(text: str) -> None:
    assert placeholders(text) == text


def test_replacements_are_counted_by_kind() -> None:
    result = replace_personal_data("jane@acme.org joe@acme.org 93.184.216.34")
    assert result.counts == {"<email>": 2, "<ip>": 1}


HOSTILE = ("a", "a@", "a.", "x@a.", "1.", "eyJ", "password", "password='", "://a:b", "2001:")
HOSTILE += ("ghp_", "xoxb-1-", "AKIA", " ", "-----BEGIN PRIVATE KEY-----")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("unit", HOSTILE)
def test_a_hostile_line_of_a_megabyte_is_read_to_its_end(unit: str) -> None:
    # Quadratic time would be minutes to hours.
    text = unit * (1_000_000 // len(unit))
    assert replace_personal_data(f"{text}\njoe@acme.org").text.endswith("\n<email>")
