"""Continuous batching: requests join and leave the running batch at any step.

Every text has a slot of the cache. A step adds a token to each text that runs; before it,
waiting requests take free slots and their prompts are put there, in pieces of a few lengths.
A prompt that begins like what some slot has (samples of one prompt, a conversation that
goes on) takes that over and computes the rest only. An accelerator is given the next step before
the host looks at the last one's tokens, so that text, stop texts and clients cost it nothing.

    engine = Engine(model, EngineConfig(slots=16))
    engine.submit(Request(prompt_ids, SamplingSettings(temperature=0.8)), on_event)
    while engine.step():
        ...

`submit` and `cancel` may be called from any thread, `step` from one. `generation` runs
an engine for a list of prompts, `opencoder_jax.serve` for clients. Next: `programs`.
"""

import collections
import dataclasses
import itertools
import threading
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from opencoder_jax.decoding import native, programs
from opencoder_jax.decoding.cache import CACHES, make_cache
from opencoder_jax.decoding.forward import Layout
from opencoder_jax.decoding.products import WEIGHTS
from opencoder_jax.decoding.requests import (
    Event,
    Request,
    TokenLogprob,
    check_prompt,
    token_logprobs,
)
from opencoder_jax.decoding.sampling import RowSettings
from opencoder_jax.decoding.text import TextStream
from opencoder_jax.decoding.weights import TENSOR, make_weights, read_bytes
from opencoder_jax.errors import InputError, require_at_least
from opencoder_jax.model.config import DTYPES
from opencoder_jax.model.loading import LoadedModel

# Lengths of the pieces that prompts are computed in; each is a program.
_PIECES = (16, 64, 256)
_SCORED_PIECES = (16, 64)
# Of prompts before each step, but at least one prompt: a running text's next token does not wait
# for all that have come, nor the first of them for the last.
_ADMITTED_TOKENS = 256
# A shorter common beginning is not worth a copy of a slot.
_SHORTEST_SHARED = 16
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


@dataclasses.dataclass(eq=False)
class _Running:
    """A request in the engine."""

    identity: int
    request: Request
    on_event: Callable[[Event], object]
    text: TextStream
    slot: int = -1
    limit: int = 0
    finished: bool = False
    prompt_logprobs: tuple[TokenLogprob, ...] | None = None


