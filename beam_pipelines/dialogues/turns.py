"""The turns of somebody's dialogue as messages that can be trained on, or why not.

Roles have one name here. What can be mended without changing what was said is trimmed, and the
record says so: a turn that stands twice, answers before the first question, questions after
the last answer, and a last answer that was cut off inside a code block, with its question. The
rest is a `TurnsError`: nobody can tell what a model should learn of it. docs/instructions.md
has the rules as a table.
"""

import itertools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

# Other data sets' names.
_ROLES = {
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "chatgpt", "bing", "bard", "model", "bot", "ai"),
    "system": ("system", "developer"),
    "tool": (
        *("tool", "tool_call", "tool_calls", "tool_response", "observation", "ipython"),
        *("function", "function_call", "function-call", "function_response", "environment"),
    ),
}
_NAMES = {name: role for role, names in _ROLES.items() for name in names}
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)")
_SHOWN = 40


class TurnsError(Exception):
    """A dialogue that nothing can be learned of; the text says why."""


class Dialogue(NamedTuple):
    """A dialogue.

    Attributes:
      messages: (role, content) of each turn: perhaps a system message, then question and answer
        in turn, the last one an answer.
      trimmed: what was left out, in words.
    """

    messages: tuple[tuple[str, str], ...]
    trimmed: tuple[str, ...]


def dialogue_of(turns: Sequence[tuple[Any, Any]]) -> Dialogue:
    """What can be trained on of the turns, (role, content) each, as somebody wrote them.

    Raises:
      TurnsError: nothing.
    """
    messages = [_message(number, *turn) for number, turn in enumerate(turns)]
    trimmed: list[str] = []
    messages = _without_empty_ends(messages, trimmed)
    messages = _without_repeats(messages, trimmed)
    for number, (role, text) in enumerate(messages):
        if not text.strip():
            raise TurnsError(f"turn {number}: {role}'s is empty")
        if role == "tool":
            raise TurnsError(f"turn {number}: a tool's")
        if role == "system" and number:
            raise TurnsError(f"turn {number}: system in the middle")
    head = messages[:1] if messages and messages[0][0] == "system" else []
    turns_left = _from_question_to_answer(messages[len(head) :], trimmed)
    for number, (before, after) in enumerate(itertools.pairwise(turns_left), start=len(head)):
        if before[0] == after[0]:
            raise TurnsError(f"turns {number} and {number + 1}: {after[0]} twice")
    if turns_left and ends_in_code(turns_left[-1][1]):
        trimmed.append("a last answer that was cut off")
        turns_left = turns_left[:-2]
        if not turns_left:
            raise TurnsError("the answer is cut off: a code block is not closed")
    return Dialogue((*head, *turns_left), tuple(dict.fromkeys(trimmed)))


def ends_in_code(text: str) -> bool:
    """Whether a code block is still open at the end.

    Many answers begin a block in the middle of a line, which markup does not count, so its end
    looks like a beginning: a bare fence as the last line leaves nothing open.
    """
    opened = ""
    lines = text.rstrip().split("\n")
    for number, line in enumerate(lines, start=1):
        match = _FENCE.match(line)
        if not match:
            continue
        fence, info = match[1], match[2]
        if not opened:
            # Backticks in it make it text (CommonMark 4.5).
            is_end = number == len(lines) and not info.strip()
            opened = "" if is_end or (fence[0] == "`" and "`" in info) else fence
        elif fence.startswith(opened) and not info.strip():
            opened = ""
    return bool(opened)


def _message(number: int, role: Any, content: Any) -> tuple[str, str]:
    if not isinstance(role, str) or not role.strip():
        raise TurnsError(f"turn {number}: no role")
    name = _NAMES.get(role.strip().lower())
    if name is None:
        raise TurnsError(f"turn {number}: role {role[:_SHOWN]!r}")
    if content is None:
        content = ""
    if isinstance(content, list):
        content = _joined(number, content)
    if not isinstance(content, str):
        raise TurnsError(f"turn {number}: {type(content).__name__}, expected text")
    try:
        content.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TurnsError(f"turn {number}: not Unicode text: {error.reason}") from error
    return name, content


def _joined(number: int, parts: Sequence[Any]) -> str:
    """The text of a message in parts, as OpenAI's have them."""
    texts = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise TurnsError(f"turn {number}: a part that is no text ({str(kind)[:_SHOWN]})")
    return "\n".join(texts)


def _without_empty_ends(messages: list[tuple[str, str]], trimmed: list[str]) -> list:
    while messages and messages[0][0] == "system" and not messages[0][1].strip():
        messages = messages[1:]
    while messages and not messages[-1][1].strip():
        messages = messages[:-1]
        trimmed.append("an empty last turn")
    return messages


def _without_repeats(messages: list[tuple[str, str]], trimmed: list[str]) -> list:
    different = [turn for turn, _ in itertools.groupby(messages)]
    if len(different) < len(messages):
        trimmed.append("a turn that stood twice")
    return different


def _from_question_to_answer(messages: list[tuple[str, str]], trimmed: list[str]) -> list:
    """From the first question to the last answer.

    Raises:
      TurnsError: there is no question, or no answer after it.
    """
    first = next((i for i, (role, _) in enumerate(messages) if role == "user"), None)
    if first is None:
        raise TurnsError("no question" if messages else "no turns")
    last = max((i for i, (role, _) in enumerate(messages) if role == "assistant"), default=-1)
    if last < first:
        raise TurnsError("no answer")
    if first:
        trimmed.append("an answer before the first question")
    if last + 1 < len(messages):
        trimmed.append("a question after the last answer")
    return messages[first : last + 1]
