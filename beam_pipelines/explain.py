"""Explains what the cleaning job makes of single files: every signal, threshold and verdict.

    python -m beam_pipelines.explain FILE... [--json] [--gin_file=MY_RULES.gin]

Takes any file, seen before or not. Which file is a duplicate only the job can tell.
Exit status 0 if every file was explained, kept or not. Next: `explanation`, docs/rules.md.
"""

import dataclasses
import json as json_format
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from beam_pipelines.explanation import (
    ERROR,
    NO_RULE,
    SPARED,
    UNDEFINED,
    VIOLATED,
    Explanation,
    SignalVerdict,
    explain_file,
)
from beam_pipelines.signals.rules import RuleTable
from opencoder_jax import configuration
from opencoder_jax.errors import InputError

_COLUMNS = ("signal", "value", "dropped if", "verdict")
_STYLES = {
    VIOLATED: "bold red",
    ERROR: "bold red",
    SPARED: "yellow",
    NO_RULE: "dim",
    UNDEFINED: "dim",
}
# Violations first: they are what a reader came for.
_ORDER = (ERROR, VIOLATED, SPARED)


def explain(
    rule_tables: Mapping[str, RuleTable],
    max_file_bytes: int,
    files: Sequence[str] = (),
    document_id: str = "",
    json: bool = False,
) -> None:
    """Prints, for each file, what every stage of the cleaning job decides about it.

    Args:
      rule_tables: table name to thresholds.
      max_file_bytes: larger files are dropped unread.
      files: paths of files, whatever is in them.
      document_id: that the one file has in a corpus: rules that drop a share decide by it.
      json: one JSON object a file and line, for programs.
    """
    if not files:
        raise InputError("no file given; write python -m beam_pipelines.explain FILE...")
    if document_id and len(files) > 1:
        raise InputError(f"one document_id and {len(files)} files; explain one file at a time")
    # All of them before the first line: a wrong name must not end half an output.
    explained = [explain_file(f, rule_tables, max_file_bytes, document_id) for f in files]
    for number, explanation in enumerate(explained):
        if json:
            print(json_format.dumps(dataclasses.asdict(explanation), ensure_ascii=True))
            continue
        if number:
            print()
        _show(explanation)


def _show(explanation: Explanation) -> None:
    console = Console(highlight=False)
    for title, text in _stages(explanation):
        console.print(f"[bold]{title:<9}[/bold] {escape(_printable(text))}", soft_wrap=True)
    if explanation.signals:
        rows = sorted(explanation.signals, key=_row_order)
        if console.is_terminal:
            console.print(_rich_table(rows))
        else:
            _print_plain(rows)
    style = "green" if explanation.kept else "red"
    console.print(
        f"[bold]verdict   [{style}]{escape(_verdict(explanation))}[/{style}][/bold]", soft_wrap=True
    )


def _stages(explanation: Explanation) -> list[tuple[str, str]]:
    told_by = explanation.identified_by or "neither name, extension nor #! line tells a language"
    stages = [
        ("file", explanation.path),
        ("id", explanation.id),
        ("type", f"{explanation.language}, {explanation.doc_type} ({told_by})"),
    ]
    if not explanation.size_bytes:
        return [*stages, ("read", f"no: {explanation.reason}, {explanation.detail or '-'}")]
    header = explanation.licence_header_lines
    replaced = ", ".join(f"{count} {kind}" for kind, count in sorted(explanation.replaced.items()))
    return [
        *stages,
        ("read", f"{explanation.size_bytes:,} bytes of UTF-8 text"),
        ("repair", f"licence header: {f'{header} lines removed' if header else 'none'}"),
        ("", f"personal data replaced: {replaced or 'none'}"),
        ("rules", f"table {explanation.table} (human language: {explanation.human_language})"),
    ]


def _verdict(explanation: Explanation) -> str:
    if explanation.kept:
        return "kept, unless another file is its duplicate"
    detail = f": {_printable(explanation.detail)}" if explanation.detail else ""
    return f"dropped as {explanation.reason}{detail}"


def _row_order(row: SignalVerdict) -> int:
    return _ORDER.index(row.verdict) if row.verdict in _ORDER else len(_ORDER)


def _rich_table(rows: Sequence[SignalVerdict]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in _COLUMNS:
        table.add_column(column, justify="right" if column == "value" else "left")
    for row in rows:
        table.add_row(*(escape(cell) for cell in _cells(row)), style=_STYLES.get(row.verdict))
    return table


def _print_plain(rows: Sequence[SignalVerdict]) -> None:
    """Aligned columns without colours and without wrapping, for pipes and files."""
    lines = [_COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    for signal, value, rule, verdict in lines:
        print(f"{signal:<{widths[0]}}  {value:>{widths[1]}}  {rule:<{widths[2]}}  {verdict}")


def _cells(row: SignalVerdict) -> tuple[str, str, str, str]:
    value = "-" if row.value is None else f"{row.value:.6g}"
    note = f" ({_printable(row.note)})" if row.note else ""
    return row.signal, value, row.rule or "-", row.verdict + note


def _printable(text: str) -> str:
    """Line ends and control characters as escapes: names of files may hold them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


if __name__ == "__main__":
    sys.exit(
        configuration.main(
            explain,
            base_gin_files=["refinecode/explain.gin"],
            flags={"json": "explain.json", "document_id": "explain.document_id"},
            words="files",
        )
    )
