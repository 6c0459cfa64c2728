"""Writes folders of made sets as their jobs leave them, of any size, their text hostile."""

import collections
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opencoder_jax.formats.conversation import Conversation, encode_conversation
from opencoder_jax.formats.document import Document, encode_document
from opencoder_jax.formats.drop import Drop, encode_drop
from opencoder_jax.formats.manifest import write_json, write_manifest
from opencoder_jax.formats.shards import shard_name, write_shard
from tests.opencoder_jax.report.run_folder import HOSTILE

THINGS = ("list", "graph", "queue", "matrix", "string", "heap", "date", "socket", "file", "tree")
VERBS = ("sorts", "merges", "parses", "rotates", "counts", "reverses", "prints", "reads")
DIFFICULTIES = ("easy", "medium", "hard")


def conversation(number: int, question: str = "", **changes: Any) -> Conversation:
    thing, verb = THINGS[number % len(THINGS)], VERBS[number % len(VERBS)]
    details = {
        "calls": [{"template": "educational/task", "teacher": f"teacher {HOSTILE}"}],
        "executed": number % 4 != 0,
        "difficulty": DIFFICULTIES[number % 3],
        "code": f"def {verb}(): return {number}  # " + "long " * 20,
        **changes.pop("details", {}),
    }
    fields: dict[str, Any] = {
        "messages": (
            ("user", question or f"Write a function that {verb} a {thing} of {number} values."),
            ("assistant", f"{HOSTILE}\n```python\nreturn {number}\n```"),
        ),
        "language": "python" if number % 3 else "c++",
        "repo": f"repo{number % 7}",
        "provenance": f"educational/task-{number % 2}",
        **changes,
    }
    return Conversation(id=f"{number:032x}", details=json.dumps(details), **fields)


def drop(number: int, reason: str) -> Drop:
    return Drop(
        id=f"d{number:031x}",
        repo="r",
        path=f"{HOSTILE}.py",
        language="python",
        reason=reason,
        value=0.75 if reason == "near" else None,
        threshold=">= 0.7" if reason == "near" else "",
        detail=f"why {HOSTILE}",
        sample=f"rejected {number} {HOSTILE}",
    )


def write_made_set(
    folder: Path,
    records: Sequence[Conversation] | Sequence[Document],
    drops: Sequence[Drop] = (),
    usage: Any = None,
    **changed_counts: Any,
) -> Path:
    """A finished set of two shards; `changed_counts` replace what its manifest says."""
    documents = bool(records) and isinstance(records[0], Document)
    kind = "documents" if documents else "conversations"
    encoded = [encode_document(r) if documents else encode_conversation(r) for r in records]  # type: ignore[arg-type]
    (folder / "dropped").mkdir(parents=True)
    for index in range(2):
        write_shard(folder / shard_name(kind, index, 2), encoded[index::2])
        part = map(encode_drop, drops[index::2])
        write_shard(folder / "dropped" / shard_name("dropped", index, 2), part)
    counts = {
        "accounting": {
            "input": len(records) + len(drops),
            "output": len(records),
            "dropped": dict(collections.Counter(d.reason for d in drops)),
        },
        "funnel": [
            ["candidates", len(records) + len(drops)],
            ["written", len(records) + len(drops) // 2],
            ["proved", len(records)],
        ],
        "kept": dict(collections.Counter(r.provenance for r in records)),
        **changed_counts,
    }
    write_manifest(folder, job="synthesize", config={}, inputs={"corpus": "0"}, counts=counts)
    if usage is not None:
        write_json(folder / "teacher.json", usage)
    return folder


def usage() -> list[dict[str, Any]]:
    counts = dict.fromkeys(
        (
            "prompt_tokens",
            "cached_prompt_tokens",
            "completion_tokens",
            "cached_completion_tokens",
            "without_reply",
            "failed_attempts",
        ),
        7,
    )
    total = {"asked": 30, "cached": 12, "usd": 1.25, **counts}
    return [{"teacher": f"model {HOSTILE}", "stages": {"written": total}, "total": total}]


def write_sets(root: Path, size: int = 60) -> Path:
    """`first` (conversations with a teacher), `second` (documents) and `empty`."""
    drops = [drop(n, ("no_tests", "near", "refused")[n % 3]) for n in range(20)]
    write_made_set(root / "first", [conversation(n) for n in range(size)], drops, usage())
    documents = [
        Document(
            id=f"e{n:031x}",
            text=f"{HOSTILE}\nThis text explains {THINGS[n % 10]} number {n}.\n" * (n + 1),
            repo=f"repo{n}",
            path=f"{n}.md",
            language="markdown",
            provenance="textbooks/concepts",
        )
        for n in range(size // 2)
    ]
    write_made_set(root / "second", documents)
    write_made_set(root / "empty", [], drops[:4])
    return root
