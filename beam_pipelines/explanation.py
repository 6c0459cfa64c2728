"""What the cleaning job decides about one file, stage by stage, as plain data.

The stages are the job's own functions, called on one file, so an explanation cannot
differ from what the job does; only deduplication, which needs the other files, is left
out. Next: `explain` is the command that prints this.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping

from beam_pipelines.languages.file_types import identified_by, identify
from beam_pipelines.signals.compute import SignalResult
from beam_pipelines.signals.rules import Rule, RuleTable, decide, select_table
from beam_pipelines.sources.local import list_file, read_file
from beam_pipelines.transforms.licence_header import remove_licence_header
from beam_pipelines.transforms.quality import document_signals
from beam_pipelines.transforms.read import NotTextError, read_document
from beam_pipelines.transforms.repair import LICENCE_HEADER, repair
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document
from opencoder_jax.formats.split import hash_fraction

VIOLATED, SPARED, OK, NO_RULE, UNDEFINED, ERROR = (
    "violated",
    "spared",
    "ok",
    "no rule",
    "undefined",
    "error",
)
_PROVENANCE = "file"


@dataclasses.dataclass(frozen=True, slots=True)
class SignalVerdict:
    """One signal against the rule of its table.

    Attributes:
      signal: its name.
      value: None where it is undefined or failed.
      rule: as the table states it; empty where there is none.
      verdict: `violated`, `spared` (in the share that a rule lets pass), `ok`, `no rule`,
        `undefined` or `error`.
      note: what a hash decided, or an error's message.
    """

    signal: str
    value: float | None
    rule: str
    verdict: str
    note: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """Every decision about one file.

    Attributes:
      path: as it was given.
      id: of the document; shares of rules depend on it.
      language: lower-case Linguist name.
      doc_type: `code`, `data`, `text`, `excluded` or `unknown`.
      identified_by: what told the language, e.g. `extension .py`.
      size_bytes: of the text that was read; 0 where it could not be.
      licence_header_lines: lines that repair removed.
      replaced: kind of personal data to how many were replaced.
      human_language: ISO 639 code; empty where no signal was computed.
      table: of rules; empty where there is none for it.
      signals: in the order of registration.
      kept: the verdict: whether it stays, if no other file is its duplicate.
      reason: of a drop, as in `dropped/`; else empty.
      detail: what the reason was decided by.
    """

    path: str
    id: str
    language: str
    doc_type: str
    identified_by: str
    size_bytes: int = 0
    licence_header_lines: int = 0
    replaced: Mapping[str, int] = dataclasses.field(default_factory=dict)
    human_language: str = ""
    table: str = ""
    signals: tuple[SignalVerdict, ...] = ()
    kept: bool = False
    reason: str = ""
    detail: str = ""


def explain_file(
    path: str, tables: Mapping[str, RuleTable], max_file_bytes: int, document_id: str = ""
) -> Explanation:
    """Takes one file through reading, repair, signals and rules.

    Args:
      path: of a regular file.
      tables: of rules.
      max_file_bytes: larger files are dropped unread.
      document_id: that the file has in a corpus; empty makes one of the path.

    Raises:
      InputError: there is no such file, or it is no regular file.
    """
    _require_file(path)
    entry = list_file(_PROVENANCE, ".", path, os.path.abspath(path), follow_links=True)
    entry = dataclasses.replace(entry, id=document_id or entry.id)
    by_name = identify(entry.path)
    begun = Explanation(
        path=entry.path,
        id=entry.id,
        language=by_name.language,
        doc_type=by_name.doc_type,
        identified_by=identified_by(entry.path),
    )
    try:
        document = read_document(read_file(entry, max_file_bytes), max_file_bytes)
    except NotTextError as problem:
        return dataclasses.replace(begun, reason=problem.reason, detail=problem.detail)
    first_line = document.text.partition("\n")[0]
    begun = dataclasses.replace(
        begun,
        language=document.language,
        doc_type=document.doc_type,
        identified_by=identified_by(entry.path, first_line),
        size_bytes=len(document.text.encode("utf-8")),
    )
    return _judged(begun, document, tables)


def _require_file(path: str) -> None:
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder, expected files; name the files in it, e.g. {path}/*")
    if not os.path.exists(path):
        raise InputError(f"{path}: no such file")
    if not os.path.isfile(path):
        raise InputError(f"{path} is no regular file")


def _judged(begun: Explanation, document: Document, tables: Mapping[str, RuleTable]) -> Explanation:
    repaired, counts = repair(document)
    lines = _header_lines(document) if counts.pop(LICENCE_HEADER, 0) else 0
    result = document_signals(repaired)
    table = select_table(repaired.doc_type, repaired.language, result.human_language, tables)
    begun = dataclasses.replace(
        begun,
        licence_header_lines=lines,
        replaced=counts,
        human_language=result.human_language,
        table=table.name,
        signals=tuple(_verdicts(result, table, document.id)),
    )
    if result.errors:
        signal, message = min(result.errors.items())
        return dataclasses.replace(begun, reason="signal_error", detail=f"{signal}: {message}")
    violations = decide(result.values, table, document.id)
    if not violations:
        return dataclasses.replace(begun, kept=True)
    described = (f"{v.signal} is {v.value:.6g}, dropped at {v.threshold}" for v in violations)
    return dataclasses.replace(begun, reason="rule", detail="; ".join(described))


def _header_lines(document: Document) -> int:
    without = remove_licence_header(document.text, document.language)
    return len(document.text.splitlines()) - len(without.splitlines())


def _verdicts(result: SignalResult, table: RuleTable, document_id: str) -> Iterator[SignalVerdict]:
    rules = {rule.signal: rule for rule in table.rules}
    for signal, value in result.values.items():
        rule = rules.get(signal)
        text = str(rule) if rule else ""
        if signal in result.errors:
            yield SignalVerdict(signal, None, text, ERROR, result.errors[signal])
        elif value is None:
            yield SignalVerdict(signal, None, text, UNDEFINED)
        elif rule is None:
            yield SignalVerdict(signal, value, "", NO_RULE)
        else:
            verdict, note = _compared(rule, value, document_id)
            yield SignalVerdict(signal, value, text, verdict, note)


def _compared(rule: Rule, value: float, document_id: str) -> tuple[str, str]:
    if rule.violated_by(value) is None:
        return OK, ""
    if rule.drop_fraction >= 1:
        return VIOLATED, ""
    drawn = hash_fraction("rule", rule.signal, document_id)
    verdict = VIOLATED if rule.applies_to(document_id) else SPARED
    sign = "<" if verdict == VIOLATED else ">="
    note = f"the id's hash {drawn:.3f} {sign} {rule.drop_fraction:g}"
    return verdict, note
