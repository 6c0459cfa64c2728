"""What honest clients get: the engine's own texts, streamed or whole, with their numbers."""

import json

import jax
import numpy as np
import pytest

from opencoder_jax.decoding.generation import generate
from opencoder_jax.decoding.sampling import SamplingSettings
from opencoder_jax.formats.chat import encode_prompt
from opencoder_jax.formats.infilling import infill_ids
from opencoder_jax.model import transformer

PROMPTS = ["def f(x):\n    return", "import os", "é漢😀 = 1\nprint("]
TOKENS = 20


@pytest.fixture(scope="module")
def alone(model):
    """Each prompt's greedy text, from an engine of its own."""
    settings = SamplingSettings(max_new_tokens=TOKENS, logprobs=0)
    return [generate(model, [model.prompt_ids(text)], settings)[0] for text in PROMPTS]


def events(answer) -> list[dict]:
    """What a stream sent; it ends as OpenAI's do."""
    parts = [line for line in answer.iter_lines() if line and not line.startswith(":")]
    assert all(part.startswith("data: ") for part in parts)
    assert parts[-1] == "data: [DONE]"
    return [json.loads(part.removeprefix("data: ")) for part in parts[:-1]]


def streamed(server, path="/v1/completions", **body) -> list[dict]:
    body = {"temperature": 0, "stream": True, **body}
    with server.client.stream("POST", path, json=body) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        return events(answer)


def test_texts_are_the_engines_own_whole_and_streamed(server, alone):
    whole = server.complete(prompt=PROMPTS, max_tokens=TOKENS)
    parts = streamed(server, prompt=PROMPTS, max_tokens=TOKENS)

    expected = [generation.text for generation in alone]
    assert [choice["text"] for choice in whole["choices"]] == expected
    joined = [""] * len(PROMPTS)
    for part in parts:
        (choice,) = part["choices"]
        joined[choice["index"]] += choice["text"]
    assert joined == expected
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    assert {choice["finish_reason"] for choice in whole["choices"]} <= {"length", "stop"}
    assert len({part["id"] for part in parts}) == 1


def test_a_line_end_of_unicode_cuts_no_event(server):
    """`iter_lines` cuts at every line end that Python knows."""
    prompt = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\r\nh"
    parts = streamed(server, prompt=prompt, echo=True, max_tokens=2)
    assert "".join(part["choices"][0]["text"] for part in parts).startswith(prompt)


def test_usage_counts_tokens(server, model, alone):
    usage = server.complete(prompt=PROMPTS, max_tokens=TOKENS)["usage"]
    parts = streamed(
        server, prompt=PROMPTS, max_tokens=TOKENS, stream_options={"include_usage": True}
    )

    prompt = sum(len(model.prompt_ids(text)) for text in PROMPTS)
    completion = sum(len(one.ids) + (one.finish_reason == "eos") for one in alone)
    expected = {"prompt_tokens": prompt, "completion_tokens": completion}
    assert usage == {**expected, "total_tokens": prompt + completion}
    assert parts[-1]["usage"] == usage
    assert parts[-1]["choices"] == []
    assert {part["usage"] for part in parts[:-1]} == {None}


@pytest.mark.parametrize("as_ids", [False, True])
def test_echo_gives_the_models_own_log_probabilities_of_the_prompt(server, model, as_ids):
    text = PROMPTS[2]
    ids = model.prompt_ids(text)

    answer = server.complete(prompt=ids if as_ids else text, echo=True, logprobs=3, max_tokens=1)[
        "choices"
    ][0]
    nothing_more = server.complete(
        prompt=ids if as_ids else text, echo=True, logprobs=3, max_tokens=0
    )["choices"][0]

    logits = jax.jit(transformer.logits, static_argnums=0)(
        model.config,
        model.params,
        np.asarray([ids]),
        np.ones((1, len(ids)), np.int32),
        np.arange(len(ids))[None],
    )
    expected = np.asarray(jax.nn.log_softmax(logits[0, :-1]))
    found = answer["logprobs"]["token_logprobs"]
    assert found[0] is None
    np.testing.assert_allclose(
        found[1 : len(ids)], expected[np.arange(len(ids) - 1), ids[1:]], atol=1e-4
    )
    tops = answer["logprobs"]["top_logprobs"][1 : len(ids)]
    np.testing.assert_allclose([max(top.values()) for top in tops], expected.max(-1), atol=1e-4)
    # With the token itself, that of the log-probability beside it, to the last bit.
    assert all(value in top.values() for value, top in zip(found[1:], tops, strict=False))
    assert nothing_more["text"] == text
    assert nothing_more["logprobs"]["token_logprobs"] == found[: len(ids)]


def test_places_of_tokens_are_those_of_their_characters(server, model, alone):
    for prompt, generation in zip(PROMPTS, alone, strict=True):
        choice = server.complete(prompt=prompt, echo=True, logprobs=0, max_tokens=TOKENS)[
            "choices"
        ][0]
        logprobs, text = choice["logprobs"], choice["text"]

        assert text == prompt + generation.text
        ids = [*model.prompt_ids(prompt), *generation.ids]
        places = logprobs["text_offset"]
        assert len(places) >= len(ids)
        for number, (place, name) in enumerate(zip(places, logprobs["tokens"], strict=True)):
            before = model.tokenizer.decode(ids[:number]).rstrip("\ufffd")
            if name.startswith("bytes:"):
                assert place <= len(text)
            elif number < len(ids) and model.tokenizer.decode([ids[number]]):
                assert text[place:].startswith(name)
                assert place >= len(before)


