"""An OpenAI-compatible endpoint answers: vLLM, llama.cpp, a paid service, our own server.

Text to continue goes to `/completions`, chats to `/chat/completions`, a gap to fill as a prompt
with a `suffix`. Several requests run at one time; a server that is busy (429), failing (5xx),
slow or gone is asked again, waiting longer each time. A request that the server refuses ends
the evaluation with what the server said. Only the standard library is used.
"""

import dataclasses
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from opencoder_jax.errors import InputError
from opencoder_jax.evaluation.answerers.answerer import (
    PROMPT_TOO_LONG,
    AnswerSettings,
    Completion,
    cut_at_stop,
    cut_reason,
)
from opencoder_jax.evaluation.benchmark import Question
from opencoder_jax.openai_api import (
    TRY_AGAIN,
    error_message,
    model_names,
    retry_after,
    token_count,
)

_ATTEMPTS = 8
_LONGEST_WAIT = 60.0
# A long answer of a busy server takes minutes.
_TIMEOUT = 600.0
# What the API promises; others take more.
_FEWEST_STOPS = 4
_CONTEXT_LENGTH = re.compile(r"context.?(?:length|window|size)\D{0,40}(\d+)", re.IGNORECASE)
_TOO_LONG = re.compile(r"context.?length|context.?window|maximum context|too long", re.IGNORECASE)


