"""The real clients: their own environment, and a model that they and the server read."""

import dataclasses
import os
import subprocess
from pathlib import Path

import numpy as np

from opencoder_jax.formats.huggingface_tokenizer import HuggingFaceTokenizer
from opencoder_jax.huggingface.folder import write_folder
from tests.opencoder_jax.byte_level import VOCAB_SIZE, make_folder
from tests.opencoder_jax.model.small_models import GROUPED, params_of

ENVIRONMENT = Path(__file__).parents[3] / ".tools" / "clients"
PYTHON = ENVIRONMENT / "bin" / "python"
CONFIG = dataclasses.replace(GROUPED, vocab_size=VOCAB_SIZE, max_length=2048)


def make_huggingface_model(folder: Path) -> Path:
    """Random parameters, a byte-level tokenizer with a chat template."""
    tokenizer = HuggingFaceTokenizer(make_folder(folder.with_name("tokenizer")))
    params = params_of(CONFIG)

    def read(path, blocks):
        array = params
        for key in path:
            array = array[key]
        for block in blocks:
            yield np.asarray(array[block.index])

    folder.mkdir(parents=True)
    write_folder(folder, CONFIG, read, tokenizer, dtype="float32", max_shard_bytes=10**9)
    return folder


def run(arguments: list[str], folder: Path, **environment: str) -> str:
    """A client's command in `folder`, away from the hub; its output.

    Raises:
      AssertionError: it failed.
    """
    done = subprocess.run(
        [PYTHON, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        # Nothing of this project's: the clients are to work by themselves.
        env={
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "HF_HOME": str(folder / "hub"),
            "OPENAI_API_KEY": "sk-test",
            **environment,
        },
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done.stdout
