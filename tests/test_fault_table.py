"""docs/faults.md names a test for each fault, and these tests are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_each_fault_is_held_by_a_test_that_exists():
    text = (ROOT / "docs" / "faults.md").read_text()
    table = text[text.index("## Fault by fault") : text.index("## Checkpoints")]
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    sources = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    defined = set(re.findall(r"^def (test_\w+)", "\n".join(sources.values()), re.MULTILINE))
    assert len(rows) > 12
    for row in rows:
        named = re.findall(r"`(test_\w+?)(?:_?\.\.\.|`)", row)
        files = re.findall(r"`(test_\w+\.py)", row)
        assert named or files or "docs" in row or ".md)" in row, row
        assert all(any(test.startswith(name) for test in defined) for name in named), row
        assert set(files) <= set(sources), row
