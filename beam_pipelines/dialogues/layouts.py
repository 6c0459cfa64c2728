"""Where published sets of dialogues and instructions keep what a conversation needs.

A layout is told by its fields, so files need not be named; docs/instructions.md says which data
sets have which, and how that was verified. What else a row says of itself (its id, source,
human language, labels, tests) goes into the conversation's details.
Next: `turns` makes a dialogue of the turns.
"""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from beam_pipelines.accounting import SAMPLE_CHARACTERS, Drop
from beam_pipelines.dialogues.rows import Row
from beam_pipelines.dialogues.turns import TurnsError, dialogue_of
from beam_pipelines.languages.file_types import languages
from opencoder_jax.formats.conversation import Conversation
from opencoder_jax.formats.document import Document, document_id

# Fields that a row needs to be of a layout, tried in this order.
_CHAT_FIELDS = ("messages", "conversation", "conversations", "dialogue", "turns")
_QUESTION_FIELDS = (("instruction", "output"), ("prompt", "completion"), ("question", "answer"))
CONVERSATIONS = (*((name,) for name in _CHAT_FIELDS), *_QUESTION_FIELDS)
DOCUMENTS = (("text",), ("content",), *_QUESTION_FIELDS)
_ROLE_FIELDS = ("role", "from", "speaker")
_TEXT_FIELDS = ("content", "value", "text")
_ID_FIELDS = ("conversation_hash", "conversation_id", "seq_id", "id", "task_id", "idx")
# What a row says of itself, as it says it.
_FACTS = ("source", "label", "model", "entry_point", "lang", "score", "redacted", "toxic")
_HUMAN_LANGUAGE = ("human_language", "langdetect")
_FENCED = re.compile(r"^ {0,3}(?:`{3,}|~{3,})[ \t]*([\w+#.-]+)", re.MULTILINE)
_ALIASES = {
    alias: name
    for name, aliases in {
        "cpp": ("c++", "cc", "cxx"),
        "csharp": ("c#", "cs"),
        "go": ("golang",),
        "javascript": ("js", "jsx"),
        "kotlin": ("kt",),
        "markdown": ("md",),
        "powershell": ("ps1",),
        "python": ("py", "python3"),
        "ruby": ("rb",),
        "rust": ("rs",),
        "shell": ("sh", "bash", "zsh"),
        "typescript": ("ts",),
        "yaml": ("yml",),
    }.items()
    for alias in aliases
}
_NO_CODE = "text"
# As JSON and tables have them (1 is True); a NaN differs from itself.
_NOTHING: tuple = (None, False, [], {})
_YES = (True, "true", "True")


