"""Writes the folder of a cleaning job with histograms, of any size, its text hostile."""

from pathlib import Path

from opencoder_jax.formats.document import Document, encode_document
from opencoder_jax.formats.manifest import write_json, write_manifest
from opencoder_jax.formats.shards import shard_name, write_shard
from tests.opencoder_jax.report.run_folder import HOSTILE, STAGES, rule_counts

EDGES = {
    "truth": [0.5],
    "share": [i / 50 for i in range(1, 51)],
    "amount": [10 ** (i / 10) for i in range(-10, 81)],
}
KINDS = {"cate": "truth", "frac": "share", "num": "amount"}
RULES = {
    "truth": ("is true", [["==", 1.0]]),
    "share": ("> 0.31 for 80%", [[">", 0.31]]),
    "amount": ("< 30 or > 1000", [["<", 30.0], [">", 1000.0]]),
}


def write_cleaned(
    folder: Path, languages: int = 8, tables: int = 3, signals: int = 9, samples: int = 2
) -> Path:
    """As `beam_pipelines.refinecode` leaves it: statistics, manifest, documents."""
    folder.mkdir(parents=True)
    names = [HOSTILE, *(f"language {n}" for n in range(1, languages))]
    by_language = {
        name: {
            stage: {"documents": 900 // (level + 1), "bytes": 90_000 // (level + 1)}
            for level, stage in enumerate(STAGES)
        }
        for name in names
    }
    totals = {
        stage: {
            unit: sum(amounts[stage][unit] for amounts in by_language.values())
            for unit in ("documents", "bytes")
        }
        for stage in STAGES
    }
    kinds = list(KINDS)
    named = {f"qsc_code_{kinds[n % 3]}_{n}": KINDS[kinds[n % 3]] for n in range(signals)}
    drop = {
        "repo": "r",
        "path": f"{HOSTILE}.py",
        "language": "python",
        "reason": "rule",
        "signal": "qsc_code_frac_1",
        "value": 0.5,
        "threshold": "> 0.31",
        "detail": HOSTILE,
        "sample": f"{HOSTILE}\n" * 4,
    }
    write_json(
        folder / "statistics.json",
        {
            "stages": list(STAGES),
            "totals": totals,
            "languages": by_language,
            "dropped": {"rule": totals["listed"]["documents"] - totals["kept"]["documents"]},
            "rules": {signal: rule_counts(n + 5, n, n) for n, signal in enumerate(named)},
            "samples": {f"sole: {signal}": [drop] * samples for signal in named},
            "clusters": [
                {
                    "id": "a",
                    "kept": "a",
                    "size": 3,
                    "dropped": 2,
                    "members": [
                        {"id": i, "repo": "r", "path": HOSTILE, "kept_id": kept, "jaccard": 0.99}
                        for i, kept in (("a", "a"), ("b", "a"), ("c", "not shown"))
                    ],
                }
            ],
            "replaced": {"<email>": {"documents": 3, "replacements": 7}},
            "edges": EDGES,
            "tables": {
                f"table {n}": {
                    "documents": 1000 - n,
                    "kept": 600,
                    "bytes": 10**6,
                    "kept_bytes": 10**5,
                    "rules": {
                        signal: {
                            "text": RULES[kind][0],
                            "comparisons": RULES[kind][1],
                            "share": 1.0,
                            **rule_counts(9, 5, place),
                        }
                        for place, (signal, kind) in enumerate(named.items())
                        if place % 4 != 3
                    },
                    "signals": {
                        signal: {
                            "kind": kind,
                            "undefined": [1, 2],
                            "bins": [[b, 100 - b, b] for b in range(len(EDGES[kind]) + 1)],
                        }
                        for signal, kind in named.items()
                    },
                }
                for n in range(tables)
            },
        },
    )
    (folder / "config.gin").write_text(f"# {HOSTILE}\n")
    documents = [
        Document(
            id=f"{n:032x}",
            text=f"print({n})\n{HOSTILE}\n" * (n + 1),
            repo="r",
            path=f"{n}.py",
            language="python" if n % 2 else "c",
        )
        for n in range(12)
    ]
    write_shard(folder / shard_name("documents", 0, 1), map(encode_document, documents))
    write_manifest(folder, job="refinecode", config={}, inputs={"source": "0"}, counts={})
    return folder
