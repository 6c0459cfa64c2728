"""Memory and time of Hugging Face import and export: by blocks against the whole model.

    python -m benchmarks.conversion [--layers=24] [--shard-megabytes=100] [--folder=DIR]

Makes a Llama of random numbers (24 layers: 1.5 GB of float32), imports it and exports it
again, each in a process of its own: with the commands of this project, and in the plain way
(all parameters in memory; Orbax's `StandardSave`, safetensors' `save_file` a shard). Peak
memory is that of the process (`ru_maxrss`) beyond what it has after its imports.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

VOCAB_SIZE = 32_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--shard-megabytes", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--job", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        job, source, target = arguments.job
        _child(job, Path(source), Path(target), arguments.shard_megabytes * 10**6)
        return
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        _run(folder, arguments.layers, arguments.shard_megabytes)
    finally:
        shutil.rmtree(folder)


def _run(folder: Path, layers: int, megabytes: int) -> None:
    source = folder / "source"
    source.mkdir()
    numbers = _make(source, layers, megabytes * 10**6)
    print(f"{numbers:,} parameters, {numbers * 4 / 1e9:.2f} GB, shards of {megabytes} MB")
    jobs = {
        "import, by blocks": ("import", source, folder / "imported"),
        "import, whole": ("import_whole", source, folder / "imported_whole"),
        "export, by blocks": ("export", folder / "imported", folder / "exported"),
        "export of a whole chunk, by blocks": (
            "export",
            folder / "imported_whole",
            folder / "exported_again",
        ),
        "export, whole": ("export_whole", folder / "imported", folder / "exported_whole"),
    }
    for name, job in jobs.items():
        figures = _measure(job, megabytes)
        size = figures["bytes"] / 1e6
        print(
            f"{name:36s} {size:7.0f} MB, {size / megabytes:5.2f} shards, "
            f"{size * 1e6 / numbers / 4:5.2f} models, {figures['seconds']:6.1f} s",
            flush=True,
        )


def _measure(job: tuple[str, Path, Path], megabytes: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.conversion", "--job", *map(str, job)]
    done = subprocess.run(
        [*command, f"--shard-megabytes={megabytes}"],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def _make(folder: Path, layers: int, shard_bytes: int) -> int:
    """A folder with random weights and a tokenizer of the 256 bytes; how many numbers it has."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    from opencoder_jax.huggingface.llama import blocks, tensor_specs, to_llama_config
    from opencoder_jax.huggingface.tensors import TensorWriter
    from opencoder_jax.model.config import TransformerConfig

    config = TransformerConfig(
        vocab_size=VOCAB_SIZE,
        num_layers=layers,
        emb_dim=1024,
        num_heads=16,
        num_kv_heads=8,
        head_dim=64,
        mlp_dim=3072,
        rope_theta=10_000.0,
        max_length=2048,
    )
    generator = np.random.default_rng(0)
    with TensorWriter(
        folder, tensor_specs(config), dtype=np.dtype(np.float32), max_shard_bytes=shard_bytes
    ) as writer:
        for block in blocks(config):
            array = generator.standard_normal(block.shape, np.float32) * np.float32(0.02)
            writer.write(block.name, block.to_torch(array))
    (folder / "config.json").write_text(json.dumps(to_llama_config(config, dtype="float32")))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: i for i, character in enumerate(alphabet)}
    built = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    built.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": alphabet[0]}))
    return config.parameter_count()


def _child(job: str, source: Path, target: Path, shard_bytes: int) -> None:
    from opencoder_jax.export_hf import export_hf
    from opencoder_jax.import_hf import import_hf

    # JAX, Orbax and TensorStore take theirs when they are first used.
    _warm_up(target.with_name(f"{target.name}-warm-up"))
    begun, before = time.monotonic(), _peak()
    if job == "import":
        import_hf(str(source), str(target))
    elif job == "export":
        export_hf(str(source), str(target), max_shard_bytes=shard_bytes, verify=False)
    elif job == "import_whole":
        _import_whole(source, target)
    else:
        _export_whole(source, target, shard_bytes)
    seconds = time.monotonic() - begun
    print(json.dumps({"bytes": _peak() - before, "seconds": seconds}))


def _warm_up(folder: Path) -> None:
    import jax.numpy as jnp
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.absolute(), {"a": jnp.zeros(1000)})
        checkpointer.wait_until_finished()
        checkpointer.restore(folder.absolute())


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _import_whole(source: Path, target: Path) -> None:
    from opencoder_jax.formats.tokenizer import copy_tokenizer, open_tokenizer
    from opencoder_jax.huggingface.folder import HuggingFaceFolder
    from opencoder_jax.training.checkpoints import CheckpointMetadata, CheckpointWriter

    folder = HuggingFaceFolder(source)
    config = folder.read_config()
    params = folder.read_params(config)
    (target / "tokenizer").mkdir(parents=True)
    copy_tokenizer(source, target / "tokenizer")
    fingerprint = open_tokenizer(source).fingerprint
    metadata = CheckpointMetadata(0, {}, config.to_json(), fingerprint, {}, [])
    with CheckpointWriter(target) as writer:
        writer.save(params, None, metadata)


def _export_whole(source: Path, target: Path, shard_bytes: int) -> None:
    from safetensors.numpy import save_file

    from opencoder_jax.huggingface.llama import blocks
    from opencoder_jax.model.loading import load_model

    model = load_model(source)
    target.mkdir()
    shard: dict[str, np.ndarray] = {}
    count = filled = 0
    for block in blocks(model.config):
        array: object = model.params
        for key in block.path:
            array = array[key]  # type: ignore[index]
        tensor = np.ascontiguousarray(block.to_torch(np.asarray(array[block.index])))  # type: ignore[index]
        if shard and filled + tensor.nbytes > shard_bytes:
            save_file(shard, target / f"model-{count}.safetensors")
            shard, count, filled = {}, count + 1, 0
        shard[f"{block.name} {block.rows.start}"] = tensor
        filled += tensor.nbytes
    save_file(shard, target / f"model-{count}.safetensors")


if __name__ == "__main__":
    main()
