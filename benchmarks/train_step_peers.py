"""One peer's training step in its own Python: forward, backward, clipping, AdamW.

    PYTHON train_step_peers.py transformers|compiled|maxtext FOLDER float32|bfloat16

FOLDER is what `benchmarks.train_step` lays down: `model/` (a Hugging Face folder), `batch.npz`
and `settings.json`. Imports nothing of the project, so that it runs where the peer is
installed. It prints `{"loss": ...}` of its first step, then, for each line `N` on its input,
`{"seconds": [...]}` of N more steps on the same batch.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

THREADS = 2


def serve(step: Callable[[], float]) -> None:
    """`step` makes one step, waits for it, and returns its loss."""
    print(json.dumps({"loss": step()}), flush=True)
    step()  # The first after compiling may still settle.
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            started = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - started)
        print(json.dumps({"seconds": seconds}), flush=True)


def transformers(folder: Path, dtype: str, compiled: bool = False) -> None:
    """`LlamaForCausalLM` with SDPA, fused AdamW; bfloat16 by autocast over float32 weights."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(THREADS)
    settings = json.loads((folder / "settings.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(
        folder / "model", dtype=torch.float32, attn_implementation="sdpa"
    )
    model.train()
    batch = {key: torch.from_numpy(value) for key, value in np.load(folder / "batch.npz").items()}
    optimizer = _torch_adamw(model, settings["optimizer"])
    segments, positions = batch["decoder_segment_ids"], batch["decoder_positions"]
    same = segments[:, :, None] == segments[:, None, :]
    visible = same & (positions[:, :, None] >= positions[:, None, :])
    # Made once: a data loader could do so too.
    mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)
    targets = batch["decoder_target_tokens"].long().where(batch["decoder_loss_weights"] > 0, -100)
    tokens, positions = batch["decoder_input_tokens"].long(), positions.long()

    def forward() -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = model(
                input_ids=tokens,
                position_ids=positions,
                attention_mask=mask[:, None],
                use_cache=False,
            ).logits
        return torch.nn.functional.cross_entropy(
            logits.float().view(-1, logits.shape[-1]), targets.view(-1), ignore_index=-100
        )

    loss_of = torch.compile(forward) if compiled else forward

    def step() -> float:
        loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(
            model.parameters(), settings["optimizer"]["max_grad_norm"], foreach=True
        )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss)

    serve(step)


def _torch_adamw(model: Any, settings: dict[str, float]) -> Any:
    import torch

    matrices = [p for p in model.parameters() if p.ndim > 1]
    scales = [p for p in model.parameters() if p.ndim == 1]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings["weight_decay"]},
            {"params": scales, "weight_decay": 0.0},
        ],
        lr=settings["learning_rate"],
        betas=(settings["b1"], settings["b2"]),
        eps=settings["eps"],
        fused=True,
    )


def maxtext(folder: Path, dtype: str) -> None:
    """MaxText's own `train_step`, built as its `train_loop` builds it."""
    import jax
    import jax.numpy as jnp
    import maxtext
    from flax import nnx
    from flax.linen import logical_axis_rules
    from maxtext.trainers.pre_train import train
    from maxtext.utils import sharding, train_utils

    settings = json.loads((folder / "settings.json").read_text())
    dims, adamw = settings["model"], settings["optimizer"]
    arrays = np.load(folder / "batch.npz")
    rows, length = arrays["decoder_input_tokens"].shape
    options = {
        "run_name": "step",
        "base_output_directory": folder / "maxtext",
        "dataset_type": "synthetic",
        "enable_checkpointing": False,
        "enable_goodput_recording": False,
        "monitor_goodput": False,
        "skip_jax_distributed_system": True,
        "hardware": "cpu",
        "steps": 1000,
        "decoder_block": "llama2",
        "base_emb_dim": dims["emb_dim"],
        "base_mlp_dim": dims["mlp_dim"],
        "base_num_decoder_layers": dims["num_layers"],
        "base_num_query_heads": dims["num_heads"],
        "base_num_kv_heads": dims["num_kv_heads"],
        "head_dim": dims["head_dim"],
        "vocab_size": dims["vocab_size"],
        "max_target_length": length,
        "per_device_batch_size": rows,
        "rope_max_timescale": int(dims["rope_theta"]),
        "normalization_layer_epsilon": dims["rms_norm_eps"],
        "logits_via_embedding": dims["tie_embeddings"],
        "normalize_embedding_logits": False,
        "mlp_activations": '["silu","linear"]',
        "attention": "dot_product",
        "packing": True,
        "remat_policy": "none",
        "dtype": dtype,
        "weight_dtype": "float32",
        "logits_dot_in_fp32": False,
        "learning_rate": adamw["learning_rate"],
        "warmup_steps_fraction": 0.0,
        "learning_rate_final_fraction": 1.0,
        "gradient_clipping_threshold": adamw["max_grad_norm"],
        "adam_b1": adamw["b1"],
        "adam_b2": adamw["b2"],
        "adam_eps": adamw["eps"],
        "adam_weight_decay": adamw["weight_decay"],
        "matmul_precision": "default",
    }
    base = Path(maxtext.__file__).parent / "configs" / "base.yml"
    argv = ["train", str(base), *(f"{name}={value}" for name, value in options.items())]
    config, recorder = train.initialize(argv)
    _, _, shardings, _, mesh, _, _, _, _, evaluation, state = train_utils.setup_train_loop(
        config, recorder
    )
    graph, state = nnx.split(state)
    params_shardings, shardings = sharding.maybe_update_params_sharding_with_opt(config, shardings)
    train_step, _ = train_utils.jit_train_and_eval_step(
        config,
        graph,
        mesh,
        state,
        shardings,
        train.train_step,
        train.eval_step,
        evaluation,
        params_shardings,
    )
    _set_maxtext_params(state, folder / "model", dims)
    data = {
        "inputs": arrays["decoder_input_tokens"],
        "inputs_position": arrays["decoder_positions"],
        "inputs_segmentation": arrays["decoder_segment_ids"],
        "targets": arrays["decoder_target_tokens"],
        "targets_position": arrays["decoder_positions"],
        "targets_segmentation": arrays["decoder_loss_weights"],
    }
    placed = sharding.get_input_data_sharding(config, mesh)
    data = {name: jax.device_put(jnp.asarray(array), placed) for name, array in data.items()}

    def step() -> float:
        nonlocal state
        with jax.set_mesh(mesh), logical_axis_rules(config.logical_axis_rules):
            state, metrics = train_step(state, data)
        jax.block_until_ready(state)
        return float(metrics["scalar"]["learning/loss"])

    serve(step)


