"""Quoted strings of a code, whatever its language: triple, double and single quotes.

The rules on strings look for data that was pasted into code, so they take one notion
of a quoted string for all languages: triple-quoted ones may cross lines, others not.
"""

import re

# Begins with a set of characters so that `re` skips to the next quote. An escaped quote
# opens no string, which also keeps a line of nothing but those from being read n times.
_QUOTE = re.compile(
    r"""[\\"'](?:(?<=\\).|(?P<triple>(?<=")""|(?<=')'')"""
    r"""|(?<=")[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"|(?<=')[^'\\\n]*+(?:\\.[^'\\\n]*+)*+')"""
)


def quoted_strings(code: str) -> list[str]:
    """What stands between the quotes of every string, in order; an unclosed quote opens none."""
    found: list[str] = []
    position = 0
    unclosed: set[str] = set()
    while match := _QUOTE.search(code, position):
        position = match.end()
        if match["triple"] is None:
            if not match[0].startswith("\\"):
                found.append(match[0][1:-1])
            continue
        delimiter = match[0]
        end = -1 if delimiter in unclosed else code.find(delimiter, position)
        if end == -1:
            unclosed.add(delimiter)
            continue
        found.append(code[position:end])
        position = end + len(delimiter)
    return found
