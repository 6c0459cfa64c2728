"""vLLM on the workers (Dataflow with GPUs), by Beam's own model handler.

`VLLMChatModelHandler` starts `vllm.entrypoints.openai.api_server`, waits until it answers and
starts it again after it died; one server is shared by all processes of a machine, as
`RunInference` shares models. It speaks OpenAI's API, so the same `client` calls it as any
endpoint: cache, retries, counts and budget are the same. `RunInference` itself is not used: it
asks batch by batch, and the GPU would wait for the longest answer of each.
"""

import atexit
import contextlib
import hashlib
import json
from typing import Any

from apache_beam.utils.multi_process_shared import MultiProcessShared

from beam_pipelines.teacher.settings import Teacher
from opencoder_jax.errors import InputError


class VllmServer:
    """Finds the address of this machine's server, which it starts where there is none."""

    def __init__(self, teacher: Teacher) -> None:
        self._model = teacher.model
        self._flags = dict(teacher.vllm_flags)
        self._server: Any = None

    def __call__(self, failed: bool) -> str:
        """The url, up to and with `/v1`, of a server that answers.

        Args:
          failed: it could not be reached at the address that was given before.

        Raises:
          InputError: Beam's handler cannot be loaded.
          Exception: vLLM cannot be started; the handler tries several times.
        """
        if self._server is None:
            self._start()
        elif failed:
            try:
                self._server.check_connectivity()
            except (ConnectionError, EOFError):
                # The process that held it has ended.
                self._start()
        return f"http://localhost:{self._server.get_server_port()}/v1"

    def _start(self) -> None:
        try:
            from apache_beam.ml.inference.vllm_inference import VLLMChatModelHandler
        except ImportError as error:
            raise InputError(
                f"Beam's vLLM handler needs vllm and openai on the workers ({error}); "
                "--teacher_url=http://HOST:PORT/v1 asks a server that runs elsewhere"
            ) from error
        handler = VLLMChatModelHandler(self._model, vllm_server_kwargs=self._flags)
        what = json.dumps([self._model, self._flags], sort_keys=True)
        tag = f"teacher-{hashlib.sha256(what.encode()).hexdigest()[:16]}"
        # The process that starts the server holds it itself: through a proxy it could not end it,
        # as no thread can be started any more when a process ends.
        shared = MultiProcessShared(handler.load_model, tag)
        self._server = shared.acquire()
        atexit.register(_release, shared, self._server)


def _release(shared: MultiProcessShared, server: Any) -> None:
    """Ends the server where nobody else uses it."""
    # Whoever held it may be gone already.
    with contextlib.suppress(OSError, EOFError):
        shared.release(server)
