"""Keys, other origins, the end by a signal, an engine that fails, impossible settings."""

import asyncio
import json
import signal
import socket
import time

import httpx
import pytest

from opencoder_jax import configuration
from opencoder_jax.decoding.engine import Engine, EngineConfig
from opencoder_jax.errors import InputError
from opencoder_jax.serve import http_server
from opencoder_jax.serve.__main__ import serve
from opencoder_jax.serve.app import Limits, make_app
from opencoder_jax.serve.metrics import Metrics
from opencoder_jax.serve.runner import EngineRunner
from opencoder_jax.serve.served import Served
from tests.opencoder_jax.serve.server_process import ServerProcess

KEYS = ("sk-one-key", "sk-another-key")


@pytest.fixture(scope="module")
def guarded(model, model_dir, tmp_path_factory):
    """A server with keys, for one origin; the last test of the file ends it."""
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(f"# of the team\n{KEYS[0]}\n")
    flags = [f"--api_key_file={file}", "--allow_origins=https://there.example", "--slots=2"]
    with ServerProcess.start(
        model_dir,
        *flags,
        "--served_name=team/model",
        "--grace_seconds=0.5",
        "--request_seconds=1",
        "--skip_warm_up",
        environment={"OPENCODER_API_KEY": KEYS[1]},
    ) as running:
        yield running


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Bearer",
        f"Bearer {KEYS[0]}x",
        f"Bearer {KEYS[0][:-1]}",
        KEYS[0],
        f"Basic {KEYS[0]}",
        "Bearer \u00e9",
        f"Bearer {KEYS[0]}, {KEYS[1]}",
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/team/model", "/v1/completions"])
def test_without_a_key_nothing_is_answered(guarded, given, path):
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    method = "POST" if path.endswith("completions") else "GET"
    answer = guarded.client.request(method, path, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("key", KEYS)
def test_each_key_opens(guarded, key):
    headers = {"Authorization": f"Bearer {key}"}
    assert guarded.client.get("/v1/models/team/model", headers=headers).status_code == 200
    body = {"prompt": "x", "max_tokens": 2, "model": "team/model"}
    answer = guarded.client.post("/v1/completions", json=body, headers=headers)
    assert answer.json()["model"] == "team/model"
    assert guarded.client.get("/health").status_code == 200
    assert "with API key" in guarded.first_line
    assert key not in guarded.log


def test_pages_of_the_allowed_origin_alone_may_ask(guarded, server):
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    for origin, allowed in (("https://there.example", True), ("https://elsewhere.example", False)):
        answer = guarded.client.options("/v1/completions", headers={"Origin": origin, **asked})
        assert ("access-control-allow-origin" in answer.headers) == allowed
    answer = server.client.get("/v1/models", headers={"Origin": "https://there.example"})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_stops_reading_frees_its_slots(guarded, stream):
    """Its connection stays open. A stream of 200 texts would take minutes; 20 whole ones end."""
    names = ("opencoder_stalled_connections_total", "opencoder_cancelled_texts_total")
    names += ('opencoder_requests_total{path="/v1/completions",status="499"}',)
    stalled, cancelled, left = map(guarded.metric, names)
    body = {"prompt": "x", "n": 200 if stream else 20, "max_tokens": 180, "ignore_eos": True}
    body |= {"logprobs": 20, "stream": stream}
    content = json.dumps(body).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {KEYS[0]}\r\nContent-Length: {len(content)}\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(guarded.address)
        connection.sendall(head.encode() + content)
        deadline = time.monotonic() + 60
        while guarded.metric(names[0]) == stalled:
            assert time.monotonic() < deadline, "nobody has noticed"
            time.sleep(0.05)
        guarded.wait_until_idle(5)
        # It ends in the middle.
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert not answer.endswith((b"[DONE]\n\n", b"}"))
    assert (guarded.metric(names[1]) - cancelled > 100) == stream
    assert guarded.metric(names[2]) - left == stream


def test_a_client_that_reads_slowly_has_its_text(guarded):
    headers = {"Authorization": f"Bearer {KEYS[0]}"}
    body = {"prompt": "x", "n": 8, "max_tokens": 180, "ignore_eos": True, "stream": True}
    received = b""
    with guarded.client.stream("POST", "/v1/completions", json=body, headers=headers) as answer:
        for number, part in enumerate(answer.iter_raw(1 << 16)):
            received += part
            time.sleep(0.4 if number < 5 else 0)
    assert received.endswith(b"data: [DONE]\n\n")


def test_a_signal_ends_running_answers_after_their_grace(guarded):
    """A stream of many slow texts: more than half a second."""
    headers = {"Authorization": f"Bearer {KEYS[0]}"}
    body = {"prompt": "x", "n": 200, "max_tokens": 180, "ignore_eos": True, "stream": True}
    with guarded.client.stream("POST", "/v1/completions", json=body, headers=headers) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        guarded.process.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
    assert guarded.process.wait(30) == 0
    assert json.loads(rest[-1].removeprefix("data: "))["error"]["message"] == (
        "the server is shutting down"
    )
    with pytest.raises(ConnectionError):
        socket.create_connection(guarded.address)
    assert "Traceback" not in guarded.log


@pytest.mark.slow
def test_answers_that_end_within_the_grace_are_whole(model, model_dir):
    with ServerProcess.start(model_dir, "--slots=1", "--skip_warm_up") as running:
        body = {"prompt": "x", "max_tokens": 180, "ignore_eos": True, "stream": True}
        with running.client.stream("POST", "/v1/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            running.process.send_signal(signal.SIGINT)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert (
            json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
        )
        assert running.process.wait(30) == 0


def wait_until_refused(address) -> None:
    """Returns when no connection is taken any more."""
    while True:
        try:
            socket.create_connection(address, timeout=30).close()
        except ConnectionError:
            return


@pytest.mark.slow
def test_a_second_interrupt_ends_the_grace(model, model_dir):
    with ServerProcess.start(
        model_dir, "--slots=1", "--grace_seconds=600", "--skip_warm_up"
    ) as running:
        body = {"prompt": "x", "n": 200, "max_tokens": 180, "ignore_eos": True, "stream": True}
        with running.client.stream("POST", "/v1/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            running.process.send_signal(signal.SIGINT)
            wait_until_refused(running.address)
            running.process.send_signal(signal.SIGINT)
            rest = [line for line in lines if line]
        assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == "unavailable"
        assert running.process.wait(30) == 0
        assert running.log == running.first_line


def test_no_part_of_an_answer_waits_for_the_acknowledgement_of_another():
    with (
        http_server.listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as taken,
    ):
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_engine_that_fails_is_told_to_everybody(model):
    engine = Engine(model, EngineConfig(slots=2, length=128))
    runner = EngineRunner(engine, 8, Metrics())
    served = Served.of("tiny", model.tokenizer, model.bos_ids, model.config.vocab_size, 128)
    app = make_app(served, runner, Limits())
    steps = 0
    step = engine.step

    def fail_later() -> bool:
        nonlocal steps
        steps += 1
        if steps > 3:
            raise RuntimeError("RESOURCE_EXHAUSTED")
        return step()

    async def ask() -> None:
        engine.step = fail_later
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://x", timeout=60) as client,
        ):
            body = {"prompt": "x", "max_tokens": 100, "ignore_eos": True}
            whole, streamed = await asyncio.gather(
                client.post("/v1/completions", json=body),
                client.post("/v1/completions", json={**body, "stream": True}),
            )
            assert whole.status_code == 500
            assert whole.json()["error"]["type"] == "server_error"
            last = streamed.text.strip().splitlines()[-1]
            assert (
                "the engine has failed"
                in json.loads(last.removeprefix("data: "))["error"]["message"]
            )
            health = await client.get("/health")
            assert (health.status_code, health.json()["status"]) == (503, "failed")
            assert (await client.post("/v1/completions", json=body)).status_code == 503

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--model=/nowhere"], "/nowhere: no such folder"),
        ([], "MODEL_DIR"),
        (["--slots=0"], "slots is 0, expected at least 1"),
        (["--queue=0"], "queue is 0, expected at least 1"),
        (["--weights=int3"], "weights='int3'"),
        (["--port=99999"], "port 99999"),
        (["--host=no.such.host.invalid"], "cannot listen on no.such.host.invalid"),
        (["--api_key_file=/nowhere"], "/nowhere"),
        (["--request_seconds=0"], "request_seconds is 0"),
        (["--port=http"], "invalid int value: 'http'"),
    ],
)
def test_settings_that_cannot_be_are_one_line(flags, complaint, capsys):
    flags = [*flags, "--port=0"] if not any("port" in flag for flag in flags) else flags
    flags = ["--model=/nowhere", *flags] if flags and complaint != "MODEL_DIR" else flags
    names = ("slots", "queue", "weights", "port", "host", "api_key_file", "request_seconds")
    status = configuration.main(
        serve,
        [flag for flag in flags if flag != "--port=0" or complaint != "MODEL_DIR"],
        default_gin_files=["serve/base.gin"],
        flags={"model": "MODEL_DIR", **{name: f"serve.{name}" for name in names}},
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert status == 2
    assert complaint in line


def test_a_port_that_is_taken_is_told_before_the_model_is_loaded(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1 port {port}"):
            serve("/nowhere", port=port)
