"""Which teacher is asked, how hard, and for how much."""

import dataclasses
import os
import re
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beam_pipelines import stores
from opencoder_jax.errors import InputError, require_at_least, require_positive

# What a call's key is made of, and how: another number, another cache.
API = "chat/completions/1"


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A teacher; gin binds it, and each field is a flag `--teacher_FIELD` too.

    Attributes:
      url: of an OpenAI-compatible endpoint, up to and with `/v1`; empty: vLLM runs on the workers.
      model: as the endpoint calls it; for vLLM a Hugging Face name or folder.
      cache_dir: folder of all calls ever answered, local, `gs://` or `s3://`; several jobs and
        workers may share it.
      api_key_variable: environment variable that holds the endpoint's key.
      api_key_file: file with the key, local or in a store, for workers on other machines; goes
        before the variable.
      parallel: calls in flight of one worker process, at most.
      requests_per_minute: of one worker process, at most; 0: no limit.
      tokens_per_minute: of one worker process, prompts and answers, at most; 0: no limit.
      timeout_seconds: of one attempt, from asking to the answer's last byte.
      attempts: of a call that fails; that a server is busy (429, 503) is no failure.
      first_wait_seconds: before the second attempt; each later one waits twice as long, up to
        `longest_wait_seconds`, and a random part of it less. `Retry-After` goes before.
      longest_wait_seconds: between attempts.
      failures_to_stop: failed calls in a row, without one success, that end the job.
      max_answer_bytes: of a response's body.
      prompt_price: USD for a million tokens of prompts; 0: nothing.
      completion_price: USD for a million tokens of answers.
      budget_usd: what the calls in `cache_dir` may cost in all; None: no limit.
      budget_calls: calls in all, those of `cache_dir` before this job too; None: no limit.
      budget_tokens: tokens of prompts and answers in all; None: no limit.
      max_tokens_name: what the endpoint calls the limit of an answer: `max_tokens`, or
        `max_completion_tokens` for newer models of OpenAI.
      extra: further fields of each request, e.g. `{'top_k': 20}`.
      vllm_flags: of vLLM's server, name to value, e.g. `{'max-model-len': '8192'}`.
    """

    url: str = ""
    model: str = ""
    cache_dir: str = ""
    api_key_variable: str = "TEACHER_API_KEY"
    api_key_file: str = ""
    parallel: int = 32
    requests_per_minute: float = 0.0
    tokens_per_minute: float = 0.0
    timeout_seconds: float = 600.0
    attempts: int = 8
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0
    failures_to_stop: int = 50
    max_answer_bytes: int = 8 << 20
    prompt_price: float = 0.0
    completion_price: float = 0.0
    budget_usd: float | None = None
    budget_calls: int | None = None
    budget_tokens: int | None = None
    max_tokens_name: str = "max_tokens"
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    vllm_flags: Mapping[str, str | None] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", self.url.rstrip("/"))
        for name, why in (("model", "which model is asked"), ("cache_dir", "where calls are kept")):
            if not getattr(self, name):
                raise InputError(f"the teacher's {name} is not set: {why} (--teacher_{name}=...)")
        if self.url:
            _check_url(self.url)
        if self.url and self.vllm_flags:
            raise InputError("the teacher has a url: vllm_flags are for vLLM on the workers")
        require_at_least(
            1,
            parallel=self.parallel,
            attempts=self.attempts,
            failures_to_stop=self.failures_to_stop,
            max_answer_bytes=self.max_answer_bytes,
        )
        require_at_least(
            0,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            first_wait_seconds=self.first_wait_seconds,
            longest_wait_seconds=self.longest_wait_seconds,
            prompt_price=self.prompt_price,
            completion_price=self.completion_price,
        )
        require_positive(timeout_seconds=self.timeout_seconds)
        for name in ("budget_usd", "budget_calls", "budget_tokens"):
            if (limit := getattr(self, name)) is not None:
                require_at_least(0, **{name: limit})
        if self.budget_usd is not None and not (self.prompt_price or self.completion_price):
            raise InputError("budget_usd needs prices: prompt_price, completion_price")
        taken = {"model", "messages", "temperature", "top_p", "seed", "n", "stream"}
        if wrong := sorted((taken | {self.max_tokens_name}) & self.extra.keys()):
            raise InputError(f"the teacher's extra has {', '.join(wrong)}, which prompts decide")

    def identity(self) -> dict[str, Any]:
        """What answers depend on, for manifests: not where, how fast or for how much."""
        return {"model": self.model, "api": API, "extra": dict(self.extra)}

    @classmethod
    def incidental(cls) -> list[str]:
        """`Teacher.FIELD` of what answers do not depend on, for sweeps."""
        of_identity = ("model", "extra")
        fields = (field.name for field in dataclasses.fields(cls))
        return [f"Teacher.{name}" for name in fields if name not in of_identity]

    def key(self) -> str:
        """The endpoint's key; empty: none. Never kept in an attribute, which would be pickled.

        Raises:
          InputError: the key's file cannot be read, or the key cannot be sent.
        """
        name, key = self.api_key_variable, os.environ.get(self.api_key_variable, "")
        if self.api_key_file:
            name = self.api_key_file
            try:
                remote = stores.is_remote(name)
                content = stores.read(name) if remote else Path(name).read_bytes()
            except OSError as error:
                raise InputError(f"the teacher's key cannot be read: {error}") from error
            key = content.decode("utf-8", "replace")
        key = key.strip()
        if not re.fullmatch(r"[!-~]*", key):
            raise InputError(f"the key in {name} holds characters that no HTTP header can have")
        return key

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """USD."""
        return (prompt_tokens * self.prompt_price + completion_tokens * self.completion_price) / 1e6


def _check_url(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected http://HOST:PORT/v1 or https://HOST/v1")
        _ = parts.port
        if parts.username or parts.password or parts.query:
            # The address is shown in messages.
            raise ValueError("it may hold no password and no query: give a key by its variable")
    except ValueError as error:
        shown = re.sub(r"//[^/]*@", "//...@", url.partition("?")[0])
        raise InputError(f"the teacher's url {shown}: {error}") from error
