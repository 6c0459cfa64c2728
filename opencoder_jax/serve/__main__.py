"""`python -m opencoder_jax.serve --model=DIR`: a model behind OpenAI's API.

Loads the model, compiles what requests will run, then takes connections until SIGTERM or
SIGINT, or while a command runs. docs/serving.md is for its users. Next: `app`.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from opencoder_jax import configuration
from opencoder_jax.decoding.engine import Engine, EngineConfig
from opencoder_jax.decoding.native import prepare_process
from opencoder_jax.errors import InputError, require_at_least, require_positive
from opencoder_jax.model.loading import load_model
from opencoder_jax.serve import http_server
from opencoder_jax.serve.app import Limits, make_app
from opencoder_jax.serve.metrics import Metrics
from opencoder_jax.serve.runner import EngineRunner, warm_up
from opencoder_jax.serve.served import Served
from opencoder_jax.serve.while_running import Command


def serve(
    model: str,
    step: int | None = None,
    served_name: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    slots: int = 16,
    length: int | None = 4096,
    weights: str | None = None,
    cache: str | None = None,
    dtype: str | None = None,
    kernels: str = "auto",
    queue: int = 256,
    max_body_mib: int = 8,
    request_seconds: float = 30.0,
    grace_seconds: float = 30.0,
    api_key_file: str | None = None,
    api_key_variable: str = "OPENCODER_API_KEY",
    allow_origins: str = "",
    skip_warm_up: bool = False,
    command: Sequence[str] = (),
) -> None:
    """Serves a model over HTTP as OpenAI's API does, with a page to try it at `/`.

    `-- COMMAND` serves it to a command: that starts when connections are taken, with the server's
    address in place of `{url}` in its words, and ends the server with its own exit status.

    Args:
      model: a model directory of this project or a Hugging Face folder.
      step: which checkpoint of a model directory; None takes the latest.
      served_name: what clients call the model; None: its folder's name.
      host: address to listen on; 0.0.0.0 is every one of this machine.
      port: of TCP; 0 takes a free one and says which.
      slots: texts that run side by side.
      length: tokens of a prompt and its text together, at most; None: the model's longest.
      weights: float32, bfloat16 or int8; None: as the model computes.
      cache: type of stored keys and values, one of the same; None: as the model computes.
      dtype: what inputs of products are rounded to, float32 or bfloat16; None: the model's.
      kernels: native (the CPU's), xla, or auto.
      queue: texts that may wait for a slot, and texts that one request may ask for; further
        requests are told to come again (429).
      max_body_mib: MiB of a request's body.
      request_seconds: for a request's head to arrive, as many for its body, and as many for a
        client that has stopped reading to read on, before it counts as one that left.
      grace_seconds: how long running answers may go on after SIGTERM.
      api_key_file: file with accepted keys, one a line.
      api_key_variable: environment variable with a further accepted key.
      allow_origins: origins whose pages may ask from a browser, with commas between; * is all.
      skip_warm_up: start at once, and compile at the first requests.
      command: to run meanwhile, word by word; empty: none.

    Raises:
      InputError: there is no model or command, or a setting cannot be used.
      SystemExit: with the command's exit status, where that is not 0.
    """
    require_at_least(1, queue=queue, max_body_mib=max_body_mib)
    require_at_least(0, grace_seconds=grace_seconds)
    require_positive(request_seconds=request_seconds)
    config = EngineConfig(slots, length, weights, cache, dtype, kernels)
    limits = Limits(
        body_bytes=max_body_mib << 20,
        request_seconds=request_seconds,
        keys=_read_keys(api_key_file, api_key_variable),
        origins=[origin.strip() for origin in allow_origins.split(",") if origin.strip()],
    )
    meanwhile = Command(command) if command else None
    # Before minutes of loading.
    listener = http_server.listen(host, port)
    loaded = load_model(model, step)
    engine = Engine(loaded, config)
    name = served_name or Path(model).resolve().name
    served = Served.of(
        name, loaded.tokenizer, loaded.bos_ids, loaded.config.vocab_size, engine.length
    )
    del loaded
    if not skip_warm_up:
        warm_up(engine)
    metrics = Metrics()
    metrics.watch(engine.slots, engine.counts)
    runner = EngineRunner(engine, queue, metrics)
    address = f"[{host}]" if ":" in host else host
    url = f"http://{address}:{listener.getsockname()[1]}"

    def begin(stop: Callable[[], None]) -> None:
        key = "with" if limits.keys else "without"
        print(
            f"{url} serves {name} {key} API key: {engine.slots} slots of {engine.length} tokens, "
            f"{queue} may wait; Ctrl-C ends it",
            # A command's own output may be read by a program.
            file=sys.stderr if meanwhile else sys.stdout,
            flush=True,
        )
        if meanwhile:
            meanwhile.start(url, stop)

    app = make_app(served, runner, limits)
    try:
        http_server.run(
            app,
            runner,
            listener,
            request_seconds=request_seconds,
            grace_seconds=grace_seconds,
            on_started=begin,
        )
    finally:
        status = meanwhile.end() if meanwhile else 0
    if status:
        raise SystemExit(status)


def _read_keys(file: str | None, variable: str) -> list[str]:
    keys = [os.environ.get(variable, "").strip()]
    if file is not None:
        try:
            lines = Path(file).read_text(encoding="ascii").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{file}: a key has characters that are not ASCII") from error
        keys += [line.strip() for line in lines if not line.lstrip().startswith("#")]
        if not any(keys[1:]):
            raise InputError(f"{file} has no API key: expected one a line")
    if not keys[0].isascii():
        raise InputError(f"{variable}: the key has characters that are not ASCII")
    return [key for key in keys if key]


_PLAIN_FLAGS = (
    *("step", "served_name", "host", "port", "slots", "length", "weights", "cache", "dtype"),
    *("kernels", "queue", "max_body_mib", "request_seconds", "grace_seconds", "api_key_file"),
    *("api_key_variable", "allow_origins", "skip_warm_up"),
)

if __name__ == "__main__":
    prepare_process()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(
        configuration.main(
            serve,
            default_gin_files=["serve/base.gin"],
            flags={"model": "MODEL_DIR", **{name: f"serve.{name}" for name in _PLAIN_FLAGS}},
            words="command",
        )
    )
