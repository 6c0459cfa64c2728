"""The page at `/`: one file, with a policy that lets it talk to its own server alone."""

import base64
import hashlib
import re
from pathlib import Path

PAGE = (Path(__file__).parent / "playground.html").read_text(encoding="utf-8")


def _hashes(tag: str) -> str:
    """Of the page's own scripts or styles, for the policy: no other runs."""
    parts = re.findall(rf"<{tag}>(.*?)</{tag}>", PAGE, re.DOTALL)
    digests = (hashlib.sha256(part.encode()).digest() for part in parts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_hashes('script')}; style-src {_hashes('style')}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
