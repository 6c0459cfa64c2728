"""The cleaned corpus as the report shows it: funnel, drops, rules, clusters.

Everything comes from the `statistics.json` that the cleaning job leaves beside its
shards (`beam_pipelines/transforms/statistics.py` has its layout), so the page never reads
a corpus. Names that only the job knows get their titles here.
Next: `sections/corpus.html.j2` lays it out, `charts` draws the funnel.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opencoder_jax.errors import InputError
from opencoder_jax.formats.manifest import MANIFEST_NAME
from opencoder_jax.report.formatting import most_first


@dataclasses.dataclass(frozen=True, slots=True)
class Amount:
    """Documents and their UTF-8 bytes."""

    documents: int
    bytes: int

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.documents + other.documents, self.bytes + other.bytes)


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """What was left after one stage."""

    title: str
    short: str
    total: Amount


@dataclasses.dataclass(frozen=True, slots=True)
class LanguageRow:
    """One language: the amount after each stage."""

    language: str
    amounts: tuple[Amount, ...]

    @property
    def kept_share(self) -> float:
        """Bytes that stay of those that could be read."""
        return _share(self.amounts)


@dataclasses.dataclass(frozen=True, slots=True)
class DroppedSample:
    """A document that was dropped, as evidence."""

    source: str
    why: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Reason:
    """All drops of one reason."""

    title: str
    count: int
    samples: tuple[DroppedSample, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class RuleHits:
    """Documents that violate a rule, and those that violate no other.

    Attributes:
      name: of the signal.
      hits: documents that violate it.
      first: documents that it is the recorded reason of.
      sole: documents that violate no other rule: what it alone drops.
      hit_bytes, sole_bytes: of their texts.
      samples: of those that it is the recorded reason of.
      sole_samples: of those that it alone drops.
    """

    name: str
    hits: int
    first: int
    sole: int
    hit_bytes: int
    sole_bytes: int
    samples: tuple[DroppedSample, ...]
    sole_samples: tuple[DroppedSample, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A document of a cluster; `jaccard` is its similarity to `kept_id`, which stays for it."""

    source: str
    stays: bool
    jaccard: float
    id: str
    kept_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Cluster:
    """Near duplicates of one another; `members` are the first few."""

    kept: str
    size: int
    dropped: int
    members: tuple[Member, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Replacement:
    """One kind of text that was taken out of documents."""

    title: str
    documents: int
    replacements: int


@dataclasses.dataclass(frozen=True, slots=True)
class Corpus:
    """What cleaning did.

    Attributes:
      stages: from the files that came in to the documents that went out.
      languages: by bytes that came in, largest first.
      reasons: most frequent first.
      rules: most hits first.
      clusters: largest first.
      replacements: most frequent first.
    """

    stages: tuple[Stage, ...]
    languages: tuple[LanguageRow, ...]
    reasons: tuple[Reason, ...]
    rules: tuple[RuleHits, ...]
    clusters: tuple[Cluster, ...]
    replacements: tuple[Replacement, ...]

    @property
    def first(self) -> Amount:
        return self.stages[0].total

    @property
    def last(self) -> Amount:
        return self.stages[-1].total

    @property
    def kept_share(self) -> float:
        """Bytes that stay of those that could be read."""
        return _share([stage.total for stage in self.stages])

    @property
    def dropped(self) -> int:
        return sum(reason.count for reason in self.reasons)

    def rest(self, shown: int) -> tuple[Amount, ...]:
        """The sum of the languages after the first `shown`, a stage each."""
        rows = self.languages[shown:]
        return tuple(
            sum((row.amounts[i] for row in rows), Amount(0, 0)) for i in range(len(self.stages))
        )


def _share(amounts: Sequence[Amount]) -> float:
    # What was found holds binary files too, and they are most of its bytes.
    read = amounts[1].bytes
    return amounts[-1].bytes / read if read else 0.0


_STAGE_TITLES = {
    "listed": ("Files found", "Found"),
    "read": ("Text in a known language", "Read"),
    "starred": ("Repositories with enough stars", "Starred"),
    "licensed": ("Allowed licences", "Licensed"),
    "exact_dedup": ("Exact deduplication", "Exact"),
    "near_dedup": ("Near deduplication", "Near"),
    "repository_dedup": ("Repository deduplication", "Repository"),
    "chunk_dedup": ("Chunk deduplication", "Chunk"),
    "repaired": ("Headers and secrets out", "Repaired"),
    "kept": ("Quality rules", "Kept"),
    "good": ("Good by a distilled scorer", "Good"),
    "decontaminated": ("Free of benchmarks", "Clean"),
    "sampled": ("Sampled by language", "Sampled"),
}
_REPLACEMENT_TITLES = {
    "licence_header": "Licence headers removed",
    "<name>": "Names to <name>",
    "<email>": "E-mail addresses to <email>",
    "<ip>": "IP addresses to <ip>",
    "<key>": "Keys and tokens to <key>",
    "<password>": "Passwords to <password>",
    "duplicate_chunks": "Chunks removed that another document keeps",
    "duplicate_chunk_bytes": "Bytes of these chunks",
}
_RULE = "rule"
_SOLE = "sole"


def read_corpus(folder: Path) -> Corpus | None:
    """The corpus of a finished folder.

    Raises:
      InputError: `statistics.json` is missing or damaged.
    """
    if not (folder / MANIFEST_NAME).exists():
        return None
    path = folder / "statistics.json"
    try:
        return _corpus(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is missing or damaged ({error!r}); remove {folder} and clean again"
        ) from error


def _corpus(statistics: Mapping[str, Any]) -> Corpus:
    names = statistics["stages"]
    nothing = {"documents": 0, "bytes": 0}
    rows = [
        LanguageRow(language, tuple(Amount(**by_stage.get(name, nothing)) for name in names))
        for language, by_stage in statistics["languages"].items()
    ]
    # What stays counts most; `unknown`, which is mostly binary files, stands last.
    rows.sort(key=lambda row: (-row.amounts[-1].bytes, -row.amounts[0].bytes, row.language))
    return Corpus(
        stages=tuple(_stage(name, statistics["totals"][name]) for name in names),
        languages=tuple(rows),
        reasons=_reasons(statistics),
        rules=_rules(statistics),
        clusters=tuple(_cluster(cluster) for cluster in statistics["clusters"]),
        replacements=_replacements(statistics["replaced"]),
    )


def _stage(name: str, total: Mapping[str, int]) -> Stage:
    plain = name.replace("_", " ").capitalize()
    title, short = _STAGE_TITLES.get(name, (plain, plain))
    return Stage(title, short, Amount(**total))


def _reasons(statistics: Mapping[str, Any]) -> tuple[Reason, ...]:
    return tuple(
        Reason(
            title="quality rule" if name == _RULE else name.replace("_", " "),
            count=count,
            samples=_samples(statistics, name),
        )
        for name, count in most_first(statistics["dropped"])
    )


def _rules(statistics: Mapping[str, Any]) -> tuple[RuleHits, ...]:
    rules = [
        RuleHits(
            name=name,
            hits=counts["hits"],
            first=counts["first"],
            sole=counts["sole"],
            hit_bytes=counts["hit_bytes"],
            sole_bytes=counts["sole_bytes"],
            samples=_samples(statistics, f"{_RULE}: {name}"),
            sole_samples=_samples(statistics, f"{_SOLE}: {name}"),
        )
        for name, counts in statistics["rules"].items()
    ]
    return tuple(sorted(rules, key=lambda rule: (-rule.hits, rule.name)))


def _samples(statistics: Mapping[str, Any], name: str) -> tuple[DroppedSample, ...]:
    drops: Sequence[Mapping[str, Any]] = statistics["samples"].get(name, ())
    return tuple(
        DroppedSample(source=f"{d['repo']} / {d['path']}", why=_why(d), text=d["sample"])
        for d in drops
    )


def _why(drop: Mapping[str, Any]) -> str:
    if drop["reason"] == _RULE:
        return f"{drop['signal']} is {drop['value']:.4g}, dropped at {drop['threshold']}"
    return drop["detail"]


def _cluster(cluster: Mapping[str, Any]) -> Cluster:
    members = tuple(
        Member(
            source=f"{member['repo']} / {member['path']}",
            stays=member["kept_id"] == member["id"],
            jaccard=member["jaccard"],
            id=member["id"],
            kept_id=member["kept_id"],
        )
        for member in cluster["members"]
    )
    best = next(
        (
            m
            for m, raw in zip(members, cluster["members"], strict=True)
            if raw["id"] == cluster["kept"]
        ),
        None,
    )
    return Cluster(
        kept=best.source if best else cluster["kept"],
        size=cluster["size"],
        dropped=cluster["dropped"],
        members=members,
    )


def _replacements(replaced: Mapping[str, Mapping[str, int]]) -> tuple[Replacement, ...]:
    rows = [
        Replacement(_REPLACEMENT_TITLES.get(name, name), c["documents"], c["replacements"])
        for name, c in replaced.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.replacements, row.title)))
