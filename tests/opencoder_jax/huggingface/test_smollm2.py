"""A real pretrained model, all the way: import, the same text and scores, SFT, export, the same.

Where torch and transformers are installed they are what it is held against.
"""

import json
import math
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from opencoder_jax.data.packed_set import heldout_sequences
from opencoder_jax.decoding.generation import generate
from opencoder_jax.decoding.sampling import SamplingSettings
from opencoder_jax.evaluation.perplexity import score_documents
from opencoder_jax.formats.chat import encode_prompt
from opencoder_jax.formats.conversation import Conversation
from opencoder_jax.formats.manifest import read_manifest
from opencoder_jax.formats.tokenizer import TOKENIZER_FILES, open_tokenizer
from opencoder_jax.huggingface.folder import by_parameter
from opencoder_jax.huggingface.gguf_file import GgufFile
from opencoder_jax.huggingface.gguf_tokenizer import write_tokenizer
from opencoder_jax.huggingface.verification import transformers_is_installed
from opencoder_jax.model.loading import load_model
from opencoder_jax.model.transformer import logits
from tests.opencoder_jax.huggingface import smollm2
from tests.packed_example import document, write_conversations, write_corpus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[3]
TEXTS = ("def fibonacci(n):\n", "The capital of France is", "import os\n\n\nclass")
QUESTIONS = ("What is the capital of France?", "Write a haiku about <|im_end|> tokens.")
NEW_TOKENS = 20