def _set_maxtext_params(state: Any, folder: Path, dims: dict[str, Any]) -> None:
    """Weights of a Hugging Face folder, in MaxText's names and axes."""
    import jax
    from safetensors.numpy import load_file

    tensors: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    heads, kv_heads, h = dims["num_heads"], dims["num_kv_heads"], dims["head_dim"]
    D = dims["emb_dim"]

    def layers(name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        stacked = [
            tensors[f"model.layers.{i}.{name}.weight"].T.reshape(shape or (-1,))
            if shape
            else tensors[f"model.layers.{i}.{name}.weight"].T
            for i in range(dims["num_layers"])
        ]
        return np.stack(stacked, axis=1)  # MaxText's scan axis.

    values = {
        "token_embedder.embedding": tensors["model.embed_tokens.weight"],
        "decoder.decoder_norm.scale": tensors["model.norm.weight"],
        "decoder.layers.pre_self_attention_layer_norm.scale": layers("input_layernorm"),
        "decoder.layers.post_self_attention_layer_norm.scale": layers("post_attention_layernorm"),
        # MaxText keeps the softmax's scale in the query's weights.
        "decoder.layers.self_attention.query.kernel": layers("self_attn.q_proj", (D, heads, h))
        * np.float32(h**-0.5),
        "decoder.layers.self_attention.key.kernel": layers("self_attn.k_proj", (D, kv_heads, h)),
        "decoder.layers.self_attention.value.kernel": layers("self_attn.v_proj", (D, kv_heads, h)),
        "decoder.layers.self_attention.out.kernel": layers("self_attn.o_proj", (heads, h, D)),
        "decoder.layers.mlp.wi_0.kernel": layers("mlp.gate_proj"),
        "decoder.layers.mlp.wi_1.kernel": layers("mlp.up_proj"),
        "decoder.layers.mlp.wo.kernel": layers("mlp.down_proj"),
    }
    if not dims["tie_embeddings"]:
        values["decoder.logits_dense.kernel"] = tensors["lm_head.weight"].T
    flat = {".".join(map(str, path)): leaf for path, leaf in state.model.flat_state()}
    learned = {name for name in flat if name.endswith((".kernel", ".scale", ".embedding"))}
    if learned != set(values):
        raise SystemExit(f"parameters of MaxText that are not ours: {learned ^ set(values)}")
    for name, value in values.items():
        old = flat[name].get_value()
        if old.shape != value.shape:
            raise SystemExit(f"{name}: {old.shape} in MaxText, {value.shape} here")
        flat[name].set_value(jax.device_put(np.ascontiguousarray(value), old.sharding))


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    os.environ["JAX_PLATFORMS"] = "cpu"
    peer, folder, dtype = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    if peer == "maxtext":
        maxtext(folder, dtype)
    else:
        transformers(folder, dtype, compiled=peer == "compiled")
