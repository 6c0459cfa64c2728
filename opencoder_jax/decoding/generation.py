"""Batched generation: prompts as token ids in, continuations as ids and text out.

A prompt is padded to the next of a few lengths and runs beside others of that length, in
batches of one size, so the compiled programs are few and a row is computed with the same
shapes whoever shares its batch: its text cannot depend on its neighbours. Tokens that
stop a row are seen on the device; texts that stop it may begin inside one token and end
inside another, so the host looks for them after every few tokens.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from opencoder_jax.decoding.sampling import SamplingSettings, row_keys
from opencoder_jax.decoding.steps import NO_TOKEN, DecodeState, decode_chunk, prefill
from opencoder_jax.errors import InputError
from opencoder_jax.formats.tokenizer import Tokenizer
from opencoder_jax.model.loading import LoadedModel
from opencoder_jax.model.transformer import Params, cast_matrices

_SHORTEST_BUCKET = 64
_CHUNK = 32


@dataclasses.dataclass(frozen=True, slots=True)
class Generation:
    """A continuation.

    Attributes:
      ids: the tokens added, without the one that stopped it.
      text: their text, cut before a stop text.
      finish_reason: `eos` (a stop id), `stop` (a stop text), `length` (as many tokens as
        asked for, or as the model's context takes), `prompt_too_long` (the prompt fills
        the context: nothing was added).
    """

    ids: tuple[int, ...]
    text: str
    finish_reason: str


def generate(
    model: LoadedModel,
    prompts: Sequence[Sequence[int]],
    settings: SamplingSettings,
    on_finished: Callable[[int], object] = lambda count: None,
) -> list[Generation]:
    """Continues each prompt.

    Args:
      model: an opened model.
      prompts: token ids, at least one each.
      settings: how to choose tokens and when to stop.
      on_finished: called with the number of prompts finished, for a progress bar.

    Returns:
      A continuation for each prompt, in order; the same for a prompt whatever else is
      asked for beside it, as long as its number and `settings` are the same (greedy: its
      number does not matter).

    Raises:
      InputError: a prompt is empty or has an id that the model does not know.
    """
    _check_prompts(prompts, model.config.vocab_size)
    # No sequence outgrows the model, so no cache needs to.
    room = min(settings.max_new_tokens, model.config.max_length)
    settings = dataclasses.replace(settings, max_new_tokens=room)
    params = cast_matrices(model.config, model.params)
    finished: dict[int, Generation] = {}
    by_bucket: dict[int, list[int]] = defaultdict(list)
    for number, prompt in enumerate(prompts):
        if len(prompt) >= model.config.max_length:
            finished[number] = Generation((), "", "prompt_too_long")
        else:
            by_bucket[bucket_length(len(prompt))].append(number)
    on_finished(len(finished))
    for bucket in sorted(by_bucket):
        for start in range(0, len(by_bucket[bucket]), settings.batch_size):
            numbers = by_bucket[bucket][start : start + settings.batch_size]
            batch = _Batch(model, params, prompts, numbers, bucket, settings)
            finished.update(batch.run())
            on_finished(len(numbers))
    return [finished[number] for number in range(len(prompts))]


def bucket_length(length: int) -> int:
    """The smallest power of two, 64 or more, that `length` fits in."""
    return max(_SHORTEST_BUCKET, 1 << (length - 1).bit_length())


def cut_at_stop(
    ids: Sequence[int], stop: Sequence[str], tokenizer: Tokenizer
) -> tuple[tuple[int, ...], str] | None:
    """The shortest run of `ids` that contains a stop text, and its text before that.

    Returns:
      None where no stop text occurs.
    """
    if _first_stop(tokenizer.decode(ids), stop) is None:
        return None
    for count in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:count])
        cut = _first_stop(text, stop)
        if cut is not None:
            return tuple(ids[:count]), text[:cut]
    return None


class _Batch:
    """Prompts of one bucket, run to their ends."""

    def __init__(
        self,
        model: LoadedModel,
        params: Params,
        prompts: Sequence[Sequence[int]],
        numbers: Sequence[int],
        bucket: int,
        settings: SamplingSettings,
    ):
        self._model = model
        self._params = params
        self._settings = settings
        self._numbers = numbers
        self._prompts = [list(prompts[number]) for number in numbers]
        self._bucket = bucket
        self._ids: list[list[int]] = [[] for _ in numbers]
        self._results: dict[int, Generation] = {}

    def run(self) -> dict[int, Generation]:
        limits = self._limits()
        state = self._start(limits)
        while len(self._results) < len(self._numbers):
            state, added = decode_chunk(
                self._model.config,
                self._params,
                state,
                jnp.asarray(limits),
                jnp.asarray(self._model.eos_ids or (NO_TOKEN,), jnp.int32),
                jnp.float32(self._settings.temperature or 1.0),
                jnp.float32(self._settings.top_p),
                chunk=min(_CHUNK, self._settings.max_new_tokens),
                greedy=self._settings.temperature == 0,
            )
            self._collect(np.asarray(added), limits)
            stopped = [n in self._results for n in self._numbers]
            stopped += [True] * (self._settings.batch_size - len(stopped))
            state = state._replace(done=jnp.asarray(stopped))
        return self._results

    def _limits(self) -> np.ndarray:
        limits = np.zeros(self._settings.batch_size, np.int32)
        for row, prompt in enumerate(self._prompts):
            room = self._model.config.max_length - len(prompt)
            limits[row] = min(self._settings.max_new_tokens, room)
        return limits

    def _start(self, limits: np.ndarray) -> DecodeState:
        B = self._settings.batch_size
        tokens_BS = np.zeros((B, self._bucket), np.int32)
        lengths = np.zeros(B, np.int32)
        last = np.zeros(B, np.int32)
        for row, prompt in enumerate(self._prompts):
            *earlier, last[row] = prompt
            lengths[row] = len(earlier)
            tokens_BS[row, : len(earlier)] = earlier
        cache = prefill(
            self._model.config,
            self._params,
            jnp.asarray(tokens_BS),
            jnp.asarray(lengths),
            cache_length=bucket_length(self._bucket + self._settings.max_new_tokens),
        )
        numbers = np.zeros(B, np.int32)
        numbers[: len(self._numbers)] = self._numbers
        return DecodeState(
            cache=cache,
            tokens=jnp.asarray(last),
            positions=jnp.asarray(lengths),
            generated=jnp.zeros(B, jnp.int32),
            done=jnp.asarray(limits == 0),
            keys=row_keys(self._settings.seed, jnp.asarray(numbers)),
        )

    def _collect(self, added: np.ndarray, limits: np.ndarray) -> None:
        """Takes the new tokens of the rows that still run, and ends those that stopped."""
        eos_ids = set(self._model.eos_ids)
        tokenizer = self._model.tokenizer
        for row, number in enumerate(self._numbers):
            if number in self._results:
                continue
            ids = self._ids[row]
            ids.extend(token for token in added[row].tolist() if token != NO_TOKEN)
            ended = ids[-1] in eos_ids
            if ended:
                ids.pop()
            cut = cut_at_stop(ids, self._settings.stop, tokenizer) if self._settings.stop else None
            if cut:
                self._results[number] = Generation(*cut, "stop")
            elif ended or len(ids) >= limits[row]:
                reason = "eos" if ended else "length"
                self._results[number] = Generation(tuple(ids), tokenizer.decode(ids), reason)


def _check_prompts(prompts: Sequence[Sequence[int]], vocab_size: int) -> None:
    for number, prompt in enumerate(prompts):
        if not prompt:
            raise InputError(f"prompt {number} is empty: begin it with the tokenizer's BOS")
        beyond = [token for token in prompt if not 0 <= token < vocab_size]
        if beyond:
            raise InputError(
                f"prompt {number} has ids {beyond[:5]} outside the model's vocabulary of "
                f"{vocab_size}: was it encoded with another tokenizer?"
            )


def _first_stop(text: str, stop: Sequence[str]) -> int | None:
    places = [place for place in (text.find(s) for s in stop) if place >= 0]
    return min(places, default=None)
