"""Prompts are computed between the steps of running texts, whole or not, shared or cancelled."""

import dataclasses
import random

import pytest

from opencoder_jax.decoding import native
from opencoder_jax.decoding.engine import PROMPT_TOKENS, Engine, EngineConfig
from tests.opencoder_jax.decoding.test_engine import KERNELS, Client, alone
from tests.opencoder_jax.model.small_models import make_model_directory

LONG = [1, *((7 * place) % 600 + 3 for place in range(700))]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    loaded = make_model_directory(tmp_path_factory.mktemp("models") / "model")
    # The positions are rotations: the parameters are those of any length.
    longer = dataclasses.replace(loaded.config, max_length=1024)
    return type(loaded)(**{**vars(loaded), "config": longer})


@pytest.fixture(scope="module", params=KERNELS)
def kernels(request):
    return request.param


@pytest.fixture(scope="module")
def engine(model, kernels):
    return Engine(model, EngineConfig(slots=4, length=1024, kernels=kernels))


def forget(engine):
    """No slot holds any of the tests' prompts any more."""
    for token in range(engine.slots):
        Client(engine, [600 + token] * 20, max_new_tokens=1)
    engine.run()


def test_running_texts_wait_for_a_part_of_a_long_prompt_only(engine, computed):
    expected = [alone(engine, [1, 5 + number], max_new_tokens=30) for number in range(2)]
    long_text = alone(engine, LONG)
    forget(engine)
    running = [Client(engine, [1, 5 + number], max_new_tokens=30) for number in range(2)]
    for _ in range(3):
        engine.step()
    computed.clear()
    arrived = Client(engine, LONG)
    other = Client(engine, LONG[::-1])
    steps = []
    while not (arrived.events and other.events):
        before = sum(computed), [len(client.ids) for client in running]
        engine.step()
        steps.append(sum(computed) - before[0])
        after = [len(client.ids) for client in running]
        assert all(one == two + 1 for one, two in zip(after, before[1], strict=True))
    engine.run()
    assert sum(computed) == 2 * (len(LONG) - 1)
    assert max(steps) <= PROMPT_TOKENS
    # The budget is used: with two in line, no step leaves half of it.
    assert all(spent > PROMPT_TOKENS // 2 for spent in steps[:4])
    assert [client.ids for client in running] == expected
    assert arrived.ids == long_text


def test_prompts_are_computed_first_come_first_served(engine):
    long, short = Client(engine, LONG), Client(engine, [1, 2, 3])
    while not long.events:
        assert not short.events
        engine.step()
    engine.run()
    assert short.reason == long.reason == "length"


def test_a_cancelled_prompt_frees_its_slot_and_leaves_what_was_computed(engine, kernels, computed):
    expected = alone(engine, LONG)
    forget(engine)
    computed.clear()
    client = Client(engine, LONG)
    engine.step()
    assert engine.counts() == (1, 0)
    engine.cancel(client.identity)
    assert client.reason == "cancelled"
    assert engine.counts() == (0, 0)
    begun = sum(computed)
    assert 0 < begun < len(LONG) - 1
    engine.step()
    assert sum(computed) == begun
    assert alone(engine, LONG) == expected
    again = len(LONG) - 1 - (begun if kernels == "native" else 0)
    assert sum(computed) == begun + again


def test_samples_of_a_long_prompt_compute_it_once(engine, computed):
    expected = [alone(engine, LONG, number=n, temperature=1.0) for n in range(3)]
    forget(engine)
    computed.clear()
    clients = [Client(engine, LONG, number=n, temperature=1.0) for n in range(3)]
    for _ in range(2):
        engine.step()
    assert engine.counts() == (3, 0)
    engine.run()
    assert sum(computed) == len(LONG) - 1
    assert [client.ids for client in clients] == expected


def test_samples_go_on_where_one_that_was_cancelled_left_their_prompt(engine, kernels, computed):
    expected = [alone(engine, LONG, number=n, temperature=1.0) for n in range(3)]
    forget(engine)
    computed.clear()
    clients = [Client(engine, LONG, number=n, temperature=1.0) for n in range(3)]
    engine.step()
    begun = sum(computed)
    engine.cancel(clients[0].identity)
    engine.run()
    assert [client.ids for client in clients[1:]] == expected[1:]
    whole = len(LONG) - 1
    assert sum(computed) == (whole if kernels == "native" else begun + whole)


@pytest.mark.skipif(not native.available(), reason="no compiler")
def test_prompts_that_begin_alike_compute_their_beginning_once(model, computed):
    engine = Engine(model, EngineConfig(slots=4, length=1024))
    common = LONG[:300]
    prompts = [[*common, *range(10, 70)], [*common, *range(200, 240)]]
    clients = [Client(engine, prompt) for prompt in prompts]
    engine.run()
    assert sum(computed) == len(prompts[0]) - 1 + len(prompts[1]) - 1 - len(common)
    for client, prompt in zip(clients, prompts, strict=True):
        fresh = Engine(model, EngineConfig(slots=4, length=1024))
        assert client.ids == alone(fresh, prompt)


def test_a_long_prompts_scores_are_the_same_beside_a_running_text(engine, computed):
    def scores(client):
        (found,) = [e.prompt_logprobs for e in client.events if e.prompt_logprobs is not None]
        return found

    first = Client(engine, LONG, score_prompt=True, logprobs=2, max_new_tokens=2)
    engine.run()
    beside = Client(engine, [1, 9], max_new_tokens=40)
    engine.step()
    second = Client(engine, LONG, score_prompt=True, logprobs=2, max_new_tokens=2)
    computed.clear()
    while not second.events:
        before = sum(computed)
        engine.step()
        assert sum(computed) - before <= PROMPT_TOKENS
    engine.run()
    assert len(beside.ids) == 40
    assert [one.token for one in scores(first)] == LONG
    assert scores(second) == scores(first)


@pytest.mark.parametrize("seed", range(3))
def test_whoever_comes_and_leaves_the_others_have_their_texts(engine, seed):
    draw = random.Random(seed)
    stems = [LONG[: draw.randint(1, 700)] for _ in range(3)]
    prompts = [
        [*draw.choice(stems), *(draw.randint(3, 600) for _ in range(draw.randint(0, 40)))]
        for _ in range(8)
    ]
    expected = [alone(engine, prompt, max_new_tokens=6) for prompt in prompts]
    forget(engine)
    clients, cancelled = [], set()
    while len(clients) < 24 or engine.counts() != (0, 0):
        if len(clients) < 24 and draw.random() < 0.6:
            clients.append(Client(engine, prompts[len(clients) % 8], max_new_tokens=6))
        if clients and draw.random() < 0.3:
            one = draw.randrange(len(clients))
            engine.cancel(clients[one].identity)
            cancelled |= {one} if clients[one].reason == "cancelled" else set()
        engine.step()
    engine.run()
    assert 0 < len(cancelled) < len(clients)
    for number, client in enumerate(clients):
        if number not in cancelled:
            assert (client.ids, client.reason) == (expected[number % 8], "length")
        assert sum(event.finish_reason is not None for event in client.events) == 1
