"""A benchmark as its gin file has it: what `--tasks=NAME` runs."""

import functools

import gin

from opencoder_jax import configuration
from opencoder_jax.evaluate import evaluate
from opencoder_jax.evaluation.benchmark import Benchmark


@functools.cache
def benchmark(name: str, *bindings: str) -> Benchmark:
    configuration.configure(
        evaluate,
        gin_files=[f"evaluate/tasks/{name}.gin"],
        bindings=["MODEL_DIR = 'unset'", *bindings],
    )
    (made,) = gin.get_bindings(evaluate)["tasks"]
    return made
