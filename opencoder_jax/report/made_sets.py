"""What a made set holds, counted from its records, and whether its manifest says the same.

Every finished folder with `conversations-*` or `documents-*` and `dropped/` can be read:
those of `annealing_data`, `sft_data`, `synthesize`, `import_instructions`. One pass over the
records keeps counters, hashes, and a hash sample of whole records; sets of millions fit.
Next: `diversity` looks at the samples, `made_sets_page` lays all of it out.
"""

import collections
import dataclasses
import functools
import hashlib
import heapq
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from opencoder_jax.errors import InputError
from opencoder_jax.formats.conversation import Conversation, decode_conversation
from opencoder_jax.formats.document import Document, decode_document
from opencoder_jax.formats.drop import Drop, decode_drop
from opencoder_jax.formats.example import RecordError
from opencoder_jax.formats.manifest import read_manifest
from opencoder_jax.formats.shards import list_shards, read_shard
from opencoder_jax.formats.split import hash_fraction
from opencoder_jax.report.formatting import most_first
from opencoder_jax.report.writing_systems import writing_system

USAGE_NAME = "teacher.json"
# Bins of a length: ten a decade.
_BINS_A_DECADE = 10
# A detail with more values than that, or longer ones, is no kind of record.
_MOST_VALUES = 40
_LONGEST_VALUE = 60
# Keys of details that are shown elsewhere.
_NOT_A_FACET = ("calls", "executed", "human_language")


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """A record of a set, whichever kind it is.

    Attributes:
      id, language, repo, provenance: as its record has them.
      turns: (role or `text`, text).
      details: how it was made; empty where nothing is known.
    """

    id: str
    language: str
    repo: str
    provenance: str
    turns: tuple[tuple[str, str], ...]
    details: Mapping[str, Any]

    @property
    def asked(self) -> str:
        """The first question; of a document its text."""
        return next((text for role, text in self.turns if role in ("user", "text")), "")

    @property
    def answered(self) -> str:
        """All answers; of a document nothing."""
        return "\n".join(text for role, text in self.turns if role == "assistant")

    @property
    def messages(self) -> tuple[tuple[str, str], ...]:
        """The turns of a conversation, for a chat template; empty for a document."""
        return () if self.turns and self.turns[0][0] == "text" else self.turns


