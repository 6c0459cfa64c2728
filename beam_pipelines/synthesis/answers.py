"""A teacher's answer in the parts that it was asked for.

Prompts ask for sections under headings. Models write headings in several ways (`## Task`,
`**Task:**`, `[Task]`, `Task:`), think aloud before them, and put code into fences, inside
which nothing is a heading. What is not there is an `AnswerError` with the reason of a drop.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from opencoder_jax.evaluation.extraction import fenced_code

_THOUGHTS = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"[ \t]*(?:[-*>][ \t]+)?(`{3,}|~{3,})(.*)")
_HEADING = (
    r"[ \t]*(?:#{{1,6}}[ \t]*)?(?:\d+[.)][ \t]*)?[\[*_]{{0,3}}(?P<name>{names})[\]*_]{{0,3}}"
    r"[ \t]*(?P<colon>[:：]?)[*_]{{0,2}}[ \t]*(?P<rest>.*)"
)
_MARKED = re.compile(r"[ \t]*(?:\d+[.)][ \t]*)?(?:#|\[|\*\*|__)")
_RATING = re.compile(r"(?<![\w.])(\d{1,2}(?:\.\d+)?)(?:\s*(?:/|out of)\s*(\d{1,2}))?")


class AnswerError(Exception):
    """An answer that gives no example: the drop's reason and detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def sections(text: str, names: Sequence[str]) -> dict[str, str]:
    """The text under each of the headings `names`; the first with text counts.

    Raises:
      AnswerError: `answer_incomplete`: one is missing or empty.
    """
    pattern = re.compile(
        _HEADING.format(names="|".join(map(re.escape, names))) + r"\Z", re.IGNORECASE
    )
    by_name = {name.lower(): name for name in names}
    found: dict[str, list[str]] = {}
    current: list[str] = []
    fence = ""
    # Not `splitlines`: a form feed or U+2028 in code is a character of its line.
    for line in re.split(r"\r\n|\r|\n", without_thoughts(text)):
        opens = _FENCE.match(line)
        if opens and not fence:
            fence = opens[1]
        elif opens and opens[1].startswith(fence) and not opens[2].strip():
            fence = ""
        elif not fence and (heading := pattern.match(line)) and _is_heading(line, heading):
            name = by_name[heading["name"].lower()]
            current = [heading["rest"]] if heading["rest"] else []
            # Of a repeated heading the first that says something counts.
            if not "".join(found.get(name, ())).strip():
                found[name] = current
            continue
        current.append(line)
    given = {name: "\n".join(lines).strip() for name, lines in found.items()}
    missing = [name for name in names if not given.get(name)]
    if missing:
        raise AnswerError("answer_incomplete", f"no section {', '.join(missing)}")
    return given


def _is_heading(line: str, heading: re.Match[str]) -> bool:
    """A marked line, or a name and a colon; not a sentence that begins with the name."""
    if heading["colon"]:
        return True
    return bool(_MARKED.match(line)) and not heading["rest"]


def without_thoughts(text: str) -> str:
    """The answer without what a reasoning model thinks aloud before it."""
    return _THOUGHTS.sub("", text)


def code_of(section: str, language: str) -> str:
    """The code of a section: its fenced block, or all of it where it has none.

    Raises:
      AnswerError: `answer_without_code`.
    """
    code = fenced_code(section, language=language).strip("\n")
    if not code.strip():
        raise AnswerError("answer_without_code", section[:200])
    return code


def rating(text: str, highest: int) -> float:
    """The number that a judge gives: behind `score` or `rating`, else the only one.

    Raises:
      AnswerError: `rating_unparsable`: none, several that differ, or beyond 0 to `highest`.
    """
    text = without_thoughts(text)
    named = re.findall(
        r"(?:score|rating|评分|得分|分数)\W{0,12}(\d{1,2}(?:\.\d+)?)", text, re.IGNORECASE
    )
    # Of `8/10` the 10 is the scale.
    numbers = set(named or (match[1] for match in _RATING.finditer(text)))
    values = {float(number) for number in numbers}
    if len(values) != 1 or not 0 <= (value := values.pop()) <= highest:
        raise AnswerError("rating_unparsable", " ".join(text.split())[:200])
    return value


def yes_or_no(text: str) -> bool:
    """The decision that an answer starts or ends with.

    Raises:
      AnswerError: `verdict_unparsable`: neither, or both.
    """
    words = re.findall(r"[^\W_]+", without_thoughts(text).lower())
    ends = {*words[:1], *words[-1:]}
    said = {
        "yes" in ends or bool(ends & {"是", "是的"}),
        "no" in ends or bool(ends & {"否", "不是"}),
    }
    if len(said) != 2:
        raise AnswerError("verdict_unparsable", " ".join(text.split())[:200])
    return "yes" in ends or bool(ends & {"是", "是的"})


def json_object(text: str) -> dict[str, Any]:
    """The JSON object in an answer.

    Raises:
      AnswerError: `answer_no_json`.
    """
    text = without_thoughts(text)
    try:
        value = json.loads(text[text.find("{") : text.rfind("}") + 1] or "null")
    except (ValueError, RecursionError) as error:
        raise AnswerError("answer_no_json", str(error)) from error
    if not isinstance(value, dict):
        raise AnswerError("answer_no_json", " ".join(text.split())[:200])
    return value
