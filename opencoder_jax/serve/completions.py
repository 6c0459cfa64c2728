"""`/v1/completions`: texts that continue prompts.

A request's prompts, each `n` times (`best_of`, where more are made than given), are one job of
the engine. Choices are numbered prompt by prompt, as OpenAI does. With `echo` the prompt stands
before the text, with its own log-probabilities where they are asked for: so evaluation
harnesses score given continuations. Next: `chat`, the same for conversations.
"""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

from opencoder_jax.decoding.requests import Event, Request
from opencoder_jax.serve import envelope, schemas
from opencoder_jax.serve.api_error import bad_request
from opencoder_jax.serve.choices import Choice, Placed, completion_logprobs
from opencoder_jax.serve.runner import EngineRunner, Job
from opencoder_jax.serve.served import Served


@dataclasses.dataclass
class Completion:
    """A request that is being answered.

    Attributes:
      request: what was asked.
      prompts: its prompts in tokens.
      job: its texts in the engine.
    """

    served: Served
    request: schemas.CompletionRequest
    prompts: list[list[int]]
    job: Job

    def __post_init__(self) -> None:
        self._envelope = envelope.Envelope("cmpl", self.served.name)
        request = self.request
        self._wants_logprobs = request.common.settings.logprobs is not None
        # The best are found by their log-probabilities.
        self._texts = [
            Choice(self.served.tokenizer, self.served.names, self._wants_logprobs or self._ranks)
            for _ in range(len(self.prompts) * request.best_of)
        ]

    @property
    def _ranks(self) -> bool:
        return self.request.best_of > self.request.common.choices

    def prompt_text(self, number: int) -> str:
        """What `echo` gives back: the text as it came, or that of the ids."""
        prompt = self.request.prompts[number // self.request.best_of]
        return prompt if isinstance(prompt, str) else self.served.tokenizer.decode(prompt)

    def usage(self) -> dict[str, int]:
        """Counts of tokens; those of texts that were made and not given too."""
        prompt = sum(map(len, self.prompts))
        completion = 0 if self.scores_only else sum(text.tokens for text in self._texts)
        return envelope.usage(prompt, completion)

    @property
    def scores_only(self) -> bool:
        """Whether nothing is to be added to the prompts (`max_tokens` 0)."""
        return self.request.common.max_tokens == 0

    async def answer(self) -> dict[str, Any]:
        """The whole answer."""
        texts = [""] * len(self._texts)
        placed: list[list[Placed]] = [[] for _ in self._texts]
        async for news in self.job.news():
            if news:
                number, event = news
                text, found = self._take(number, event)
                texts[number] += text
                placed[number] += found
        choices = []
        for index, number in enumerate(self._given()):
            logprobs = self._logprobs(number, placed[number])
            reason = self._texts[number].finish_reason
            choices.append(self._choice(index, texts[number], logprobs, reason))
        return self._around(choices) | {"usage": self.usage()}

    async def stream(self) -> AsyncIterator[dict[str, Any] | None]:
        """The answer in parts; None: nothing to tell yet."""
        include_usage = self.request.common.include_usage
        empty: dict[str, Any] = {"usage": None} if include_usage else {}
        async for news in self.job.news():
            if not news:
                yield None
                continue
            number, event = news
            text, placed = self._take(number, event)
            reason = self._texts[number].finish_reason
            if text or placed or reason:
                logprobs = self._logprobs(number, placed)
                yield self._around([self._choice(number, text, logprobs, reason)]) | empty
        if include_usage:
            yield self._around([]) | {"usage": self.usage()}

    def _take(self, number: int, event: Event) -> tuple[str, list[Placed]]:
        """News of a text, its prompt before it where it is given back."""
        choice = self._texts[number]
        begins = self.request.echo and choice.tokens == 0 and not choice.echoed
        text, placed = choice.add(event)
        if self.scores_only:
            text, placed = "", []
        if not begins:
            return text, placed
        choice.echoed = True
        echoed = self.prompt_text(number)
        if event.prompt_logprobs is not None:
            ids = self.prompts[number // self.request.best_of]
            # Places in the echo, from the text's beginning backwards.
            places = self.served.names.offsets(ids, echoed)
            before = [
                Placed(found, place - len(echoed))
                for found, place in zip(event.prompt_logprobs, places, strict=True)
            ]
            placed = [*before, *placed]
        return echoed + text, placed

    def _logprobs(self, number: int, placed: list[Placed]) -> dict[str, Any] | None:
        if not self._wants_logprobs:
            return None
        start = len(self.prompt_text(number)) if self.request.echo else 0
        return completion_logprobs(placed, self.served.names, start)

    def _given(self) -> list[int]:
        """The texts to give: each prompt's likeliest."""
        given: list[int] = []
        best_of = self.request.best_of
        for first in range(0, len(self._texts), best_of):
            numbers = list(range(first, first + best_of))
            if self._ranks:
                numbers.sort(key=lambda number: -self._texts[number].mean_logprob)
            given += numbers[: self.request.common.choices]
        return given

    def _choice(
        self, index: int, text: str, logprobs: dict[str, Any] | None, reason: str | None
    ) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}

    def _around(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return self._envelope.around("text_completion", choices)


async def begin(served: Served, runner: EngineRunner, body: dict[str, Any]) -> Completion:
    """Reads a request and gives it to the engine.

    Raises:
      ApiError: it cannot be answered, or not now.
    """
    request = schemas.parse_completion(body, runner.queue)
    common = request.common
    served.check_name(common.model)
    prompts = [await _encode(served, one, request) for one in request.prompts]
    for ids in prompts:
        served.check_length(len(ids), common.max_tokens)
    settings = dataclasses.replace(common.settings, max_new_tokens=max(common.max_tokens or 0, 1))
    if request.best_of > common.choices and settings.logprobs is None:
        settings = dataclasses.replace(settings, logprobs=0)
    score = request.echo and common.settings.logprobs is not None
    requests = [
        Request(tuple(ids), settings, number, score)
        for ids in prompts
        for number in range(request.best_of)
    ]
    job = runner.submit(requests)
    runner.metrics.prompt.inc(sum(map(len, prompts)))
    return Completion(served, request, prompts, job)


async def _encode(
    served: Served, prompt: str | list[int], request: schemas.CompletionRequest
) -> list[int]:
    if request.suffix is None:
        return await served.encode(prompt, request.add_special_tokens)
    if not isinstance(prompt, str):
        raise bad_request("suffix: expected text before the gap too, not token ids", "prompt")
    return await served.encode_gap(prompt, request.suffix)