def run(module: str, *arguments: str) -> None:
    """One of the project's commands, as a user runs it."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def transformers_model(folder):
    import torch
    import transformers

    torch.set_num_threads(2)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def prompts_of(model):
    """Ids of base prompts and of questions in the chat template."""
    questions = [encode_prompt([("user", question)], model.tokenizer) for question in QUESTIONS]
    return [*(model.prompt_ids(text) for text in TEXTS), *questions]


def check_transformers_agrees(folder, model):
    """The same ids, logits within float32 rounding, the same greedy text."""
    import torch

    theirs, tokenizer = transformers_model(folder)
    prompts = prompts_of(model)
    assert prompts[: len(TEXTS)] == [tokenizer(text)["input_ids"] for text in TEXTS]
    chat = [{"role": "user", "content": QUESTIONS[0]}]
    assert prompts[len(TEXTS)] == tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_dict=False
    )
    ours = generate(model, prompts, SamplingSettings(max_new_tokens=NEW_TOKENS))
    config = model.config.replace(dtype="float32")
    for prompt, generation in zip(prompts, ours, strict=True):
        tokens = np.array([prompt])
        with torch.no_grad():
            expected = theirs(torch.from_numpy(tokens)).logits.numpy()
            continued = theirs.generate(
                torch.from_numpy(tokens), max_new_tokens=NEW_TOKENS, do_sample=False
            )
        places = np.arange(len(prompt))[None]
        found = np.asarray(logits(config, model.params, tokens, np.ones_like(tokens), places))
        # Logits reach 30: a part in 10^5 of that, where float32 resolves one in 10^7.
        assert np.abs(found - expected).max() < 3e-4
        added = continued[0, len(prompt) :].tolist()
        assert [i for i in added if i not in model.eos_ids] == list(generation.ids)


@pytest.fixture(scope="module")
def folder():
    return smollm2.folder()


@pytest.fixture(scope="module")
def imported(folder, tmp_path_factory):
    target = tmp_path_factory.mktemp("smollm2") / "imported"
    run(
        "opencoder_jax.import_hf",
        f"--gin.INPUT_DIR={folder}",
        f"--gin.MODEL_DIR={target}",
        "--gin.import_hf.dtype=float32",
    )
    return target


WITHOUT_NUMBERS = (
    "def area(width, height):\n    if not width:\n\t\treturn None\r\n    return width * height\n",
    "你好，世界。漢字を書く。\u3000全角　スペース",
    "naïve e\u0301 \U0001f600 \U0001f469\u200d\U0001f469\u200d\U0001f467 ",
    "  \t \n\n\n   \u00a0x\n \x00\x07 ",
    "it's we'LL <|im_end|> and <repo_name>!?...///",
)


def test_the_file_is_read_as_transformers_reads_it(tmp_path):
    """Every number in float32; ids wherever transformers minds how the file splits texts."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    path = smollm2.gguf_file()
    # `from_pretrained(gguf_file=)` does the same, and asks for another package to do it.
    values = load_gguf_checkpoint(str(path), return_tensors=False)["config"]
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**values))
    loaded = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)["tensors"]
    source = GgufFile(path)
    config = source.read_config("float32")
    source.check(config)
    read = source.parameters(config)
    names = set()
    for parameter, blocks in by_parameter(config):
        for block, array in zip(blocks, read(parameter, blocks), strict=True):
            theirs = loaded[block.name][block.rows].numpy()
            np.testing.assert_array_equal(block.to_torch(array), theirs, block.name)
            names.add(block.name)
    assert names == loaded.keys()

    write_tokenizer(tmp_path, source)
    ours = open_tokenizer(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for text in WITHOUT_NUMBERS:
        ids = ours.encode(text)
        assert ids == theirs(text, split_special_tokens=True)["input_ids"], text
        assert ours.decode(ids) == text
    # What `smollm` says and transformers leaves out: a digit is a word, and so are the spaces
    # before it. It is how the released tokenizer.json and llama.cpp have it.
    ids = ours.encode("x = [1,\n    23]")
    assert [ours.piece(i) for i in ids] == ["x", "Ġ=", "Ġ[", "1", ",", "ĊĠĠĠĠ", "2", "3", "]"]


def test_the_imported_model_is_transformers(folder, imported):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    check_transformers_agrees(folder, load_model(imported))


def test_it_answers_in_its_chat_template(folder):
    """Without anything to hold it against: a model whose rows are out of order babbles."""
    model = load_model(folder)
    prompt = encode_prompt([("user", QUESTIONS[0])], model.tokenizer)
    (answer,) = generate(model, [prompt], SamplingSettings(max_new_tokens=NEW_TOKENS))
    assert "Paris" in answer.text


def conversations():
    """Real questions and answers: functions of the standard library and their docstrings."""
    names = ("textwrap", "shutil", "json", "bisect")
    folder = Path(sysconfig.get_path("stdlib"))
    program = (
        "import importlib, inspect, json\n"
        f"for name in {names}:\n"
        "    module = importlib.import_module(name)\n"
        "    for key, value in sorted(vars(module).items()):\n"
        "        if inspect.isfunction(value) and value.__doc__ and len(value.__doc__) < 400:\n"
        "            print(json.dumps([name, key, inspect.getdoc(value)]))\n"
    )
    lines = subprocess.check_output([sys.executable, "-c", program], cwd=folder, text=True)
    for number, line in enumerate(lines.splitlines()):
        module, name, doc = json.loads(line)
        turns = (("user", f"What does `{module}.{name}` do?"), ("assistant", doc))
        yield Conversation(f"{number:032x}", turns, "python", f"stdlib/{module}", "docstring")


def test_it_is_tuned_with_our_phases_and_exported_again(folder, imported, tmp_path):
    source = write_conversations(tmp_path / "set", conversations())
    sequence_length = 256
    run(
        "beam_pipelines.pack",
        "--gin_file=pack/smollm2_sft.gin",
        f"--gin.INPUT_DIR={source}",
        f"--gin.TOKENIZER_DIR={imported / 'tokenizer'}",
        f"--gin.OUTPUT_DIR={tmp_path / 'packed' / 'sft_stage1'}",
        f"--gin.SEQUENCE_LENGTH={sequence_length}",
        "--gin.HELDOUT_FRACTION=0.0",
    )
    run(
        "opencoder_jax.train",
        "--gin_file=sft/smollm2_135m.gin",
        f"--gin_file={imported / 'model.gin'}",
        f"--gin.INITIAL_CHECKPOINT_PATH={imported}",
        f"--gin.PACKED_DIR={tmp_path / 'packed'}",
        f"--gin.TOKENIZER_DIR={imported / 'tokenizer'}",
        f"--gin.MODEL_DIR={tmp_path / 'sft'}",
        f"--gin.TASK_FEATURE_LENGTHS={{'targets': {sequence_length}}}",
        "--gin.BATCH_SIZE=2",
        "--gin.TRAIN_STEPS=4",
        "--gin.schedules.WarmupCosine.warmup_steps=1",
    )
    losses = [
        json.loads(line)["loss_per_nonpadding_target_token"]
        for line in (tmp_path / "sft/train/metrics.jsonl").read_text().splitlines()
    ]
    # A pretrained model on plain English: far below the 10.8 of a fresh one from the start.
    assert len(losses) == 4
    assert losses[0] < 4
    assert losses[-1] < losses[0]
    run(
        "opencoder_jax.export_hf",
        f"--gin.MODEL_DIR={tmp_path / 'sft'}",
        f"--gin.OUTPUT_DIR={tmp_path / 'export'}",
        "--gin.export_hf.max_shard_bytes=200_000_000",
    )

    tuned = load_model(tmp_path / "sft")
    assert read_manifest(tmp_path / "sft")["files"].keys() >= {"tokenizer/tokenizer.json"}
    for name in TOKENIZER_FILES:
        if (folder / name).exists():
            assert (tmp_path / "export" / name).read_bytes() == (folder / name).read_bytes(), name
    exported = load_model(tmp_path / "export")
    prompts = prompts_of(tuned)
    assert prompts_of(exported) == prompts
    settings = SamplingSettings(max_new_tokens=NEW_TOKENS)
    assert generate(exported, prompts, settings) == generate(tuned, prompts, settings)
    if transformers_is_installed():
        check_transformers_agrees(tmp_path / "export", tuned)
    before = load_model(imported)
    assert (
        np.abs(
            np.asarray(before.params["final_norm"]["scale"])
            - np.asarray(tuned.params["final_norm"]["scale"])
        ).max()
        > 0
    )


SNIPPETS = (
    "def area(width, height):\n    return width * height\n",
    "# é 漢字 😀 and <|im_end|> in a comment\nprint('naïve')\n",
    "class Stack:\n    def __init__(self):\n        self.items = []\n",
    "The quick brown fox jumps over the lazy dog.\n",
    "int main(void) { return 0; }\n",
)


def transformers_nats(folder, texts, *, after_bos):
    """Of each text: summed negative log likelihood of its tokens and its end, and how many."""
    import torch

    model, tokenizer = transformers_model(folder)
    for text in texts:
        inside = tokenizer(text, split_special_tokens=True)["input_ids"]
        begin = [tokenizer.bos_token_id] if after_bos else []
        ids = torch.tensor([[*begin, *inside, tokenizer.eos_token_id]])
        with torch.no_grad():
            log_likelihood = torch.log_softmax(model(ids).logits[0, :-1], dim=-1)
        chosen = log_likelihood.gather(1, ids[0, 1:, None]).double()
        yield -float(chosen.sum()), ids.shape[1] - 1


def test_it_is_evaluated_with_its_own_tokenizer_as_transformers_scores_it(
    folder, imported, tmp_path
):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    documents = [document(f"repo{i}", f"{i}.py", text) for i, text in enumerate(SNIPPETS)]
    run(
        "beam_pipelines.pack",
        "--gin_file=pack/demo.gin",
        f"--gin.INPUT_DIR={write_corpus(tmp_path / 'corpus', documents)}",
        f"--gin.TOKENIZER_DIR={imported / 'tokenizer'}",
        f"--gin.OUTPUT_DIR={tmp_path / 'packed' / 'refinecode'}",
        "--gin.SEQUENCE_LENGTH=64",
        "--gin.NUM_SHARDS=1",
        "--gin.HELDOUT_FRACTION=0.7",
    )
    heldout = [
        i for s in heldout_sequences(tmp_path / "packed", "refinecode") for i in s.document_ids
    ]
    scored = [d for d in documents if d.id in heldout]
    assert len(scored) == len(heldout) > 1
    run(
        "opencoder_jax.evaluate",
        "--gin_file=evaluate/bits_per_byte.gin",
        f"--gin.MODEL_DIR={imported}",
        f"--gin.PACKED_DIR={tmp_path / 'packed'}",
        f"--gin.evaluate.output_dir={tmp_path / 'evaluation'}",
    )
    results = json.loads((tmp_path / "evaluation/bits_per_byte/results.json").read_text())
    total = results["sets"]["refinecode"]["total"]
    texts = [d.text for d in scored]
    theirs = list(transformers_nats(folder, texts, after_bos=True))
    assert total["tokens"] == sum(tokens for _, tokens in theirs)
    assert total["bytes"] == sum(len(d.text.encode()) for d in scored)
    assert total["nats"] == pytest.approx(sum(nats for nats, _ in theirs), rel=1e-4)
    # And one by one, where a text begins as this tokenizer begins it by itself: with no token.
    theirs = transformers_nats(folder, texts, after_bos=False)
    alone = score_documents(load_model(imported), scored, batch_size=2)
    for score, (nats, tokens) in zip(alone, theirs, strict=True):
        assert score.tokens == tokens
        assert score.perplexity == pytest.approx(math.exp(nats / tokens), rel=1e-3)
