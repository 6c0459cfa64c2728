"""What a job would ask, and what that would cost, without a call.

The job's own pipeline is run with a teacher from `foretelling`: its `Ask`s look into the cache,
answer what is there, and count the rest instead of asking. What the prompts of later stages are
made of is not there yet, so those are told by name and number only.
"""

import dataclasses
from collections.abc import Sequence

from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

from beam_pipelines.teacher.ledger import total_spent
from beam_pipelines.teacher.prompt import Prompt
from beam_pipelines.teacher.replies import tokens_of_messages
from beam_pipelines.teacher.settings import Teacher

_NAMESPACE = "teacher, foretold: "
# What a chat template and a model's own system prompt may put around the messages.
_MOST_OF_A_TEMPLATE = 64
# Of max_tokens, where no call in the cache folder tells how long answers are.
_SHARE_WITHOUT_CALLS = 0.5
_COUNTS = ("calls", "cached", "prompt_tokens", "most_prompt_tokens", "most_completion_tokens")


@dataclasses.dataclass(frozen=True)
class ForetellingTeacher(Teacher):
    """A teacher that is not asked; `stages` are those of the pipeline, in order."""

    stages: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """Calls of one stage.

    Attributes:
      stage: as `Ask` was told.
      calls: that would be asked; prompts that are equal count each.
      cached: that the cache answers.
      prompt_tokens: of `calls`, by `tokens_of_messages`.
      most_prompt_tokens: as many as bytes, and 64 a call for the chat template.
      most_completion_tokens: the sum of `max_tokens`.
    """

    stage: str
    calls: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    most_prompt_tokens: int = 0
    most_completion_tokens: int = 0


class Counters:
    """Counts a stage's calls in a worker, where Beam collects it."""

    def __init__(self, stage: str) -> None:
        self._counters = {name: Metrics.counter(f"{_NAMESPACE}{stage}", name) for name in _COUNTS}

    def add_cached(self) -> None:
        self._counters["cached"].inc()

    def add_call(self, prompt: Prompt) -> None:
        length = sum(len(text.encode("utf-8", "surrogatepass")) for _, text in prompt.messages)
        counts = (1, 0, tokens_of_messages(prompt.messages), length + _MOST_OF_A_TEMPLATE)
        for name, count in zip(_COUNTS, (*counts, prompt.sampling.max_tokens), strict=True):
            self._counters[name].inc(count)


def foretelling(teacher: Teacher) -> ForetellingTeacher:
    """The teacher for a pipeline that asks nothing."""
    fields = dataclasses.fields(Teacher)
    return ForetellingTeacher(**{field.name: getattr(teacher, field.name) for field in fields})


def collect(result: PipelineResult, teacher: ForetellingTeacher) -> list[Estimate]:
    """The estimates of a finished pipeline's stages, in order."""
    counts: dict[str, dict[str, int]] = {stage: {} for stage in teacher.stages}
    for counter in result.metrics().query(MetricsFilter())["counters"]:
        space, name = counter.key.metric.namespace, counter.key.metric.name
        stage = space.removeprefix(_NAMESPACE)
        if space.startswith(_NAMESPACE) and stage in counts:
            value = counter.attempted if counter.committed is None else counter.committed
            counts[stage][name] = counts[stage].get(name, 0) + value
    return [Estimate(stage, **found) for stage, found in counts.items()]


def report(teacher: Teacher, estimates: Sequence[Estimate]) -> str:
    """The estimates in words, for the terminal.

    Raises:
      OSError: the cache folder cannot be read.
    """
    spent = total_spent(teacher.cache_dir)
    mean = spent.completion_tokens / spent.calls if spent.calls else None
    lines = [f"{teacher.model}: nothing is asked in a dry run"]
    most_usd = likely_usd = 0.0
    before, unknown = 0, False
    for stage in estimates:
        if not stage.calls and not stage.cached:
            unknown = True
            told = f"at most {before:,} calls" if before else "no calls"
            lines.append(f"  {stage.stage}: {told}; its prompts are made of answers to come")
            continue
        likely = _likely_tokens(stage, mean)
        most_usd += teacher.cost(stage.most_prompt_tokens, stage.most_completion_tokens)
        likely_usd += teacher.cost(stage.prompt_tokens, likely)
        before = max(before, stage.calls + stage.cached)
        lines.append(
            f"  {stage.stage}: {stage.calls:,} calls, {stage.cached:,} more are in the cache; "
            f"about {stage.prompt_tokens:,} tokens of prompts and {likely:,} of answers, at most "
            f"{stage.most_prompt_tokens:,} and {stage.most_completion_tokens:,}"
        )
    if teacher.prompt_price or teacher.completion_price:
        of = ", without the stages whose prompts are to come" if unknown else ""
        lines.append(f"  cost{of}: about {likely_usd:.4f} USD, at most {most_usd:.4f} USD")
    else:
        lines.append(
            "  cost: no prices are set (--teacher_prompt_price, --teacher_completion_price)"
        )
    rule = "one token for 3 bytes of prompt and 8 a message; answers as long as "
    if mean is None:
        rule += f"{_SHARE_WITHOUT_CALLS:.0%} of max_tokens"
    else:
        rule += f"those of the {spent.calls:,} calls in {teacher.cache_dir}, {mean:,.0f} tokens"
    lines.append(f"  'about': {rule}; calls that fail and are asked again may cost more")
    if spent.calls:
        lines.append(f"  spent already, in {teacher.cache_dir}: {spent}")
    return "\n".join(lines)


def _likely_tokens(stage: Estimate, mean: float | None) -> int:
    if mean is None:
        return round(stage.most_completion_tokens * _SHARE_WITHOUT_CALLS)
    return min(stage.most_completion_tokens, round(mean * stage.calls))