class BadRowError(Exception):
    """A row that gives no record, with the drop's reason."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclasses.dataclass(frozen=True, slots=True)
class Tested:
    """A conversation, and the program and tests that came with it.

    Attributes:
      conversation: the record to be.
      code: the solution; empty where the row has none, or no tests.
      tests: assertions on it.
    """

    conversation: Conversation
    code: str = ""
    tests: str = ""

    @property
    def id(self) -> str:
        return self.conversation.id


def conversation_of(row: Row, set_name: str, default_language: str, keep_toxic: bool) -> Tested:
    """The conversation in a row.

    Args:
      row: as it was read.
      set_name: its provenance.
      default_language: of code, where neither the row nor a code block names one.
      keep_toxic: whether rows stay that are marked as toxic.

    Raises:
      BadRowError: there is none.
    """
    values = row.values
    if not keep_toxic and _is_toxic(values):
        raise BadRowError("toxic", "marked so in its file")
    try:
        found = dialogue_of(_turns(values))
    except TurnsError as error:
        raise BadRowError("bad_dialogue", str(error)) from error
    code, tests = _text(values.get("code")), _tests(values)
    facts = {name: values[name] for name in _FACTS if values.get(name) not in (None, "", [], {})}
    human = _human_language(values)
    details = {
        "file": row.file,
        "position": row.position,
        **({"source_id": source} if (source := _source_id(values)) else {}),
        **({"human_language": human} if human else {}),
        **({"trimmed": list(found.trimmed)} if found.trimmed else {}),
        **({"tests": tests} if tests else {}),
        **facts,
    }
    answers = "\n".join(text for role, text in found.messages if role == "assistant")
    conversation = Conversation(
        id=document_id(set_name, row.file, row.position),
        messages=found.messages,
        language=_code_language(values, answers) or default_language or _NO_CODE,
        # Equal questions are on one side of the held-out split, whatever was answered.
        repo=f"{set_name}:{_digest(_words(found.messages[:-1]))[:16]}",
        provenance=set_name,
        details=details_json(details),
    )
    both = bool(code.strip() and tests.strip()) and _is_unicode(code + tests)
    return Tested(conversation, code if both else "", tests if both else "")


def document_of(row: Row, set_name: str, default_language: str) -> Document:
    """The document in a row of an annealing corpus.

    Raises:
      BadRowError: there is none.
    """
    values = row.values
    text = _text(values.get("text")) or _text(values.get("content"))
    if not text:
        pair = next((p for p in _QUESTION_FIELDS if all(_text(values.get(n)) for n in p)), None)
        text = "\n\n".join(_text(values[name]) for name in pair) if pair else ""
    if not text.strip():
        raise BadRowError("empty", "no text")
    try:
        digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    except UnicodeEncodeError as error:
        raise BadRowError("not_utf8", error.reason) from error
    id = document_id(set_name, row.file, row.position)
    return Document(
        id=id,
        text=text,
        repo=f"{set_name}:{digest[:16]}",
        path=f"{row.file}#{row.position}",
        language=_code_language(values, "") or default_language or "unknown",
        doc_type="code",
        provenance=set_name,
        content_sha256=digest,
        duplicate_cluster=id,
    )


def content_key(conversation: Conversation) -> str:
    """Equal for conversations of the same words: question, answer and all."""
    return _digest(_words(conversation.messages))


def row_drop(row: Row, set_name: str, error: BadRowError) -> Drop:
    shown = json.dumps(row.values, ensure_ascii=False, default=str)
    return Drop(
        id=document_id(set_name, row.file, row.position),
        repo=row.file,
        path=row.position,
        language="",
        reason=error.reason,
        detail=error.detail.encode("utf-8", "backslashreplace").decode(),
        sample=shown[:SAMPLE_CHARACTERS].encode("utf-8", "backslashreplace").decode(),
    )


def _turns(values: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """(role, content) as the row has them.

    Raises:
      TurnsError: it has none.
    """
    for name in _CHAT_FIELDS:
        turns = values.get(name)
        if turns is None:
            continue
        if not isinstance(turns, Sequence) or isinstance(turns, str):
            raise TurnsError(f"{name} is {type(turns).__name__}, expected a list of turns")
        system = _text(values.get("system")) or _text(values.get("system_prompt"))
        has_own = bool(turns) and isinstance(turns[0], Mapping) and _role(turns[0]) == "system"
        head = [("system", system)] if system.strip() and not has_own else []
        return head + [_turn(number, turn) for number, turn in enumerate(turns)]
    for question, answer in _QUESTION_FIELDS:
        if question in values and answer in values:
            # Alpaca's: what the instruction is about.
            about = values.get("input") if question == "instruction" else None
            if not isinstance(about, str) and about not in _NOTHING and about == about:
                raise TurnsError(f"input is {type(about).__name__}, expected text")
            asked = values[question]
            if isinstance(asked, str) and isinstance(about, str) and about.strip():
                asked = f"{asked}\n\n{about}" if asked.strip() else about
            system = _text(values.get("system")) or _text(values.get("system_prompt"))
            head = [("system", system)] if system.strip() else []
            return [*head, ("user", asked), ("assistant", values[answer])]
    raise TurnsError(f"no turns in the fields {', '.join(map(str, list(values)[:12]))}")


def _turn(number: int, turn: Any) -> tuple[Any, Any]:
    if not isinstance(turn, Mapping):
        raise TurnsError(f"turn {number}: {type(turn).__name__}, expected an object")
    if turn.get("tool_calls") or turn.get("function_call"):
        return "tool", ""
    content = next((turn[name] for name in _TEXT_FIELDS if turn.get(name) is not None), None)
    return _role(turn), content


def _role(turn: Mapping[str, Any]) -> Any:
    return next((turn[name] for name in _ROLE_FIELDS if turn.get(name) is not None), None)


def _is_toxic(values: Mapping[str, Any]) -> bool:
    if values.get("toxic") in _YES:
        return True
    turns: list = next(
        (values[name] for name in _CHAT_FIELDS if isinstance(values.get(name), list)), []
    )
    return any(isinstance(turn, Mapping) and turn.get("toxic") in _YES for turn in turns)


def _tests(values: Mapping[str, Any]) -> str:
    """Assertions, one a line; a list of them in opc-sft-stage2."""
    found = values.get("testcase")
    if isinstance(found, list):
        return "\n".join(test for test in found if isinstance(test, str))
    return _text(found)


def _human_language(values: Mapping[str, Any]) -> str:
    # WildChat's turns have one each and the row has their commonest, as English names.
    names = (*_HUMAN_LANGUAGE, *(("language",) if "conversation" in values else ()))
    return next((text for name in names if (text := _text(values.get(name)))), "")


def _code_language(values: Mapping[str, Any], answers: str) -> str:
    """The language of code that a row names, or that its first code block with one does."""
    if _text(values.get("code")).strip() and "testcase" in values:
        return "python"
    named = [_text(values.get(name)) for name in ("lang", "program_lang", "programming_language")]
    if "conversation" not in values:
        named.append(_text(values.get("language")))
    for name in (*named, *_FENCED.findall(answers)):
        known = _ALIASES.get(name.lower(), name.lower())
        if known in _known_languages():
            return known
    return ""


@functools.cache
def _known_languages() -> frozenset[str]:
    return frozenset(name.lower() for name in languages())


def _source_id(values: Mapping[str, Any]) -> str:
    found = (values.get(name) for name in _ID_FIELDS)
    return next((str(value) for value in found if isinstance(value, str | int)), "")


def details_json(details: Mapping[str, Any]) -> str:
    """JSON that any reader takes, whatever a row says of itself."""
    try:
        text = json.dumps(details, ensure_ascii=False, sort_keys=True, allow_nan=False, default=str)
    except ValueError:
        shown = {
            name: value if isinstance(value, str) else repr(value)
            for name, value in details.items()
        }
        text = json.dumps(shown, ensure_ascii=False, sort_keys=True)
    return text if _is_unicode(text) else json.dumps(json.loads(text), sort_keys=True)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _words(messages: Sequence[tuple[str, str]]) -> str:
    return "\0".join(f"{role}:{' '.join(text.lower().split())}" for role, text in messages)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
