"""What a job's calls were: counted by Beam in every worker, collected when the job is done."""

from collections.abc import Mapping
from typing import Any

from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

from beam_pipelines.teacher.client import Outcome
from beam_pipelines.teacher.ledger import total_spent
from beam_pipelines.teacher.settings import Teacher

_NAMESPACE = "teacher: "
_USD = 1e9
# Of a stage, in order; `usd` is counted in billionths.
_COUNTS = (
    "asked",
    "prompt_tokens",
    "completion_tokens",
    "usd",
    "cached",
    "cached_prompt_tokens",
    "cached_completion_tokens",
    "without_reply",
    "failed_attempts",
    "damaged_entries",
    "counts_estimated",
)


class Counters:
    """Counts outcomes in a worker, where Beam collects it."""

    def __init__(self, stage: str) -> None:
        self._counters = {name: Metrics.counter(f"{_NAMESPACE}{stage}", name) for name in _COUNTS}

    def add(self, outcome: Outcome) -> None:
        """Must be called in a thread that processes a bundle."""
        reply = outcome.reply
        counts: dict[str, int] = {
            "failed_attempts": outcome.failed_attempts,
            "damaged_entries": int(outcome.damaged),
        }
        if reply is None:
            counts["without_reply"] = 1
        else:
            kind = "cached" if outcome.cached else "asked"
            before = "cached_" if outcome.cached else ""
            counts[kind] = 1
            counts[f"{before}prompt_tokens"] = reply.prompt_tokens
            counts[f"{before}completion_tokens"] = reply.completion_tokens
            counts["counts_estimated"] = int(not reply.counted)
            counts["usd"] = round(outcome.usd * _USD)
        for name, count in counts.items():
            if count:
                self._counters[name].inc(count)


def collect(result: PipelineResult, teacher: Teacher) -> dict[str, Any]:
    """What the calls of a finished job were.

    What is `asked` or `cached` depends on what ran before, so it belongs beside a manifest
    (e.g. into `teacher.json`), not into it.

    Args:
      result: `pipeline.result` of a pipeline with `Ask`s.
      teacher: of all of them.

    Returns:
      `{"teacher", "stages": {stage: {count: number}}, "total": {count: number},
      "cache_dir_total": sums}`; `usd` is the cost of the calls `asked` by this run, cached ones
      cost nothing.

    Raises:
      OSError: the ledger cannot be read.
    """
    stages: dict[str, dict[str, float]] = {}
    for counter in result.metrics().query(MetricsFilter())["counters"]:
        space, name = counter.key.metric.namespace, counter.key.metric.name
        if space.startswith(_NAMESPACE) and name in _COUNTS:
            counts = stages.setdefault(space.removeprefix(_NAMESPACE), {})
            # Runners without committed counts have attempted ones.
            value = counter.attempted if counter.committed is None else counter.committed
            counts[name] = counts.get(name, 0) + value
    ordered = {stage: _in_order(counts) for stage, counts in sorted(stages.items())}
    total = {name: sum(counts[name] for counts in ordered.values()) for name in _COUNTS}
    spent = total_spent(teacher.cache_dir)
    return {
        "teacher": teacher.model,
        "stages": ordered,
        "total": total,
        "cache_dir_total": {
            "calls": spent.calls,
            "prompt_tokens": spent.prompt_tokens,
            "completion_tokens": spent.completion_tokens,
            "usd": round(spent.usd, 9),
        },
    }


def summary_line(usage: Mapping[str, Any]) -> str:
    """One line for the terminal, of what `collect` returned."""
    total = usage["total"]
    cached = f"{total['cached']:,} from the cache"
    tokens = f"{total['prompt_tokens']:,} + {total['completion_tokens']:,} tokens"
    line = (
        f"{usage['teacher']}: {total['asked']:,} calls asked ({tokens}, {total['usd']:.4f} USD), "
    )
    line += cached
    if total["without_reply"]:
        line += f", {total['without_reply']:,} without a reply"
    if total["counts_estimated"]:
        line += f"; tokens of {total['counts_estimated']:,} calls are estimated"
    return line


def _in_order(counts: Mapping[str, float]) -> dict[str, float]:
    ordered = {name: counts.get(name, 0) for name in _COUNTS}
    return {**ordered, "usd": round(ordered["usd"] / _USD, 9)}
