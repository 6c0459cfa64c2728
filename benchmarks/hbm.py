"""Memory of a chip in a training step beside MaxText's: both compiled for TPUs, like for like.

    python -m benchmarks.hbm --maxtext_python=PYTHON [--cells=1b5:v5e-256,...] [--results=FILE]

PYTHON is one of a virtual environment of its own with what benchmarks/maxtext_requirements.txt
names. Each cell compiles the same model (OpenCoder's published dimensions), chips, mesh, batch
and full rematerialisation with our `opencoder_jax.precompile` and with MaxText's own
`train_compile`: float32 parameters and AdamW moments, bfloat16 compute, layers scanned,
splash attention, no gradient accumulation. Both are compiled by MaxText's libtpu, so that no
difference is the compiler's. Finished cells in FILE are not compiled again. The last line is
the largest ratio; `docs/precompile.md` has figures.
"""

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opencoder_jax.errors import InputError

GIB = 1 << 30


@dataclasses.dataclass(frozen=True)
class Cell:
    """One comparison: a gin file, chips, a mesh and the sequences a chip has at a time."""

    gin_file: str
    data: int
    fsdp: int
    sequences: int
    sequence_length: int = 4096


CELLS = {
    "1b5:v5e-256": Cell("pretrain/opencoder_1b5.gin", data=16, fsdp=16, sequences=4),
    "1b5:v5p-128": Cell("pretrain/opencoder_1b5.gin", data=4, fsdp=16, sequences=4),
    "8b:v5e-256": Cell("pretrain/opencoder_8b_4k.gin", data=1, fsdp=256, sequences=2),
    "8b:v5p-128": Cell("pretrain/opencoder_8b_4k.gin", data=1, fsdp=64, sequences=4),
}
# MaxText's names for the dimensions in gin_configs/models/.
MAXTEXT_MODELS = {
    "1b5": {
        "base_emb_dim": 2240,
        "base_mlp_dim": 6144,
        "base_num_decoder_layers": 24,
        "base_num_query_heads": 14,
        "base_num_kv_heads": 14,
        "head_dim": 160,
        "rope_max_timescale": 10_000,
    },
    "8b": {
        "base_emb_dim": 4096,
        "base_mlp_dim": 14336,
        "base_num_decoder_layers": 32,
        "base_num_query_heads": 32,
        "base_num_kv_heads": 8,
        "head_dim": 128,
        "rope_max_timescale": 500_000,
    },
}
KINDS = ("arguments", "temporaries", "output", "program")


def hbm(
    maxtext_python: str,
    cells: list[str],
    results: Path,
    maxtext_settings: list[str],
    settings: list[str],
) -> None:
    """Prints the table and the largest ratio; see the module."""
    unknown = sorted(set(cells) - set(CELLS))
    if unknown:
        raise InputError(f"unknown cells {unknown}; there are {', '.join(CELLS)}")
    library = _maxtext_library(maxtext_python)
    done: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {}
    for name in cells:
        if name not in done:
            done[name] = {
                "maxtext": _maxtext(maxtext_python, name, maxtext_settings),
                "ours": _ours(name, library, settings),
            }
            results.write_text(json.dumps(done, indent=1) + "\n")
        _print_cell(name, done[name])
    ratios = [_ratio(done[name]) for name in cells]
    known = [ratio for ratio in ratios if ratio is not None]
    if known:
        print(f"hbm: at most {max(known):.2f} of MaxText's peak ({len(known)} cells)")


def _print_cell(name: str, cell: Mapping[str, Any]) -> None:
    ratio = _ratio(cell)
    print(f"{name}: {CELLS[name]}" + (f"  ratio {ratio:.2f}" if ratio else ""))
    for side in ("ours", "maxtext"):
        measured = cell[side]
        if "message" in measured:
            print(f"  {side:<8} does not fit: {measured['message']}")
            continue
        kinds = "  ".join(f"{kind} {measured[kind] / GIB:.2f}" for kind in KINDS)
        print(
            f"  {side:<8} peak {measured['peak'] / GIB:.2f} GiB: {kinds}"
            f"  (compiled in {measured['seconds']:.0f} s)"
        )


def _ratio(cell: Mapping[str, Any]) -> float | None:
    """Our peak over MaxText's; None where one of them does not fit."""
    peaks = [cell[side].get("peak") for side in ("ours", "maxtext")]
    return None if None in peaks else peaks[0] / peaks[1]


