"""Text of the pages can be read: WCAG 2.1's contrast of 4.5 to 1 on every ground."""

import re
from pathlib import Path

import pytest

import opencoder_jax.report

STYLE = Path(opencoder_jax.report.__file__).with_name("style.css").read_text()
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part))
    for part in STYLE.split("prefers-color-scheme: dark", 1)
)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(p * weight for p, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "card", "sunk"])
@pytest.mark.parametrize("ink", ["ink", "soft", "faint", "accent", "good", "bad"])
def test_text_stands_out_from_its_ground(scheme: dict[str, str], ground: str, ink: str) -> None:
    low, high = sorted((luminance(scheme[ground]), luminance(scheme[ink])))
    assert (high + 0.05) / (low + 0.05) >= 4.5
