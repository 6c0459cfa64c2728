import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opencoder_jax.decoding import native
from opencoder_jax.decoding.cache import Rows, make_cache
from opencoder_jax.decoding.engine import Engine, EngineConfig
from opencoder_jax.decoding.forward import Layout, forward, project_to_vocab
from opencoder_jax.decoding.requests import Request
from opencoder_jax.decoding.sampling import SamplingSettings
from opencoder_jax.decoding.weights import make_weights
from opencoder_jax.errors import InputError
from opencoder_jax.model import transformer
from tests.opencoder_jax.model.small_models import (
    GROUPED,
    TIED_MULTI_HEAD,
    make_model_directory,
    params_of,
)

KERNELS = [
    pytest.param("native", marks=pytest.mark.skipif(not native.available(), reason="no compiler")),
    "xla",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model_directory(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module", params=KERNELS)
def engine(request, model):
    return Engine(model, EngineConfig(slots=3, length=128, kernels=request.param))


class Client:
    """Collects what an engine tells of one request."""

    def __init__(self, engine, prompt, number=0, score_prompt=False, **settings):
        self.events = []
        asked = SamplingSettings(**{"max_new_tokens": 20, "ignore_eos": True, **settings})
        request = Request(tuple(prompt), asked, number, score_prompt)
        self.identity = engine.submit(request, self.events.append)

    @property
    def ids(self):
        return [token for event in self.events for token in event.ids]

    @property
    def reason(self):
        return self.events[-1].finish_reason if self.events else None


def alone(engine, prompt, **settings):
    client = Client(engine, prompt, **settings)
    engine.run()
    return client.ids


def reference_logits(config, params, tokens):
    # Of one length: what comes later changes nothing before.
    padded = np.zeros((1, 64), np.int32)
    padded[0, : len(tokens)] = tokens
    positions = np.arange(64)[None]
    run = jax.jit(transformer.logits, static_argnums=0)
    return np.asarray(run(config, params, padded, np.ones_like(padded), positions)[0])[
        : len(tokens)
    ]


@pytest.mark.parametrize("config", [GROUPED, TIED_MULTI_HEAD], ids=["grouped", "tied"])
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("weights", "cache", "within"),
    [
        ("float32", "float32", 1e-5),
        ("bfloat16", "bfloat16", 0.03),
        ("int8", "int8", 0.1),
        ("float32", "int8", 0.1),
        ("int8", "float32", 0.1),
    ],
)
def test_prefill_and_decoding_give_the_models_logits(config, kernels, weights, cache, within):
    params = params_of(config)
    tokens = np.random.default_rng(3).integers(0, config.vocab_size, 40)
    layout, slot = Layout(config, kernels), 2
    stack = kernels == "native"
    matrices = make_weights(config, params, weights, stack=stack)
    stored = make_cache(config, 3, 48, cache, stack=stack)
    step = jax.jit(forward, static_argnums=0, static_argnames="one_slot", donate_argnums=2)
    # 30 tokens in a piece of 32, then ten steps beside two slots in which nothing runs.
    piece = jnp.zeros(32, jnp.int32).at[:30].set(tokens[:30])
    rows = Rows(jnp.full(32, slot), jnp.arange(32, dtype=jnp.int32), jnp.arange(32) < 30)
    hidden, stored = step(layout, matrices, stored, piece, rows, one_slot=True)
    found = [project_to_vocab(layout, matrices, hidden, rows.active)[:30]]
    for position in range(30, 40):
        rows = Rows(jnp.arange(3, dtype=jnp.int32), jnp.full(3, position), jnp.arange(3) == slot)
        hidden, stored = step(
            layout, matrices, stored, jnp.full(3, tokens[position]), rows, one_slot=False
        )
        found.append(project_to_vocab(layout, matrices, hidden, rows.active)[slot][None])
    expected = reference_logits(config, params, tokens)
    difference = np.abs(np.concatenate(found) - expected).max() / np.abs(expected).max()
    assert difference < within
    # Rounding is there where it is asked for.
    assert (difference > 1e-4) == (within > 1e-4)


def test_texts_join_and_leave_at_any_step_and_do_not_change_each_other(engine):
    prompts = [[1, 9, 8, 7], [1, 30, 31], list(range(1, 60)), [1, 77], [1, 200, 201, 202, 203]]
    lengths = [20, 5, 12, 20, 9]
    expected = [
        alone(engine, prompt, max_new_tokens=length, temperature=0.7, number=i)
        for i, (prompt, length) in enumerate(zip(prompts, lengths, strict=True))
    ]
    clients = []
    for number, (prompt, length) in enumerate(zip(prompts, lengths, strict=True)):
        clients.append(Client(engine, prompt, number, max_new_tokens=length, temperature=0.7))
        engine.step()
        engine.step()
    assert engine.counts()[1] > 0  # More than there are slots.
    engine.run()
    assert [client.ids for client in clients] == expected
    assert {client.reason for client in clients} == {"length"}
    assert engine.counts() == (0, 0)


def test_samples_of_one_prompt_share_its_prefill(engine, computed):
    prompt = [1, *range(300, 350)]
    expected = [alone(engine, prompt, number=n, temperature=1.0) for n in range(3)]
    alone(engine, [2] * 60)  # No slot has the prompt any more ...
    for _ in range(3):
        Client(engine, [3] * 60)
    engine.run()
    computed.clear()
    clients = [Client(engine, prompt, number=n, temperature=1.0) for n in range(3)]
    engine.run()
    assert sum(computed) == len(prompt) - 1  # ... and it is computed once.
    assert [client.ids for client in clients] == expected
    assert len({tuple(ids) for ids in expected}) == 3


@pytest.mark.skipif(not native.available(), reason="no compiler")
def test_a_conversation_that_goes_on_computes_what_is_new_only(model, computed):
    engine = Engine(model, EngineConfig(slots=2, length=128, kernels="native"))
    prompt = [1, *range(100, 140)]
    answer = alone(engine, prompt)
    longer = [*prompt, *answer, 50, 51, 52]
    expected = alone(Engine(model, EngineConfig(slots=2, length=128, kernels="native")), longer)
    computed.clear()
    assert alone(engine, longer) == expected
    # The last token of the answer was never read.
    assert sum(computed) == len(longer) - 1 - len(prompt) - len(answer) + 1


def test_a_prompt_that_begins_like_one_of_the_same_round_is_whole(engine):
    # The second's beginning is the first whole, whose last token nothing has read yet.
    first = [1, *range(400, 430)]
    second = [*first, 5, 6, 7]
    expected = alone(engine, second)
    alone(engine, [4] * 50)
    clients = [Client(engine, first), Client(engine, second)]
    engine.run()
    assert clients[1].ids == expected


def test_a_cancelled_request_frees_its_slot_and_the_others_go_on(engine):
    expected = alone(engine, [1, 20, 21])
    clients = [Client(engine, [1, 20, 21]) for _ in range(3)]
    waiting = Client(engine, [1, 20, 21])
    never = Client(engine, [1, 20, 21])
    for _ in range(4):
        engine.step()
    engine.cancel(clients[1].identity)
    engine.cancel(never.identity)
    assert clients[1].reason == never.reason == "cancelled"
    assert engine.counts() == (2, 1)
    engine.step()
    assert engine.counts() == (3, 0)
    engine.run()
    engine.cancel(clients[0].identity)  # Too late, and no matter.
    assert [client.ids for client in (clients[0], clients[2], waiting)] == [expected] * 3
    assert len(clients[1].ids) < len(expected)
    assert sum(event.finish_reason is not None for event in clients[1].events) == 1


def test_log_probabilities_are_those_of_the_model(engine, model):
    prompt = [1, *range(500, 530)]
    client = Client(engine, prompt, score_prompt=True, logprobs=3, max_new_tokens=5)
    engine.run()
    tokens = [*prompt, *client.ids]
    expected = jax.nn.log_softmax(reference_logits(model.config, model.params, tokens))
    found = [*client.events[0].prompt_logprobs]
    found += [one for event in client.events for one in event.logprobs]
    assert [one.token for one in found] == tokens
    assert found[0].logprob is None
    for place, one in enumerate(found[1:]):
        assert one.logprob == pytest.approx(float(expected[place, tokens[place + 1]]), abs=1e-4)
        likeliest = np.argsort(expected[place])[::-1][:3].tolist()
        assert sorted(one.top) == sorted(likeliest)


def test_a_repetition_penalty_counts_the_prompt_and_the_text(engine, model):
    prompt = [1, *range(550, 570)]
    found = alone(engine, prompt, repetition_penalty=1.8, max_new_tokens=12)
    tokens = list(prompt)
    for _ in range(12):
        logits = reference_logits(model.config, model.params, tokens)[-1].copy()
        used = sorted(set(tokens))
        logits[used] = np.where(logits[used] > 0, logits[used] / 1.8, logits[used] * 1.8)
        tokens.append(int(np.argmax(logits)))
    assert found == tokens[len(prompt) :]
    assert found != alone(engine, prompt, max_new_tokens=12)


def test_the_slots_length_bounds_a_text_and_a_prompt(engine):
    nearly = Client(engine, [5] * 125)
    full = Client(engine, [5] * 128)
    engine.run()
    assert (len(nearly.ids), nearly.reason) == (3, "length")
    assert (full.ids, full.reason) == ([], "prompt_too_long")


@pytest.mark.parametrize(
    "settings",
    [{"slots": 0}, {"length": 1}, {"weights": "int4"}, {"cache": "x"}, {"kernels": "cuda"}],
)
def test_impossible_configurations_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        EngineConfig(**settings)


SHARDED = """
import sys
from opencoder_jax.sharding.mesh import MeshConfig, make_mesh
mesh = make_mesh(MeshConfig(fsdp=1, tensor=2, virtual_cpu_devices=2))
from opencoder_jax.decoding.engine import Engine, EngineConfig
from opencoder_jax.decoding.requests import Request
from opencoder_jax.decoding.sampling import SamplingSettings
from opencoder_jax.model.loading import load_model
model = load_model(sys.argv[1])
for weights in ("float32", "int8"):
    texts = []
    for where in (mesh, None):
        config = EngineConfig(slots=2, length=64, weights=weights, kernels="xla")
        engine = Engine(model, config, where)
        ids = []
        for prompt in ((1, 7, 8), tuple(range(1, 30)), (1, 9)):
            settings = SamplingSettings(max_new_tokens=16, ignore_eos=True)
            engine.submit(Request(prompt, settings), lambda event: ids.extend(event.ids))
        engine.run()
        texts.append(ids)
        if where:
            query_key_value = engine._weights.layers[0].query_key_value.values
            assert len({s.device for s in query_key_value.addressable_shards}) == 2
            assert query_key_value.addressable_shards[0].data.size * 2 == query_key_value.size
    assert len(texts[0]) == 48 and texts[0] == texts[1], texts
"""


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "sharded"
    make_model_directory(folder)
    return folder


@pytest.mark.slow
def test_shared_out_over_devices_it_writes_the_same(model_dir):
    done = subprocess.run(
        [sys.executable, "-c", SHARDED, str(model_dir)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_token_that_ends_a_text_is_told_with_its_log_probability(model, engine):
    ids = alone(engine, [5, 6, 7])
    ending = Engine(
        type(model)(**{**vars(model), "eos_ids": (ids[3],)}), EngineConfig(slots=1, length=128)
    )
    client = Client(ending, [5, 6, 7], ignore_eos=False, logprobs=1)
    ending.run()

    last = client.events[-1]
    assert (client.ids, last.ids, client.reason) == (ids[: ids.index(ids[3])], (), "eos")
    assert last.ending.token == ids[3]
    assert last.ending.top == {ids[3]: last.ending.logprob}
    assert all(event.ending is None for event in client.events[:-1])
