"""Decoding on TPUs that are not there: what a step reads, what a device needs, at most how fast.

    python -m benchmarks.tpu_decode

compiles a step of decoding and a piece of a prompt for v5e with the TPU's own compiler (`uv sync
--extra tpu`), for each model and storage below: 16 texts of 4,096 tokens. Nothing runs. A time
is the bytes that the compiled program moves over HBM's published bandwidth: a step takes at
least that long. It prints the table of docs/decoding.md; some minutes of compiling.
"""

import jax

from opencoder_jax.configuration import configure
from opencoder_jax.decoding.engine import EngineConfig
from opencoder_jax.model.config import TransformerConfig
from opencoder_jax.precompilation import memory, topology
from opencoder_jax.precompilation.decoding import DecodingProgram, compile_decoding

GIB = 1 << 30
SLOTS, LENGTH = 16, 4096
# Model, weights and cache, devices along `tensor`. The 1.5B has 14 heads.
CELLS = [
    ("opencoder_1b5", "bfloat16", 1),
    ("opencoder_1b5", "int8", 1),
    ("opencoder_1b5", "bfloat16", 2),
    ("opencoder_8b", "bfloat16", 4),
    ("opencoder_8b", "int8", 4),
]


def main() -> None:
    print("| model, weights and cache | chips | step | moved / needed GiB | memory GiB | bound |")
    print("| --- | --- | --- | --- | --- | --- |")
    for model, stored, tensor in CELLS:
        where = topology.parse("v5e:1x1" if tensor == 1 else "v5e:2x2")
        bindings = ["of_file.model = %MODEL"]
        config = configure(of_file, gin_files=[f"models/{model}.gin"], bindings=bindings)()
        engine = EngineConfig(SLOTS, LENGTH, weights=stored, cache=stored)
        for name in ("decode", "extend"):
            row = f"| {model}, {stored} | {tensor} | {name} |"
            try:
                program = compile_decoding(config, engine, where, tensor, name)
            except jax.errors.JaxRuntimeError as error:
                shortage = memory.shortage(error)
                if shortage is None:
                    raise
                needed = f"{shortage.needed / GIB:.2f}" if shortage.needed else shortage.message
                print(f"{row} | {needed}: does not fit | |", flush=True)
                continue
            print(f"{row} {_figures(program, where.chip.hbm_bandwidth)}", flush=True)


def of_file(model: TransformerConfig) -> TransformerConfig:
    return model


def _figures(program: DecodingProgram, bandwidth: float) -> str:
    seconds = program.moved_bytes / bandwidth
    bound = f"{seconds * 1e3:.1f} ms"
    if program.name == "decode":
        bound += f", {SLOTS / seconds:,.0f} tokens/s"
    moved, needed = program.moved_bytes / GIB, program.needed_bytes / GIB
    return f"{moved:.2f} / {needed:.2f} | {program.memory / GIB:.2f} | {bound} |"


if __name__ == "__main__":
    main()
