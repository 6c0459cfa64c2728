"""Which script a question is written in, where its record does not say its language.

The model that tells 176 languages apart belongs to the data pipelines (`beam_pipelines/signals/
human_language.py`), which a report does not need. Script alone tells Chinese from English,
which is what recipes in both want to know, and does not claim more.
"""

import collections
import re

# Code says nothing of the language of its question.
_FENCED = re.compile(r"(```|~~~).*?(\1|\Z)|`[^`\n]*`", re.DOTALL)
_SCRIPTS = {
    "Latin script": "A-Za-z\u00c0-\u024f",
    "Chinese (Han)": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff",
    "Japanese (kana)": "\u3040-\u30ff",
    "Korean (hangul)": "\u1100-\u11ff\uac00-\ud7af",
    "Cyrillic script": "\u0400-\u052f",
    "Greek script": "\u0370-\u03ff",
    "Arabic script": "\u0600-\u06ff\u0750-\u077f",
    "Hebrew script": "\u0590-\u05ff",
    "Indic scripts": "\u0900-\u0dff",
    "Thai script": "\u0e00-\u0e7f",
}
_PATTERNS = {name: re.compile(f"[{characters}]") for name, characters in _SCRIPTS.items()}
NO_SCRIPT = "no letters"
# Of a text; questions are told by their beginning.
_CHARACTERS = 5000
# A word of Latin letters has about so many for each of a script without spaces.
_LATIN_A_WORD = 4


def writing_system(text: str) -> str:
    """Name of the script that most words outside of code are in.

    Text with kana is Japanese, whatever the number of its Han characters.
    """
    prose = _FENCED.sub(" ", text[:_CHARACTERS])
    found = collections.Counter(
        {name: len(pattern.findall(prose)) for name, pattern in _PATTERNS.items()}
    )
    if found["Japanese (kana)"] * 4 > found["Chinese (Han)"] > 0:
        found["Japanese (kana)"] += found["Chinese (Han)"]
    found["Latin script"] //= _LATIN_A_WORD
    name, number = max(found.items(), key=lambda pair: pair[1])
    if number:
        return name
    return "Latin script" if _PATTERNS["Latin script"].search(prose) else NO_SCRIPT
