"""Prompts on their way into slots: some tokens of them between two steps of the texts that run.

A prompt is computed in pieces of a few lengths, which depend on the prompt alone: what runs or
waits beside it changes none of its numbers. First come, first served: the next begins when the
one before it is whole. It then takes over what any slot holds of its beginning and computes
the rest only: samples of one prompt find it whole, a conversation that goes on its last turn.
One that is cancelled leaves what was computed of it. Next: `engine`, which spends the tokens.
"""

import collections
import dataclasses
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from opencoder_jax.decoding import programs
from opencoder_jax.decoding.forward import Layout
from opencoder_jax.decoding.requests import Event, Request, TokenLogprob, token_logprobs
from opencoder_jax.decoding.sampling import Logprobs, RowSettings
from opencoder_jax.decoding.text import TextStream
from opencoder_jax.decoding.weights import DecoderWeights

# Lengths of the pieces that prompts are computed in; each is a program.
PIECES = (16, 64, 256)
_SCORED_PIECES = (16, 64)
# A shorter common beginning is not worth a copy of a slot.
_SHORTEST_SHARED = 16
_COMPARED = 64


@dataclasses.dataclass(eq=False)
class Running:
    """A request in the engine; from its slot on it is prefilling, then `decodes`."""

    identity: int
    request: Request
    on_event: Callable[[Event], object]
    text: TextStream
    slot: int = -1
    limit: int = 0
    begun: bool = False
    decodes: bool = False
    finished: bool = False
    scores: list[tuple[Logprobs, int]] = dataclasses.field(default_factory=list)
    prompt_logprobs: tuple[TokenLogprob, ...] | None = None


@dataclasses.dataclass
class Slot:
    """What the host knows of a slot: whose it is, and the tokens whose keys it holds."""

    owner: Running | None = None
    held: list[int] = dataclasses.field(default_factory=list)
    last_used: int = 0


class Prefill:
    """The prompts of requests that have a slot and do not decode yet."""

    def __init__(
        self, layout: Layout, weights: DecoderWeights, slots: Sequence[Slot], vocab_size: int
    ) -> None:
        self._layout = layout
        self._weights = weights
        self._slots = slots
        self._no_prompt = jnp.zeros(vocab_size, jnp.bool)
        self._line: collections.deque[Running] = collections.deque()
        self._begun = 0

    def add(self, running: Running, free: Sequence[int]) -> None:
        """Gives a request the best of the slots that are free, and puts it in the line."""
        source, shared = self._best(running)
        if not (shared and source in free):
            source = min(free, key=lambda number: self._slots[number].last_used)
        running.slot = source
        self._slots[source].owner = running
        # The next to come takes another one, were this one cancelled.
        self._touch(source)
        self._line.append(running)

    def advance(self, state: programs.State, tokens: int) -> programs.State:
        """Computes up to `tokens` tokens of prompts, or the first piece of them if it is longer.

        Those whose prompts are whole decode from the next step on.
        """
        spent = 0
        while self._line:
            running = self._line[0]
            if not (running.begun or running.finished):
                state = self._begin(state, running)
            held, whole = self._slots[running.slot].held, len(running.request.prompt) - 1
            while len(held) < whole and not running.finished:
                size, count = self._piece(running.request, whole - len(held))
                # No smaller piece instead: the pieces are the prompt's own.
                if spent and spent + count > tokens:
                    return state
                state = self._compute(state, running, size, count)
                spent += count
            if not running.finished:
                state = self._start(state, running)
            self._line.popleft()
        return state

    def _best(self, running: Running) -> tuple[int, int]:
        """The slot that a prompt's longest useful beginning is in, and its length; 0: none."""
        prompt = running.request.prompt
        if running.request.score_prompt:
            return -1, 0
        free = [slot.owner in (None, running) for slot in self._slots]
        # The last token is read by the first step of decoding, which begins the text.
        common = [min(_common(slot.held, prompt), len(prompt) - 1) for slot in self._slots]
        # What nobody else has needs no copy.
        best = max(range(len(common)), key=lambda number: (common[number], free[number]))
        # XLA's numbers depend on the pieces that a prompt was computed in.
        exact = self._layout.kernels == "native" or common[best] == len(prompt) - 1
        if not exact or common[best] < min(_SHORTEST_SHARED, len(prompt) - 1):
            return -1, 0
        return best, common[best]

    def _begin(self, state: programs.State, running: Running) -> programs.State:
        """Takes over what some slot holds."""
        source, shared = self._best(running)
        held = self._slots[source].held[:shared]
        if shared and source != running.slot:
            state = programs.fork(state, jnp.int32(source), jnp.int32(running.slot))
        self._slots[running.slot].held = held
        running.begun = True
        return state

    def _piece(self, request: Request, left: int) -> tuple[int, int]:
        """Length of the next program for a prompt, and the tokens that count in it."""
        pieces = _SCORED_PIECES if request.score_prompt else PIECES
        size = next((piece for piece in pieces if piece >= left), pieces[-1])
        return size, min(size, left)

    def _compute(
        self, state: programs.State, running: Running, size: int, count: int
    ) -> programs.State:
        request, held = running.request, self._slots[running.slot].held
        place = len(held)
        tokens, targets = np.zeros((2, size), np.int32)
        tokens[:count] = request.prompt[place : place + count]
        targets[:count] = request.prompt[place + 1 : place + count + 1]
        state, scored = programs.extend(
            self._layout,
            self._weights,
            state,
            jnp.int32(running.slot),
            jnp.int32(place),
            jnp.int32(count),
            jnp.asarray(tokens),
            jnp.asarray(targets),
            score=request.score_prompt,
        )
        if scored is not None:
            running.scores.append((scored, count))
        held += request.prompt[place : place + count]
        return state

    def _start(self, state: programs.State, running: Running) -> programs.State:
        """The prompt is whole but for its last token, whose keys come with the first step."""
        state = programs.start(state, jnp.int32(running.slot), self._settings(running))
        self._touch(running.slot)
        prompt = running.request.prompt
        if running.request.score_prompt:
            alternatives = running.request.settings.logprobs or 0
            found = [TokenLogprob(prompt[0], None, {})]
            for scored, count in running.scores:
                ids = prompt[len(found) : len(found) + count]
                found += token_logprobs(scored, range(count), ids, alternatives)
            running.scores.clear()
            running.prompt_logprobs = tuple(found)
        running.decodes = True
        return state

    def _settings(self, running: Running) -> programs.Start:
        request, s = running.request, running.request.settings
        in_prompt = self._no_prompt
        if s.repetition_penalty != 1:
            marks = np.zeros(in_prompt.shape, bool)
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

    def _touch(self, slot: int) -> None:
        self._begun += 1
        self._slots[slot].last_used = self._begun


def _common(held: Sequence[int], prompt: Sequence[int]) -> int:
    """How many tokens two texts begin with alike."""
    length = min(len(held), len(prompt))
    for start in range(0, length, _COMPARED):
        end = min(start + _COMPARED, length)
        # Whole parts first: many samples of a long prompt are compared with many slots.
        if tuple(held[start:end]) != tuple(prompt[start:end]):
            return next(place for place in range(start, end) if held[place] != prompt[place])
    return length