@dataclasses.dataclass
class _Slot:
    """What the host knows of a slot: whose it is, and the tokens whose keys it holds."""

    owner: _Running | None = None
    held: list[int] = dataclasses.field(default_factory=list)
    last_used: int = 0


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
        cache = make_cache(c, config.slots, self.length, config.cache or dtype, stack=stack)
        if mesh:
            cache = jax.tree.map(lambda x: jax.device_put(x, _heads_apart(mesh, x)), cache)
        self._state = programs.make_state(cache, config.slots, c.vocab_size)
        self._eos_array = jnp.asarray(model.eos_ids or (_NO_TOKEN,), jnp.int32)
        self._no_prompt = jnp.zeros(c.vocab_size, jnp.bool)
        self._slots = [_Slot() for _ in range(config.slots)]
        self._lock = threading.Lock()
        self._waiting: collections.deque[_Running] = collections.deque()
        self._requests: dict[int, _Running] = {}
        self._numbers = itertools.count()
        self._steps = 0
        self._in_flight: tuple[programs.Added, list[_Running | None]] | None = None
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
        running = _Running(next(self._numbers), request, on_event, stream)
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
        """Lets waiting requests in and adds a token to each running text.

        Returns:
          Whether there is more to do.
        """
        self._admit()
        with self._lock:
            texts = [slot.owner for slot in self._slots if slot.owner]
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

    def _end(self, running: _Running) -> None:
        """With the lock held."""
        running.finished = True
        self._requests.pop(running.identity, None)
        if running.slot >= 0 and self._slots[running.slot].owner is running:
            self._slots[running.slot].owner = None

    def _finish(self, running: _Running, event: Event) -> None:
        with self._lock:
            if running.finished:
                return
            self._end(running)
        running.on_event(event)

    # --- Prompts -----------------------------------------------------------------------

    def _admit(self) -> None:
        computed = 0
        while computed < _ADMITTED_TOKENS:
            with self._lock:
                free = [number for number, slot in enumerate(self._slots) if not slot.owner]
                if not free or not self._waiting:
                    return
                running = self._waiting.popleft()
                room = self.length - len(running.request.prompt)
                if room > 0:
                    running.limit = min(running.request.settings.max_new_tokens, room)
                    running.slot, source, shared = self._place(running.request, free)
                    self._slots[running.slot].owner = running
            if room <= 0:
                self._finish(running, Event(finish_reason="prompt_too_long"))
                continue
            self._prepare(running, source, shared)
            computed += len(running.request.prompt) - shared

    def _place(self, request: Request, free: Sequence[int]) -> tuple[int, int, int]:
        """The slot for a request, the slot to take a beginning over from, and its length."""
        prompt = request.prompt
        source, shared = -1, 0
        for number, slot in enumerate(self._slots):
            # The last token is read by the first step of decoding, which begins the text.
            common = min(_common(slot.held, prompt), len(prompt) - 1)
            if common > shared or (common == shared and source not in free and number in free):
                source, shared = number, common
        whole = shared == len(prompt) - 1
        # XLA's numbers depend on the pieces that a prompt was computed in.
        exact = self._layout.kernels == "native" or whole
        if shared < min(_SHORTEST_SHARED, len(prompt) - 1) or not exact or request.score_prompt:
            shared = 0
        if shared and source in free:
            return source, source, shared
        return min(free, key=lambda number: self._slots[number].last_used), source, shared

    def _prepare(self, running: _Running, source: int, shared: int) -> None:
        request, slot = running.request, self._slots[running.slot]
        prompt = list(request.prompt)
        number = jnp.int32(running.slot)
        if shared and source != running.slot:
            self._state = programs.fork(self._state, jnp.int32(source), number)
        scores = []
        counts = []
        pieces = _SCORED_PIECES if request.score_prompt else _PIECES
        place = shared
        while place < len(prompt) - 1:
            left = len(prompt) - 1 - place
            size = next((piece for piece in pieces if piece >= left), pieces[-1])
            count = min(size, left)
            tokens, targets = np.zeros((2, size), np.int32)
            tokens[:count] = prompt[place : place + count]
            targets[:count] = prompt[place + 1 : place + count + 1]
            self._state, scored = programs.extend(
                self._layout,
                self._weights,
                self._state,
                number,
                jnp.int32(place),
                jnp.int32(count),
                jnp.asarray(tokens),
                jnp.asarray(targets),
                score=request.score_prompt,
            )
            if scored is not None:
                scores.append(scored)
                counts.append(count)
            place += count
        self._state = programs.start(self._state, number, self._begin(running))
        self._steps += 1
        # The last token's keys come with the first step of decoding.
        slot.held, slot.last_used = prompt[:-1], self._steps
        if request.score_prompt:
            alternatives = request.settings.logprobs or 0
            found = [TokenLogprob(prompt[0], None, {})]
            for scored, count in zip(scores, counts, strict=True):
                ids = prompt[len(found) : len(found) + count]
                found += token_logprobs(scored, range(count), ids, alternatives)
            running.prompt_logprobs = tuple(found)

    def _begin(self, running: _Running) -> programs.Start:
        request, s = running.request, running.request.settings
        in_prompt = self._no_prompt
        if s.repetition_penalty != 1:
            marks = np.zeros(self.vocab_size, bool)
            marks[list(request.prompt)] = True
            in_prompt = jnp.asarray(marks)
        key = np.random.SeedSequence((s.seed % 2**64, request.number)).generate_state(2)
        return programs.Start(
            token=jnp.int32(request.prompt[-1]),
            position=jnp.int32(len(request.prompt) - 1),
            limit=jnp.int32(running.limit),
            stops_at_eos=jnp.bool(not s.ignore_eos),
            key=jnp.asarray(key),
            settings=RowSettings(
                temperature=jnp.float32(s.temperature),
                top_p=jnp.float32(s.top_p),
                top_k=jnp.int32(s.top_k),
                min_p=jnp.float32(s.min_p),
                repetition_penalty=jnp.float32(s.repetition_penalty),
                presence_penalty=jnp.float32(s.presence_penalty),
                frequency_penalty=jnp.float32(s.frequency_penalty),
                wants_logprobs=jnp.bool(s.logprobs is not None),
            ),
            in_prompt=in_prompt,
        )

    # --- Steps -------------------------------------------------------------------------

    def _dispatch(self, texts: list[_Running]) -> tuple[programs.Added, list[_Running | None]]:
        size = next(count for count in self._row_counts if count >= len(texts))
        rows: list[_Running | None] = [*texts, *[None] * (size - len(texts))]
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

    def _collect(self, added: programs.Added, rows: list[_Running | None]) -> None:
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

    def _last_token(self, text: _Running) -> int:
        """The token that the step read, whose keys are in the slot now."""
        return text.text.ids[-1] if text.text.ids else text.request.prompt[-1]


def _choose_kernels(kernels: str, mesh: Mesh | None) -> str:
    possible = jax.default_backend() == "cpu" and mesh is None
    if kernels == "native" and not (possible and native.available()):
        raise InputError("kernels='native': expected a CPU, no mesh, and a C++ compiler")
    if kernels == "auto":
        return "native" if possible and native.available() else "xla"
    return kernels


def _heads_apart(mesh: Mesh, array: jax.Array) -> NamedSharding:
    axes = (None, None, TENSOR) if array.size else ()
    return NamedSharding(mesh, PartitionSpec(*axes))


def _common(held: Sequence[int], prompt: Sequence[int]) -> int:
    """How many tokens two texts begin with alike."""
    for place, (one, other) in enumerate(zip(held, prompt, strict=False)):
        if one != other:
            return place
    return min(len(held), len(prompt))
