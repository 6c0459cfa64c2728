"""The page on which a person looks at candidate domains, and the table that comes out of it.

One HTML file without a network: each domain with its counts, the beginnings of its urls, and
a few pages that were recalled and a few that were not. Buttons collect rows of a pattern
table, to be copied or saved. What strangers' pages say is put in as text by `review.js`.
`suggested_table` is the same table as the job would fill it in.
Next: `domains` makes the candidates, `patterns` reads the table.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beam_pipelines.recall.domains import DomainSettings, pattern_of, suggestions
from opencoder_jax import report
from opencoder_jax.report.environment import template
from opencoder_jax.report.formatting import json_for_script

_FOLDER = Path(__file__).parent
_REPORT = Path(report.__file__).parent
_HEADER = "pattern\tlabel\tnote\n"


def render_review(
    statistics: Mapping[str, Any],
    candidates: Sequence[Mapping[str, Any]],
    settings: DomainSettings,
    labels: Sequence[str],
    table_name: str,
) -> str:
    """The page as HTML.

    Args:
      statistics: of the round.
      candidates: as `domains.Candidates` has them.
      settings: that chose them.
      labels: that a pattern may have.
      table_name: of the file that the next round reads.
    """
    rows = [
        {
            **candidate,
            "beginnings": [
                {**beginning, "pattern": pattern_of(beginning["text"])}
                for beginning in candidate["beginnings"]
            ],
            "suggestions": list(suggestions(candidate, settings)),
        }
        for candidate in candidates
    ]
    return template("review.html.j2", _FOLDER).render(
        statistics=statistics,
        count=len(rows),
        share=settings.share,
        table_name=table_name,
        data=json_for_script(
            {"labels": list(labels), "candidates": rows, "table_name": table_name}
        ),
        style="".join((_REPORT / name).read_text() for name in ("style.css", "comparison.css"))
        + (_FOLDER / "review.css").read_text(),
        script=(_FOLDER / "review.js").read_text(),
    )


def suggested_table(candidates: Sequence[Mapping[str, Any]], settings: DomainSettings) -> str:
    """A pattern table with what the counts alone suggest, the largest domains first."""
    rows = [
        f"{found['pattern']}\t{found['label']}\t"
        f"{found['recalled']} of {found['pages']} pages recalled\n"
        for candidate in candidates
        for found in suggestions(candidate, settings)
    ]
    return _HEADER + "".join(rows)
