"""A folder of repositories as they come: good sources of Python's library, bad files of all kinds.

`make_repositories` returns what becomes of each file: a drop reason, or `kept`.
"""

import json
import os
import shutil
import socket
import sysconfig
from pathlib import Path

GOOD = ("textwrap.py", "heapq.py", "bisect.py", "json/decoder.py", "shlex.py", "fnmatch.py")
KEPT = "kept"


def make_repositories(root: Path) -> dict[tuple[str, str], str]:
    """Fills `root`; (repository, path) → what becomes of the file."""
    expected = {("good", path): KEPT for path in GOOD}
    library = Path(sysconfig.get_path("stdlib"))
    for path in GOOD:
        (root / "good" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library / path, root / "good" / path)
    source = (library / "heapq.py").read_text()

    bad = root / "bad"
    bad.mkdir()
    for name, content, reason in (
        ("empty.py", b"", "empty"),
        ("blank.py", b" \n\t\n", "empty"),
        ("nul.py", b"x = 1\n" * 5000 + b"\0", "binary"),
        ("controls.py", b"\x01\x02\x03abc" * 100, "binary"),
        ("program.c", b"\x7fELF\x02\x01\x01" + bytes(64), "binary"),
        ("latin1.py", "# café\n".encode("latin-1") * 50, "not_utf8"),
        ("utf16.py", "x = 1\n".encode("utf-16"), "not_utf8"),
        ("cut.py", "# 日本語".encode()[:-1], "not_utf8"),
        ("surrogate.py", b"# \xed\xa0\x80\n", "not_utf8"),
        ("line.js", b"x" * 7_000_000, "rule"),
        ("nine_megabytes.py", b"x = 1\n" * 1_500_000, "too_large"),
        ("picture.svg", b"<svg/>\n", "excluded_language"),
        ("table.csv", b"a,b\n", "excluded_language"),
        ("thing.unheard", b"hello\n", "unknown_language"),
        ("no_extension", b"hello\n", "unknown_language"),
        ("short.py", b"import os\n" * 12, "rule"),
        ("carriage.py", (library / "reprlib.py").read_bytes().replace(b"\n", b"\r\n"), KEPT),
        ("mark.py", b"\xef\xbb\xbf" + (library / "bisect.py").read_bytes(), "exact_duplicate"),
        ("copy.py", (library / "textwrap.py").read_bytes(), "exact_duplicate"),
        ("nearly.py", source.replace("merge", "blend", 1).encode(), "near_duplicate"),
        ("new\nline.py", (library / "sched.py").read_bytes(), KEPT),
        ("script", b"#!/usr/bin/env python3\n" + (library / "graphlib.py").read_bytes(), KEPT),
    ):
        (bad / name).write_bytes(content)
        expected["bad", name] = reason
    (bad / os.fsdecode(b"caf\xe9.py")).write_bytes((library / "cmd.py").read_bytes())
    expected["bad", "caf\\xe9.py"] = KEPT

    (bad / "folder.py").mkdir()
    (bad / "folder.py" / "inside.json").write_text(json.dumps({"a": 1}))
    expected["bad", "folder.py/inside.json"] = "rule"
    for name, target, reason in (
        ("link.py", "short.py", "link"),
        ("dangling.py", "nowhere.py", "dangling_link"),
        ("itself.py", "itself.py", "dangling_link"),
        ("loop", "..", "link"),
        ("outside.py", "/etc/passwd", "link"),
    ):
        (bad / name).symlink_to(target)
        expected["bad", name] = reason
    os.mkfifo(bad / "pipe.py")
    expected["bad", "pipe.py"] = "not_a_file"
    listening = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(bad)  # the path of a socket may have 107 bytes only
    listening.bind("socket.py")
    os.chdir(here)
    listening.close()
    expected["bad", "socket.py"] = "not_a_file"

    (root / "top.py").write_bytes((library / "queue.py").read_bytes())
    expected[".", "top.py"] = KEPT
    return expected