def test_streamed_log_probabilities_are_those_of_the_whole_answer(server):
    body = {"prompt": PROMPTS[2], "max_tokens": TOKENS, "logprobs": 2, "echo": True}

    whole = server.complete(**body)["choices"][0]["logprobs"]
    parts = [part["choices"][0]["logprobs"] for part in streamed(server, **body)]

    assert {key: [one for part in parts for one in part[key]] for key in whole} == whole


def test_a_stop_text_ends_a_text_before_it_with_its_tokens(server, alone):
    text = alone[0].text
    stop = text[5:8]
    choice = server.complete(
        prompt=PROMPTS[0], max_tokens=TOKENS, stop=["never", stop], logprobs=0
    )["choices"][0]

    assert choice["text"] == text[: text.index(stop)]
    assert choice["finish_reason"] == "stop"
    assert all(place < len(choice["text"]) for place in choice["logprobs"]["text_offset"])


def test_seeds_repeat_and_texts_of_one_prompt_differ(server):
    body = {"prompt": PROMPTS[0], "max_tokens": TOKENS, "temperature": 1, "n": 3}

    first, again, other = (server.complete(**body, seed=seed)["choices"] for seed in (1, 1, 2))

    assert first == again
    assert len({choice["text"] for choice in first}) == 3
    assert {choice["text"] for choice in other}.isdisjoint(choice["text"] for choice in first)
    unseeded = [server.complete(**body)["choices"] for _ in range(2)]
    assert unseeded[0] != unseeded[1]


def test_the_best_of_several_is_the_likeliest(server):
    body = {"prompt": PROMPTS[0], "max_tokens": 8, "temperature": 1, "seed": 3, "logprobs": 0}

    def mean(choice: dict) -> float:
        values = choice["logprobs"]["token_logprobs"]
        return sum(values) / len(values)

    every = server.complete(**body, n=6)["choices"]
    best = server.complete(**body, n=2, best_of=6)

    ranked = sorted(every, key=mean, reverse=True)
    assert [choice["text"] for choice in best["choices"]] == [one["text"] for one in ranked[:2]]
    assert best["usage"]["completion_tokens"] > 2 * 8 - 2


def test_a_chat_is_laid_out_as_in_training(server, model):
    turns = [("system", "Be brief."), ("user", "What is 2+2?")]
    settings = SamplingSettings(max_new_tokens=TOKENS, logprobs=2)
    expected = generate(model, [encode_prompt(turns, model.tokenizer)], settings)[0]
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "2+2?"}]
    body = {
        "model": "tiny",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": parts, "name": "eve"},
        ],
        "max_completion_tokens": TOKENS,
        "logprobs": True,
        "top_logprobs": 2,
        "temperature": 0,
    }

    answer = server.client.post("/v1/chat/completions", json=body).json()
    deltas = streamed(server, "/v1/chat/completions", **body)

    choice = answer["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": expected.text, "refusal": None}
    content = choice["logprobs"]["content"]
    np.testing.assert_allclose(
        [entry["logprob"] for entry in content],
        [one.logprob for one in expected.logprobs],
        atol=1e-4,
    )
    assert all(len(entry["top_logprobs"]) == 2 for entry in content)
    joined = bytes(byte for entry in content for byte in entry["bytes"])
    # A special token is told of, and gives no text.
    assert joined.decode(errors="replace").replace("<unk>", "") == expected.text
    assert deltas[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(part["choices"][0]["delta"].get("content", "") for part in deltas)
    assert text == expected.text
    assert deltas[-1]["choices"][0]["finish_reason"] == choice["finish_reason"]


def test_the_model_is_listed_and_its_state_told(server):
    listed = server.client.get("/v1/models").json()["data"]
    assert [model["id"] for model in listed] == ["tiny"]
    assert server.client.get("/v1/models/tiny").json() == listed[0]
    assert server.client.get("/health").json()["status"] == "ok"
    before = server.metric("opencoder_generated_tokens_total")
    server.complete(prompt="x", max_tokens=5, ignore_eos=True)
    assert server.metric("opencoder_generated_tokens_total") == before + 5
    assert server.metric("opencoder_slots") == 4
    assert server.first_line.strip() == (
        f"{server.url} serves tiny without API key: 4 slots of 192 tokens, 8 may wait; "
        "Ctrl-C ends it"
    )


def test_a_gap_is_filled_between_prompt_and_suffix(server, model):
    ids = infill_ids("def f(x):\n    ", "\n    return y", model.tokenizer)
    settings = SamplingSettings(max_new_tokens=TOKENS)
    expected = generate(model, [ids], settings)[0].text

    answer = server.complete(prompt="def f(x):\n    ", suffix="\n    return y", max_tokens=TOKENS)

    assert answer["choices"][0]["text"] == expected
    assert answer["usage"]["prompt_tokens"] == len(ids)
