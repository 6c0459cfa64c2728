"""Continuous batching: requests join and leave the running batch at any step.

Every text has a slot of the cache. A step adds a token to each text that runs; before it,
waiting requests take free slots, and some tokens of their prompts are put there: few enough
that a long prompt holds nobody up. An accelerator is given the next step before the host looks
at the last one's tokens, so that text, stop texts and clients cost it nothing.

    engine = Engine(model, EngineConfig(slots=16))
    engine.submit(Request(prompt_ids, SamplingSettings(temperature=0.8)), on_event)
    while engine.step():
        ...

`submit` and `cancel` may be called from any thread, `step` from one. `generation` runs
an engine for a list of prompts, `opencoder_jax.serve` for clients. Next: `prefill`, `programs`.
"""

import collections
import dataclasses
import itertools
import threading
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from opencoder_jax.decoding import native, programs
from opencoder_jax.decoding.cache import CACHES, make_cache
from opencoder_jax.decoding.forward import Layout
from opencoder_jax.decoding.prefill import Prefill, Running, Slot
from opencoder_jax.decoding.products import WEIGHTS
from opencoder_jax.decoding.requests import (
    Event,
    Request,
    TokenLogprob,
    check_prompt,
    token_logprobs,
)
from opencoder_jax.decoding.text import TextStream
from opencoder_jax.decoding.weights import TENSOR, make_weights, read_bytes
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.model.config import DTYPES
from opencoder_jax.model.loading import LoadedModel

# Of prompts between two steps: what a running text waits for at most. More lengthens that and makes
# the first token of 32 that come at once no earlier (docs/serving.md).
PROMPT_TOKENS = 256
_NO_TOKEN = -1


@dataclasses.dataclass(frozen=True, slots=True)
class EngineConfig:
    """How a model is run.

    Attributes:
      slots: texts that run side by side.
      length: tokens of a prompt and its text together, at most; None: the model's longest.
      weights: `float32`, `bfloat16`, `int8`; None: as the model computes.
      cache: type of stored keys and values, one of the same three; None: as the model computes.
      dtype: what inputs of products are rounded to, `float32` or `bfloat16`; None: the model's.
      kernels: `native` (the CPU's), `xla`, or `auto`: native where it can be had.
    """

    slots: int = 16
    length: int | None = None
    weights: str | None = None
    cache: str | None = None
    dtype: str | None = None
    kernels: str = "auto"

    def __post_init__(self) -> None:
        require_at_least(1, slots=self.slots)
        if self.length is not None:
            require_at_least(2, length=self.length)
        for name, choices in (("weights", WEIGHTS), ("cache", CACHES), ("dtype", DTYPES)):
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise InputError(f"{name}={value!r}: expected one of {', '.join(choices)}")
        if self.kernels not in ("auto", "native", "xla"):
            raise InputError(f"kernels={self.kernels!r}: expected auto, native or xla")


