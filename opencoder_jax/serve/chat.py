"""`/v1/chat/completions`: the next turn of a conversation.

The messages are laid out as the model was trained to read them (`opencoder_jax.formats.chat`): in
ChatML, or by the chat template of its own tokenizer. A content that spells a special token stays
text. Without a limit an answer may fill the context. Next: `app`.
"""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

from opencoder_jax.decoding.requests import Request
from opencoder_jax.serve import envelope, schemas
from opencoder_jax.serve.choices import Choice, Placed, chat_logprobs
from opencoder_jax.serve.runner import EngineRunner, Job
from opencoder_jax.serve.served import Served


@dataclasses.dataclass
class Chat:
    """A request that is being answered; see `completions.Completion`."""

    served: Served
    request: schemas.ChatRequest
    prompt: list[int]
    job: Job

    def __post_init__(self) -> None:
        self._envelope = envelope.Envelope("chatcmpl", self.served.name)
        common = self.request.common
        self._wants_logprobs = common.settings.logprobs is not None
        self._texts = [
            Choice(self.served.tokenizer, self.served.names, self._wants_logprobs, ending=False)
            for _ in range(common.choices)
        ]

    def usage(self) -> dict[str, int]:
        """Counts of tokens."""
        return envelope.usage(len(self.prompt), sum(text.tokens for text in self._texts))

    async def answer(self) -> dict[str, Any]:
        """The whole answer."""
        texts = [""] * len(self._texts)
        placed: list[list[Placed]] = [[] for _ in self._texts]
        async for news in self.job.news():
            if news:
                number, event = news
                text, found = self._texts[number].add(event)
                texts[number] += text
                placed[number] += found
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": self._logprobs(placed[index]),
                "finish_reason": self._texts[index].finish_reason,
            }
            for index, text in enumerate(texts)
        ]
        return self._envelope.around("chat.completion", choices) | {"usage": self.usage()}

    async def stream(self) -> AsyncIterator[dict[str, Any] | None]:
        """The answer in parts, the first of each choice with the role; None: nothing yet."""
        include_usage = self.request.common.include_usage
        empty: dict[str, Any] = {"usage": None} if include_usage else {}
        for index in range(len(self._texts)):
            yield self._part(index, {"role": "assistant", "content": ""}, None, None) | empty
        async for news in self.job.news():
            if not news:
                yield None
                continue
            index, event = news
            text, placed = self._texts[index].add(event)
            if text or placed:
                yield self._part(index, {"content": text}, self._logprobs(placed), None) | empty
            if reason := self._texts[index].finish_reason:
                yield self._part(index, {}, None, reason) | empty
        if include_usage:
            yield self._envelope.around("chat.completion.chunk", []) | {"usage": self.usage()}

    def _logprobs(self, placed: list[Placed]) -> dict[str, Any] | None:
        return chat_logprobs(placed, self.served.names) if self._wants_logprobs else None

    def _part(
        self,
        index: int,
        delta: dict[str, Any],
        logprobs: dict[str, Any] | None,
        reason: str | None,
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self._envelope.around("chat.completion.chunk", [choice])


async def begin(served: Served, runner: EngineRunner, body: dict[str, Any]) -> Chat:
    """Reads a request and gives it to the engine.

    Raises:
      ApiError: it cannot be answered, or not now.
    """
    request = schemas.parse_chat(body, runner.queue)
    common = request.common
    served.check_name(common.model)
    prompt = await served.encode_chat(request.messages)
    served.check_length(len(prompt), common.max_tokens, "messages")
    settings = dataclasses.replace(
        common.settings, max_new_tokens=common.max_tokens or served.length - len(prompt)
    )
    requests = [Request(tuple(prompt), settings, number) for number in range(common.choices)]
    job = runner.submit(requests)
    runner.metrics.prompt.inc(len(prompt))
    return Chat(served, request, prompt, job)
