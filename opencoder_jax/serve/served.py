"""The model that a server serves: its name, its tokenizer, and prompts that fit it.

Next: `completions`, `chat`.
"""

import asyncio
import dataclasses
import time
from collections.abc import Sequence

from opencoder_jax.decoding.requests import check_prompt
from opencoder_jax.errors import InputError
from opencoder_jax.formats.chat import encode_prompt
from opencoder_jax.formats.infilling import infill_ids
from opencoder_jax.formats.tokenizer import Tokenizer
from opencoder_jax.serve.api_error import ApiError, bad_request
from opencoder_jax.serve.token_text import TokenText


@dataclasses.dataclass(frozen=True)
class Served:
    """What is served.

    Attributes:
      name: of the model, as clients ask for it.
      tokenizer: its own.
      bos_ids: what a text begins with.
      vocab_size: ids that the model knows.
      length: tokens of a prompt and its text together, at most.
      names: its tokens as text.
      longest: bytes of the longest token.
      created: Unix time of the start.
    """

    name: str
    tokenizer: Tokenizer
    bos_ids: tuple[int, ...]
    vocab_size: int
    length: int
    names: TokenText
    longest: int
    created: int = dataclasses.field(default_factory=lambda: int(time.time()))

    @classmethod
    def of(
        cls,
        name: str,
        tokenizer: Tokenizer,
        bos_ids: tuple[int, ...],
        vocab_size: int,
        length: int,
    ) -> "Served":
        """Looks at every token of the vocabulary once."""
        names = TokenText(tokenizer)
        longest = max(len(names.spelled(token)) for token in range(tokenizer.vocab_size))
        return cls(name, tokenizer, bos_ids, vocab_size, length, names, longest)

    def check_name(self, name: str | None) -> None:
        """Raises: ApiError: another model is asked for."""
        if name is not None and name != self.name:
            raise ApiError(
                404,
                f"there is no model {name[:200]!a} here; this server has {self.name!r}",
                param="model",
                code="model_not_found",
            )

    async def encode(self, prompt: str | list[int], add_special_tokens: bool) -> list[int]:
        """Token ids of a prompt.

        Raises:
          ApiError: it is empty, has ids that the model does not know, or is too long.
        """
        if isinstance(prompt, str):
            self._check_characters([prompt])
            ids = await asyncio.to_thread(self.tokenizer.encode, prompt)
            prompt = [*(self.bos_ids if add_special_tokens else ()), *ids]
        self.check_length(len(prompt), 0)
        try:
            check_prompt(prompt, self.vocab_size)
        except InputError as error:
            raise bad_request(str(error), "prompt") from error
        return prompt

    async def encode_gap(self, prefix: str, suffix: str) -> list[int]:
        """Token ids of what stands before a gap and after it, for the model to fill.

        Raises:
          ApiError: the tokenizer has no tokens for it, or it is too long.
        """
        self._check_characters([prefix, suffix])
        try:
            ids = await asyncio.to_thread(infill_ids, prefix, suffix, self.tokenizer)
        except InputError as error:
            raise bad_request(f"suffix: {self._told(error)}", "suffix") from error
        self.check_length(len(ids), 0)
        return ids

    async def encode_chat(self, messages: list[tuple[str, str]]) -> list[int]:
        """Token ids of a conversation with the assistant's turn opened.

        Raises:
          ApiError: the model has no chat layout, its layout refuses the conversation, or it is
            too long.
        """
        self._check_characters([content for _, content in messages])
        try:
            ids = await asyncio.to_thread(encode_prompt, messages, self.tokenizer)
        except InputError as error:
            raise bad_request(self._told(error), "messages") from error
        self.check_length(len(ids), 0, "messages")
        return ids

    def _told(self, error: InputError) -> str:
        """The message, without this machine's folders."""
        return str(error).replace(f"{self.tokenizer.path.parent}/", "")

    def _check_characters(self, texts: Sequence[str]) -> None:
        """Refuses what cannot fit however it is encoded, for encoding it would take long."""
        size = sum(map(len, texts))
        if size > self.length * self.longest:
            raise self._too_long(f"a prompt of {size} characters")

    def check_length(self, prompt: int, max_tokens: int | None, param: str = "prompt") -> None:
        """Refuses a prompt, or a prompt and its text, that the context does not hold."""
        if prompt >= self.length:
            raise self._too_long(f"a prompt of {prompt} tokens", param)
        if max_tokens and prompt + max_tokens > self.length:
            raise self._too_long(
                f"{prompt} tokens of the prompt and max_tokens={max_tokens}", "max_tokens"
            )

    def _too_long(self, what: str, param: str = "prompt") -> ApiError:
        return bad_request(
            f"this model's maximum context length is {self.length} tokens, a prompt and its text "
            f"together; you asked for {what}",
            param,
            "context_length_exceeded",
        )