class Refusal(InputError):  # noqa: N818  (what happened, like StopIteration)
    """The server refuses a request; asking again would not help.

    Attributes:
      status: of HTTP.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclasses.dataclass
class Endpoint:
    """A model behind an endpoint.

    Attributes:
      url: up to and with `/v1`.
      model_name: as the server calls it.
      key: sent as a bearer token; empty: none.
      parallel: requests at one time.
      first_wait: seconds before the first repetition; each later one waits twice as long.
    """

    url: str
    model_name: str
    key: str = ""
    parallel: int = 8
    first_wait: float = 1.0
    _stops: int | None = dataclasses.field(default=None, repr=False)

    @property
    def title(self) -> str:
        return f"{self.model_name} at {self.url}"

    def identity(self) -> dict[str, str]:
        """Address and name: an endpoint does not show its parameters."""
        return {"endpoint": self.url, "model": self.model_name}

    def complete(
        self, questions: Sequence[Question], settings: AnswerSettings
    ) -> Iterator[tuple[int, list[Completion]]]:
        with ThreadPoolExecutor(self.parallel, thread_name_prefix="endpoint") as pool:
            futures = {
                pool.submit(self._answers, question, settings): number
                for number, question in enumerate(questions)
            }
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _answers(self, question: Question, settings: AnswerSettings) -> list[Completion]:
        completions: list[Completion] = []
        # A server may give fewer answers at one time than it is asked for.
        while len(completions) < settings.samples:
            seed = question.seed + len(completions)
            completions += self._request(
                question, settings, settings.samples - len(completions), seed
            )
        return completions[: settings.samples]

    def _request(
        self,
        question: Question,
        settings: AnswerSettings,
        count: int,
        seed: int,
        limit: int | None = None,
    ) -> list[Completion]:
        """Answers; `limit` is how long they may be, where the context has no more room."""
        body: dict[str, Any] = {
            "model": self.model_name,
            "max_tokens": limit or settings.max_new_tokens,
            "temperature": settings.temperature,
            "seed": seed,
        }
        if settings.top_p < 1:
            body["top_p"] = settings.top_p
        if count > 1:
            body["n"] = count
        if question.stop:
            body["stop"] = list(question.stop)[: self._stops]
        if question.messages:
            path = "/chat/completions"
            body["messages"] = [{"role": r, "content": c} for r, c in question.messages]
        else:
            path = "/completions"
            body["prompt"] = question.text
            if question.suffix is not None:
                body["suffix"] = question.suffix
        try:
            answer = self.ask(path, body)
        except Refusal as refusal:
            if refusal.status == 400 and _TOO_LONG.search(str(refusal)):
                room = self._room(path, body, str(refusal)) if limit is None else 0
                if room <= 0:
                    return [Completion("", PROMPT_TOO_LONG, 0)] * count
                return self._request(question, settings, count, seed, room)
            stops = body.get("stop", ())
            if refusal.status == 400 and len(stops) > _FEWEST_STOPS and "stop" in str(refusal):
                # The rest of them are looked for here.
                self._stops = _FEWEST_STOPS
                return self._request(question, settings, count, seed, limit)
            raise
        wanted = settings.max_new_tokens
        return [
            self._completion(choice, answer, question, limit, wanted)
            for choice in self._choices(answer)
        ]

    def _room(self, path: str, body: Mapping[str, Any], refusal: str) -> int:
        """Tokens that the context has for an answer; 0: none, not even for one.

        Servers refuse what may grow beyond the context, others cut it: whose answers are compared
        must not depend on that. A refusal tells the context's length, an answer of one token that
        of the prompt.
        """
        try:
            answer = self.ask(path, {**body, "max_tokens": 1, "n": 1})
        except Refusal as again:
            if again.status == 400 and _TOO_LONG.search(str(again)):
                return 0
            raise
        prompt = token_count(answer, "prompt_tokens")
        length = _CONTEXT_LENGTH.search(refusal)
        if not prompt or not length:
            raise InputError(
                f"{refusal}; neither is it said how much room the prompt leaves: say "
                "--max_new_tokens=N"
            )
        return int(length[1]) - prompt

    def _choices(self, answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        choices = answer.get("choices")
        if not isinstance(choices, list) or not choices:
            raise InputError(f"{self.url} answers without choices: {str(answer)[:300]}")
        try:
            return sorted(choices, key=lambda choice: int(choice.get("index", 0)))
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(f"{self.url} answers with odd choices: {str(answer)[:300]}") from error

    def _completion(
        self,
        choice: Mapping[str, Any],
        answer: Mapping[str, Any],
        question: Question,
        limit: int | None,
        wanted: int,
    ) -> Completion:
        holder, key = (choice.get("message"), "content") if question.messages else (choice, "text")
        # A chat model that has only thought says nothing; no text at all is another kind of server.
        nothing = None if question.messages else 0
        text = holder.get(key, nothing) if isinstance(holder, Mapping) else 0
        if text is not None and not isinstance(text, str):
            raise InputError(f"{self.url} answers without {key}: {str(choice)[:300]}")
        text, stopped = cut_at_stop(text or "", question.stop)
        reason = "stop" if stopped else str(choice.get("finish_reason") or "unknown")
        tokens = token_count(answer, "completion_tokens")
        single = len(answer["choices"]) == 1 and not stopped
        tokens = tokens if single else None
        return Completion(text, cut_reason(reason, limit or tokens, wanted), tokens)

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The server's JSON.

        Args:
          path: below the url.
          body: of a POST; None: a GET.

        Raises:
          Refusal: status 4xx.
          InputError: it cannot be reached, or goes on failing.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = None if body is None else json.dumps(body).encode()
        wait = self.first_wait
        for attempt in range(_ATTEMPTS):
            request = urllib.request.Request(self.url + path, data, headers)
            asked = None
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
                    answer = json.load(response)
                if not isinstance(answer, dict):
                    raise ValueError(f"{str(answer)[:100]} is no object")
                return answer
            except urllib.error.HTTPError as error:
                message = _message(error)
                if error.code not in TRY_AGAIN:
                    raise Refusal(
                        f"{self.url}{path} refuses ({error.code}): {message}", error.code
                    ) from error
                failure = f"{error.code}: {message}"
                asked = retry_after(error.headers.get("Retry-After") or "")
            except (OSError, http.client.HTTPException) as error:
                failure = str(error) or type(error).__name__
            except (ValueError, RecursionError) as error:
                raise InputError(f"{self.url}{path} answers no JSON ({error})") from error
            if attempt + 1 < _ATTEMPTS:
                time.sleep(min(wait if asked is None else asked, _LONGEST_WAIT))
                wait *= 2
        raise InputError(
            f"{self.url}{path} gave no answer after {_ATTEMPTS} attempts, the last failure: "
            f"{failure}. What was answered is kept: the same command goes on"
        )


def open_endpoint(
    url: str, model_name: str | None, parallel: int, api_key_variable: str
) -> Endpoint:
    """An endpoint that can be reached and has the model.

    Raises:
      InputError: it cannot be reached, refuses the key, or has no such model.
    """
    url = url.rstrip("/")
    key = os.environ.get(api_key_variable, "")
    # Whoever starts a command should not wait minutes to hear that nobody is there.
    endpoint = Endpoint(url, model_name or "", key, parallel, first_wait=0.05)
    try:
        names = model_names(endpoint.ask("/models"))
    except Refusal as refusal:
        if refusal.status in (401, 403):
            raise InputError(
                f"{refusal}; put the key into the environment variable {api_key_variable}"
            ) from refusal
        names = []
    if model_name is None:
        if len(names) != 1:
            raise InputError(
                f"{url} has {len(names)} models; say --model_name=NAME"
                + (f", one of {', '.join(names[:20])}" if names else "")
            )
        model_name = names[0]
    elif names and model_name not in names:
        raise InputError(f"{url} has no model {model_name!r}; it has {', '.join(names[:20])}")
    return dataclasses.replace(endpoint, model_name=model_name, first_wait=1.0)


def _message(error: urllib.error.HTTPError) -> str:
    """What the server says of an error, in one line."""
    try:
        content = error.read(10_000)
    except OSError:
        content = b""
    return error_message(content, error.reason)