@dataclasses.dataclass(frozen=True, slots=True)
class Rejected:
    """Why candidates went, with some of them: the ones with the smallest hashes."""

    reason: str
    count: int
    samples: tuple[Drop, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """A number of the manifest beside the same counted from the records."""

    what: str
    manifest: int
    counted: int

    @property
    def agrees(self) -> bool:
        return self.manifest == self.counted


@dataclasses.dataclass(frozen=True, slots=True)
class MadeSet:
    """A finished set.

    Attributes:
      title: tells it from the other sets of the page.
      folder: as it was given.
      kind: `conversations` or `documents`.
      job, fingerprint, code_version: of its manifest.
      funnel: (stage, candidates left), as the manifest has it; empty where it has none.
      passed_over: (why, how many) of what was read and is no candidate.
      checks: of the manifest against the records.
      candidates, records: counted.
      rejected: most first.
      lengths: title to (bin, records); characters, and tokens of the sample.
      medians: title to the middle length.
      turns: (number of question and answer turns, records).
      system: records with a system prompt.
      languages, human_languages, provenance, templates, teachers: (name, records), most first.
      facets: key of the details to (value, records), for keys with few values.
      executed: records whose code ran and passed; `not_executed`, `execution_unknown`: others.
      repositories: different ones.
      largest_repository: share of the records that the largest one has.
      same_id, same_question, same_record: records that have what an earlier one has.
      question_hashes: of normalised questions, to compare sets.
      sample: the records with the smallest hashes.
      usage: what teachers were asked, as `teacher.json` has it.
    """

    title: str
    folder: str
    kind: str
    job: str
    fingerprint: str
    code_version: str
    funnel: tuple[tuple[str, int], ...]
    passed_over: tuple[tuple[str, int], ...]
    checks: tuple[Check, ...]
    candidates: int
    records: int
    rejected: tuple[Rejected, ...]
    lengths: Mapping[str, tuple[tuple[int, int], ...]]
    medians: Mapping[str, float]
    turns: tuple[tuple[int, int], ...]
    system: int
    languages: tuple[tuple[str, int], ...]
    human_languages: tuple[tuple[str, int], ...]
    provenance: tuple[tuple[str, int], ...]
    templates: tuple[tuple[str, int], ...]
    teachers: tuple[tuple[str, int], ...]
    facets: Mapping[str, tuple[tuple[str, int], ...]]
    executed: int
    not_executed: int
    execution_unknown: int
    repositories: int
    largest_repository: float
    same_id: int
    same_question: int
    same_record: int
    question_hashes: frozenset[bytes]
    sample: tuple[Record, ...]
    usage: tuple[Mapping[str, Any], ...]


def read_made_set(
    folder: Path,
    title: str,
    *,
    sample: int,
    rejected: int,
    count_tokens: Callable[[Record], int] | None = None,
) -> MadeSet:
    """Reads a whole set.

    Args:
      folder: of the set.
      title: as in `MadeSet`.
      sample: records kept as a hash sample.
      rejected: samples kept of each reason.
      count_tokens: of a record; None: tokens are not told.

    Raises:
      InputError: it is missing, unfinished, or no set of records and drops.
      RecordError: a record is damaged.
    """
    manifest = read_manifest(folder)
    counts = manifest["counts"]
    kind = next((k for k in ("conversations", "documents") if any(folder.glob(f"{k}-*"))), None)
    if kind is None or "accounting" not in counts:
        raise InputError(
            f"{folder} is no made set: expected conversations-* or documents-* and a manifest "
            f"with an account (job {manifest['job']})"
        )
    records, drops = _Records(sample), _Drops(rejected)
    for record in _decoded(folder, kind, functools.partial(_record, kind=kind)):
        records.add(record)
    if any((folder / "dropped").glob("dropped-*")):
        for drop in _decoded(folder / "dropped", "dropped", decode_drop):
            drops.add(drop)
    lengths = {name: tuple(sorted(bins.items())) for name, bins in records.lengths.items()}
    medians = {name: _median(bins) for name, bins in lengths.items()}
    kept = tuple(record for _, _, record in sorted(records.sample, key=lambda s: (-s[0], s[1])))
    if count_tokens is not None:
        tokens = sorted(count_tokens(record) for record in kept)
        lengths["tokens"] = tuple(sorted(collections.Counter(map(length_bin, tokens)).items()))
        medians["tokens"] = tokens[len(tokens) // 2] if tokens else 0.0
    return MadeSet(
        title=title,
        folder=str(folder),
        kind=kind,
        job=manifest["job"],
        fingerprint=manifest["fingerprint"],
        code_version=str(manifest.get("code_version", "")),
        funnel=tuple((str(stage), int(left)) for stage, left in counts.get("funnel", ())),
        passed_over=most_first(counts.get("passed_over") or {}),
        checks=tuple(_checks(counts, records, drops)),
        candidates=records.number + drops.reasons.total(),
        records=records.number,
        rejected=drops.all(),
        lengths=lengths,
        medians=medians,
        turns=tuple(sorted(records.turns.items())),
        system=records.system,
        languages=most_first(records.languages),
        human_languages=most_first(records.human_languages),
        provenance=most_first(records.provenance),
        templates=most_first(records.templates),
        teachers=most_first(records.teachers),
        facets={
            name: most_first(values)
            for name, values in sorted(records.facets.items())
            if name not in records.no_facets
        },
        executed=records.executed[True],
        not_executed=records.executed[False],
        execution_unknown=records.executed[None],
        repositories=len(records.repositories),
        largest_repository=_largest_share(records.repositories),
        same_id=records.number - len(records.ids),
        same_question=records.number - len(records.questions),
        same_record=records.number - len(records.contents),
        question_hashes=frozenset(records.questions),
        sample=kept,
        usage=_usage(folder),
    )


def _decoded[T](folder: Path, name: str, decode: Callable[[bytes], T]) -> Iterator[T]:
    """All records of a set; an error names the shard and the record."""
    for path in list_shards(folder, name):
        for number, record in enumerate(read_shard(path)):
            try:
                yield decode(record)
            except InputError as error:
                raise RecordError(f"{path}: record {number}: {error}") from error


def length_bin(length: int) -> int:
    """Ten bins a decade; 0 holds what is empty."""
    return 0 if length < 1 else 1 + int(math.log10(length) * _BINS_A_DECADE + 1e-9)


def bin_start(number: int) -> float:
    """The smallest length of a bin."""
    return 0.0 if number == 0 else 10 ** ((number - 1) / _BINS_A_DECADE)


def normalised(text: str) -> str:
    """The words of a text, in lower case with one space between them."""
    return " ".join(text.lower().split())


class _Records:
    """Counts records; holds hashes of all, and a sample."""

    def __init__(self, sample: int) -> None:
        self.number = 0
        self.system = 0
        self.turns: collections.Counter[int] = collections.Counter()
        self.languages: collections.Counter[str] = collections.Counter()
        self.human_languages: collections.Counter[str] = collections.Counter()
        self.provenance: collections.Counter[str] = collections.Counter()
        self.templates: collections.Counter[str] = collections.Counter()
        self.teachers: collections.Counter[str] = collections.Counter()
        self.repositories: collections.Counter[bytes] = collections.Counter()
        self.executed: collections.Counter[bool | None] = collections.Counter()
        self.lengths: dict[str, collections.Counter[int]] = {}
        self.facets: dict[str, collections.Counter[str]] = {}
        self.no_facets: set[str] = set()
        self.ids: set[bytes] = set()
        self.questions: set[bytes] = set()
        self.contents: set[bytes] = set()
        self.sample: list[tuple[float, str, Record]] = []
        self._size = sample

    def add(self, record: Record) -> None:
        self.number += 1
        asked, answered = record.asked, record.answered
        self.ids.add(_hash(record.id))
        self.questions.add(_hash(normalised(asked)))
        self.contents.add(_hash("\0".join(normalised(text) for _, text in record.turns)))
        self.languages[record.language] += 1
        self.provenance[record.provenance] += 1
        self.repositories[_hash(record.repo)] += 1
        self.system += any(role == "system" for role, _ in record.turns)
        if record.messages:
            self.turns[sum(role != "system" for role, _ in record.turns)] += 1
            self._length("question, characters", asked)
            self._length("answers, characters", answered)
        else:
            self._length("text, characters", asked)
        said = record.details.get("human_language")
        self.human_languages[str(said) if said else writing_system(asked)] += 1
        calls = record.details.get("calls")
        calls = [call for call in calls if isinstance(call, dict)] if calls else []
        self.templates.update({str(call.get("template", "")) for call in calls})
        self.teachers.update({str(call.get("teacher", "")) for call in calls})
        executed = record.details.get("executed")
        self.executed[executed if isinstance(executed, bool) else None] += 1
        for name, value in record.details.items():
            self._facet(name, value)
        self._keep(record)

    def _length(self, name: str, text: str) -> None:
        self.lengths.setdefault(name, collections.Counter())[length_bin(len(text))] += 1

    def _facet(self, name: str, value: Any) -> None:
        if name in _NOT_A_FACET or name in self.no_facets:
            return
        values = self.facets.setdefault(name, collections.Counter())
        if isinstance(value, str | int | float) and len(str(value)) <= _LONGEST_VALUE:
            values[str(value)] += 1
        else:
            self.no_facets.add(name)
        if len(values) > _MOST_VALUES:
            self.no_facets.add(name)

    def _keep(self, record: Record) -> None:
        entry = (-hash_fraction("report", record.id), f"{record.id}-{self.number}", record)
        if len(self.sample) < self._size:
            heapq.heappush(self.sample, entry)
        elif self._size and entry[:2] > self.sample[0][:2]:
            heapq.heapreplace(self.sample, entry)


class _Drops:
    """Counts drops by reason; holds those of each with the smallest hashes."""

    def __init__(self, samples: int) -> None:
        self.reasons: collections.Counter[str] = collections.Counter()
        self._size = samples
        self._samples: dict[str, list[tuple[float, int, Drop]]] = {}

    def add(self, drop: Drop) -> None:
        self.reasons[drop.reason] += 1
        samples = self._samples.setdefault(drop.reason, [])
        entry = (-hash_fraction("report", drop.id), self.reasons.total(), drop)
        if len(samples) < self._size:
            heapq.heappush(samples, entry)
        elif self._size and entry[:2] > samples[0][:2]:
            heapq.heapreplace(samples, entry)

    def all(self) -> tuple[Rejected, ...]:
        return tuple(
            Rejected(reason, count, tuple(d for *_, d in sorted(self._samples[reason])[::-1]))
            for reason, count in most_first(self.reasons)
        )


def _record(record: bytes, kind: str) -> Record:
    if kind == "conversations":
        conversation: Conversation = decode_conversation(record)
        turns, details = conversation.messages, conversation.details
        made: Conversation | Document = conversation
    else:
        document = decode_document(record)
        turns, details = (("text", document.text),), document.signals
        made = document
    known = _object(details)
    if kind == "documents" and "calls" not in known:
        known = {}  # signals of a file of the corpus: no teacher wrote it
    return Record(made.id, made.language, made.repo, made.provenance, turns, known)


def _object(text: str) -> Mapping[str, Any]:
    """The JSON object in a text; empty where there is none."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _checks(counts: Mapping[str, Any], records: _Records, drops: _Drops) -> Iterator[Check]:
    account = counts["accounting"]
    yield Check("candidates", account["input"], records.number + drops.reasons.total())
    yield Check("records", account["output"], records.number)
    for reason in sorted({*account["dropped"], *drops.reasons}):
        yield Check(f"dropped: {reason}", account["dropped"].get(reason, 0), drops.reasons[reason])
    if "kept" in counts:
        kinds = _kinds(counts["kept"], records)
        for name in sorted({*counts["kept"], *kinds}):
            yield Check(f"kept: {name}", counts["kept"].get(name, 0), kinds[name])
    if counts.get("funnel"):
        yield Check("funnel, first", counts["funnel"][0][1], account["input"])
        yield Check("funnel, last", counts["funnel"][-1][1], records.number)
    yield Check("different ids", records.number, len(records.ids))


def _kinds(kept: Mapping[str, int], records: _Records) -> collections.Counter[str]:
    """What a manifest counts its records by: provenance, or, of imported sets, language."""

    def likeness(counted: collections.Counter[str]) -> tuple[bool, int]:
        return dict(counted) == dict(kept), len(counted.keys() & kept.keys())

    return max((records.provenance, records.languages), key=likeness)


def _usage(folder: Path) -> tuple[Mapping[str, Any], ...]:
    """What `beam_pipelines/teacher/usage.py` left beside the manifest."""
    path = folder / USAGE_NAME
    if not path.exists():
        return ()
    try:
        told = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); remove it to go on without") from error
    told = told if isinstance(told, list) else [told]
    return tuple(one for one in told if isinstance(one, dict) and "total" in one)


def _median(bins: Sequence[tuple[int, int]]) -> float:
    """The middle of a histogram, to its bin."""
    left = sum(number for _, number in bins) / 2
    for place, number in bins:
        left -= number
        if left <= 0:
            return (bin_start(place) * bin_start(place + 1)) ** 0.5
    return 0.0


def _largest_share(counts: collections.Counter[bytes]) -> float:
    return max(counts.values()) / counts.total() if counts else 0.0


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