class Engine:
    """A model that continues many prompts side by side."""

    def __init__(
        self, model: LoadedModel, config: EngineConfig | None = None, mesh: Mesh | None = None
    ) -> None:
        """Args:
          model: an opened model; its parameters are not kept.
          config: how to run it.
          mesh: devices to share it out over, heads and MLP along the axis `tensor`; None: one.

        Raises:
          InputError: the model does not fit on the mesh, or the settings do not fit together.
        """
        config = config or EngineConfig()
        c = model.config
        self._tokenizer = model.tokenizer
        self._eos_ids = frozenset(model.eos_ids)
        self.vocab_size = c.vocab_size
        self.length = min(config.length or c.max_length, c.max_length)
        dtype = config.dtype or c.dtype
        kernels = _choose_kernels(config.kernels, mesh)
        shards = mesh.shape[TENSOR] if mesh else 1
        if c.num_kv_heads % shards or c.mlp_dim % shards or c.vocab_size % shards:
            raise InputError(
                f"tensor={shards} does not divide num_kv_heads={c.num_kv_heads}, mlp_dim="
                f"{c.mlp_dim} and vocab_size={c.vocab_size}: expected a number that does"
            )
        self._layout = Layout(c.replace(dtype=dtype), kernels, shards)
        stack = kernels == "native"
        self._weights = make_weights(c, model.params, config.weights or dtype, mesh, stack=stack)
        cache = make_cache(c, config.slots, self.length, config.cache or dtype, mesh, stack=stack)
        self._state = programs.make_state(cache, config.slots, c.vocab_size, mesh)
        self._eos_array = jnp.asarray(model.eos_ids or (_NO_TOKEN,), jnp.int32)
        self._slots = [Slot() for _ in range(config.slots)]
        self._prefill = Prefill(self._layout, self._weights, self._slots, c.vocab_size)
        self._lock = threading.Lock()
        self._waiting: collections.deque[Running] = collections.deque()
        self._requests: dict[int, Running] = {}
        self._numbers = itertools.count()
        self._in_flight: tuple[programs.Added, list[Running | None]] | None = None
        # A CPU that decodes has no processor left for the host's work at the same time.
        self._runs_ahead = kernels != "native"
        # What XLA computes it computes for all rows, whether they run or not.
        sizes = [1 << i for i in range(config.slots.bit_length()) if 1 << i < config.slots]
        self._row_counts = [*sizes, config.slots] if kernels == "native" else [config.slots]

    @property
    def slots(self) -> int:
        """Texts that can run side by side."""
        return len(self._slots)

    @property
    def bytes_per_step(self) -> int:
        """Bytes of weights that a step reads."""
        return read_bytes(self._weights)

    def counts(self) -> tuple[int, int]:
        """How many requests run, and how many wait."""
        with self._lock:
            return len(self._requests) - len(self._waiting), len(self._waiting)

    def submit(self, request: Request, on_event: Callable[[Event], object]) -> int:
        """Takes a request.

        Args:
          request: what to continue, and how.
          on_event: called with each piece of news, from the thread that calls `step`.

        Returns:
          A number for `cancel`.

        Raises:
          InputError: the prompt is empty or has an id that the model does not know.
        """
        check_prompt(request.prompt, self.vocab_size)
        stream = TextStream(self._tokenizer, request.settings.stop)
        running = Running(next(self._numbers), request, on_event, stream)
        with self._lock:
            self._requests[running.identity] = running
            self._waiting.append(running)
        return running.identity

    def cancel(self, identity: int) -> None:
        """Ends a request; its slot is free for the next step. One that has ended stays so."""
        with self._lock:
            running = self._requests.get(identity)
            if running is None:
                return
            if running in self._waiting:
                self._waiting.remove(running)
            self._end(running)
        running.on_event(Event(finish_reason="cancelled"))

    def step(self) -> bool:
        """Lets waiting requests in, computes a part of their prompts, adds a token to each text.

        Returns:
          Whether there is more to do.
        """
        self._admit()
        self._state = self._prefill.advance(self._state, PROMPT_TOKENS)
        with self._lock:
            texts = [slot.owner for slot in self._slots if slot.owner and slot.owner.decodes]
        before, self._in_flight = self._in_flight, self._dispatch(texts) if texts else None
        if self._in_flight and not self._runs_ahead:
            before, self._in_flight = self._in_flight, None
        if before:
            self._collect(*before)
        with self._lock:
            return bool(self._requests) or self._in_flight is not None

    def run(self) -> None:
        """Steps until nothing is left to do."""
        while self.step():
            pass

    def _end(self, running: Running) -> None:
        """With the lock held."""
        running.finished = True
        self._requests.pop(running.identity, None)
        if running.slot >= 0 and self._slots[running.slot].owner is running:
            self._slots[running.slot].owner = None

    def _finish(self, running: Running, event: Event) -> None:
        with self._lock:
            if running.finished:
                return
            self._end(running)
        running.on_event(event)

    def _admit(self) -> None:
        """Gives free slots to those who wait for one."""
        while True:
            with self._lock:
                free = [number for number, slot in enumerate(self._slots) if not slot.owner]
                if not free or not self._waiting:
                    return
                running = self._waiting.popleft()
                room = self.length - len(running.request.prompt)
                running.limit = min(running.request.settings.max_new_tokens, room)
                if room > 0:
                    self._prefill.add(running, free)
            if room <= 0:
                self._finish(running, Event(finish_reason="prompt_too_long"))

    def _dispatch(self, texts: list[Running]) -> tuple[programs.Added, list[Running | None]]:
        size = next(count for count in self._row_counts if count >= len(texts))
        rows: list[Running | None] = [*texts, *[None] * (size - len(texts))]
        if self._layout.kernels == "native":
            # Rows that are not asked for may be of any slot that has none.
            taken = {text.slot for text in texts}
            others = (number for number in range(len(self._slots)) if number not in taken)
            slots = [text.slot if text else next(others) for text in rows]
        else:
            slots = list(range(size))
            by_slot = {text.slot: text for text in texts}
            rows = [by_slot.get(number) for number in slots]
        asked = np.zeros(size, bool)
        asked[[row for row, text in enumerate(rows) if text]] = True
        self._state, added = programs.decode(
            self._layout,
            self._weights,
            self._state,
            np.asarray(slots, np.int32),  # Not through `jnp`: each costs time in every step.
            asked,
            self._eos_array,
        )
        return added, rows

    def _collect(self, added: programs.Added, rows: list[Running | None]) -> None:
        """Tells the requests of a step's tokens, and frees the slots of those that end."""
        tokens = np.asarray(added.tokens)
        wanted = any(text and text.request.settings.logprobs is not None for text in rows)
        logprobs = jax.tree.map(np.asarray, added.logprobs) if wanted else None
        for row, text in enumerate(rows):
            # One that has ended had a further step under way.
            if text is None or text.finished:
                continue
            token = int(tokens[row])
            self._slots[text.slot].held.append(int(self._last_token(text)))
            ended = token in self._eos_ids and not text.request.settings.ignore_eos
            if not ended:
                text.text.add(token)
            reason = None
            if text.text.stopped:
                reason = "stop"
            elif ended:
                reason = "eos"
            elif len(text.text.ids) >= text.limit:
                reason = "length"
            if reason:
                text.text.finish()
                # The text held back may have had the stop text in it.
                reason = "stop" if text.text.stopped else reason
            alternatives = text.request.settings.logprobs
            found: list[TokenLogprob] = []
            if logprobs is not None and alternatives is not None:
                found = token_logprobs(logprobs, [row], [token], alternatives)
            event = Event(
                text=text.text.take(),
                ids=() if ended else (token,),
                logprobs=() if ended else tuple(found),
                prompt_logprobs=text.prompt_logprobs,
                finish_reason=reason,
                ending=found[0] if found and ended else None,
            )
            text.prompt_logprobs = None
            if reason:
                self._finish(text, event)
            else:
                text.on_event(event)

    def _last_token(self, text: Running) -> int:
        """The token that the step read, whose keys are in the slot now."""
        return text.text.ids[-1] if text.text.ids else text.request.prompt[-1]


def _choose_kernels(kernels: str, mesh: Mesh | None) -> str:
    possible = jax.default_backend() == "cpu" and mesh is None
    if kernels == "native" and not (possible and native.available()):
        raise InputError("kernels='native': expected a CPU, no mesh, and a C++ compiler")
    if kernels == "auto":
        return "native" if possible and native.available() else "xla"
    return kernels