def _ours(name: str, library: str, settings: list[str]) -> dict[str, Any]:
    cell, chips = CELLS[name], name.partition(":")[2]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        started = time.perf_counter()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "opencoder_jax.precompile"),
                f"--topology={chips}",
                f"--json_file={file}",
                f"--gin_file={cell.gin_file}",
                f"--gin.BATCH_SIZE={cell.sequences * cell.data * cell.fsdp}",
                f"--gin.sharding.MeshConfig.data={cell.data}",
                f"--gin.sharding.MeshConfig.fsdp={cell.fsdp}",
                "--gin.config.TransformerConfig.remat_policy='full'",
                "--gin.train.num_microbatches=1",
                *(f"--gin.{setting}" for setting in settings),
            ],
            env={**os.environ, "TPU_LIBRARY_PATH": library},
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - started
        if not file.exists():
            raise RuntimeError(f"{name}: precompile failed:\n{done.stdout}{done.stderr}")
        (report,) = json.loads(file.read_text())
    if not report["fits"]:
        return {"message": report["shortage"]["message"], "seconds": seconds}
    memory = report["memory"]
    return {
        "arguments": memory["arguments"],
        "temporaries": memory["temporaries"],
        "output": memory["output"] - memory["aliased"],
        "program": memory["generated_code"],
        "peak": memory["peak"],
        "seconds": seconds,
    }


def _maxtext(python: str, name: str, settings: list[str]) -> dict[str, Any]:
    cell, (model, _, chips) = CELLS[name], name.partition(":")
    given: dict[str, Any] = {
        **MAXTEXT_MODELS[model],
        "compile_topology": chips,
        "compile_topology_num_slices": 1,
        "run_name": "hbm",
        "per_device_batch_size": cell.sequences,
        "max_target_length": cell.sequence_length,
        "vocab_size": 96640,
        "decoder_block": "llama2",
        "logits_via_embedding": "false",
        "mlp_activations": '["silu","linear"]',
        "normalization_layer_epsilon": 1e-5,
        "ici_data_parallelism": cell.data,
        "ici_fsdp_parallelism": cell.fsdp,
        "remat_policy": "full",
        "attention": "flash",
        "dataset_type": "synthetic",
        "enable_checkpointing": "false",
    }
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = subprocess.run(
            [
                *(python, "-m", "maxtext.trainers.pre_train.train_compile"),
                f"{_maxtext_folder(python)}/configs/base.yml",
                f"base_output_directory={folder}",
                *(f"{key}={value}" for key, value in given.items()),
                *settings,
            ],
            env={
                **os.environ,
                "JAX_PLATFORMS": "cpu",
                "TPU_SKIP_MDS_QUERY": "1",
                "TPU_ACCELERATOR_TYPE": "v5litepod-1",
                "TPU_WORKER_HOSTNAMES": "localhost",
                "TPU_WORKER_ID": "0",
                "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
            },
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - started
    output = done.stdout + done.stderr
    sizes = {
        kind: int(size) for kind, size in re.findall(r"\b(\w+)_size_in_bytes=(\d+)", done.stdout)
    }
    if not sizes:
        message = re.search(r"RESOURCE_EXHAUSTED.*", output)
        if message is None:
            raise RuntimeError(f"{name}: MaxText failed:\n{output[-4000:]}")
        return {"message": message[0], "seconds": seconds}
    output_size = sizes["output"] - sizes["alias"]
    return {
        "arguments": sizes["argument"],
        "temporaries": sizes["temp"],
        "output": output_size,
        "program": sizes["generated_code"],
        "peak": sizes["argument"] + sizes["temp"] + output_size + sizes["generated_code"],
        "seconds": seconds,
    }


def _maxtext_folder(python: str) -> str:
    return _asked(
        python,
        "import importlib.util as u; print(*u.find_spec('maxtext').submodule_search_locations)",
    )


def _maxtext_library(python: str) -> str:
    """The compiler that MaxText's environment has."""
    return _asked(python, "import libtpu; print(libtpu.get_library_path())")


def _asked(python: str, program: str) -> str:
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise InputError(
            f"{python} has no MaxText ({last}): make an environment with "
            "`uv venv --python 3.12 DIR` and `uv pip install --python DIR/bin/python -r "
            "benchmarks/maxtext_requirements.txt`, and give --maxtext_python=DIR/bin/python"
        )
    return done.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--maxtext_python", required=True)
    parser.add_argument("--cells", default=",".join(CELLS), type=lambda text: text.split(","))
    parser.add_argument("--results", type=Path, default=Path("hbm.json"))
    parser.add_argument(
        "--maxtext_setting",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another setting of MaxText's, e.g. num_vocab_tiling=8",
    )
    parser.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another gin binding of ours, e.g. train.loss_vocab_blocks=16",
    )
    given = parser.parse_args()
    try:
        hbm(given.maxtext_python, given.cells, given.results, given.maxtext_setting, given.setting)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
