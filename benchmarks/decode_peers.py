"""One peer's decoding in its own Python: transformers, or llama.cpp through its bindings.

    PYTHON decode_peers.py transformers FOLDER float32|bfloat16
    PYTHON decode_peers.py llama.cpp GGUF [f16]

FOLDER is a Hugging Face folder. `f16` first writes a GGUF with 16-bit weights into a temporary
folder. Imports nothing of the project, so that it runs where the peer is installed. It prints
`{"ready": true}`, then answers each line `{"batch": B, "tokens": N, "prompt": [...]}` with
`{"prompt_seconds": P, "seconds": S, "ids": [...]}`: how long B equal prompts took to the first
token, how long N - 1 greedy tokens took after that, and the first text's ids.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

THREADS = int(os.environ.get("THREADS") or os.cpu_count() or 1)


def serve(decode: Callable[[int, int, list[int]], tuple[float, float, list[int]]]) -> None:
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        before, seconds, ids = decode(asked["batch"], asked["tokens"], asked["prompt"])
        answer = {"prompt_seconds": before, "seconds": seconds, "ids": ids}
        print(json.dumps(answer), flush=True)


def transformers(folder: str, dtype: str) -> None:
    """`generate` of `LlamaForCausalLM`, greedy, as its users call it."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(THREADS)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()

    class Clock:
        """Called by `generate` with the prompt and with each step's tokens."""

        def __init__(self) -> None:
            self.times: list[float] = []

        def put(self, value: Any) -> None:
            self.times.append(time.perf_counter())

        def end(self) -> None:
            pass

    def decode(batch: int, tokens: int, prompt: list[int]) -> tuple[float, float, list[int]]:
        ids = torch.tensor([prompt] * batch)
        settings: dict[str, Any] = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
        if batch == 1:
            clock = Clock()
            out = model.generate(
                ids, max_new_tokens=tokens, min_new_tokens=tokens, streamer=clock, **settings
            )
            # The prompt, then each token.
            first = clock.times[1] - clock.times[0]
            seconds = clock.times[-1] - clock.times[1]
        else:  # It streams one text only; so the time of one token is taken off.
            first, _ = _timed(lambda: model.generate(ids, max_new_tokens=1, **settings))
            both, out = _timed(lambda: model.generate(ids, max_new_tokens=tokens, **settings))
            seconds = both - first
        return first, seconds, out[0, len(prompt) :].tolist()

    with torch.inference_mode():
        serve(decode)


def llama_cpp(gguf: str, kind: str = "") -> None:
    """`llama_decode` with a batch of one token a sequence, greedy on its logits."""
    import llama_cpp as lib
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="decode-gguf-") as folder:
        if kind == "f16":
            settings = lib.llama_model_quantize_default_params()
            settings.ftype = lib.LLAMA_FTYPE_MOSTLY_F16
            settings.allow_requantize = True
            made = f"{folder}/f16.gguf"
            if lib.llama_model_quantize(gguf.encode(), made.encode(), settings):
                raise SystemExit(f"llama.cpp could not make {made}")
            gguf = made
        lib.llama_backend_init()
        model = lib.llama_model_load_from_file(gguf.encode(), lib.llama_model_default_params())
    vocab_size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))

    def decode(count: int, tokens: int, prompt: list[int]) -> tuple[float, float, list[int]]:
        settings = lib.llama_context_default_params()
        settings.n_ctx = 512 * count
        settings.n_seq_max = count
        settings.n_threads = settings.n_threads_batch = THREADS
        context = lib.llama_init_from_model(model, settings)
        batch = lib.llama_batch_init(512, 0, 1)

        def run(entries: list[tuple[int, int, int, bool]]) -> None:
            batch.n_tokens = len(entries)
            for i, (token, position, sequence, wanted) in enumerate(entries):
                batch.token[i], batch.pos[i] = token, position
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
                batch.logits[i] = wanted
            if lib.llama_decode(context, batch):
                raise SystemExit("llama_decode failed")

        def likeliest(entry: int) -> int:
            logits = lib.llama_get_logits_ith(context, entry)
            return int(np.argmax(np.ctypeslib.as_array(logits, (vocab_size,))))

        began = time.perf_counter()
        for sequence in range(count):
            last = len(prompt) - 1
            run([(token, i, sequence, i == last) for i, token in enumerate(prompt)])
        ids = [likeliest(len(prompt) - 1)]
        current = [ids[0]] * count
        started = time.perf_counter()
        for step in range(tokens - 1):
            position = len(prompt) + step
            run([(token, position, i, True) for i, token in enumerate(current)])
            current = [likeliest(i) for i in range(count)]
            ids.append(current[0])
        ended = time.perf_counter()
        lib.llama_batch_free(batch)
        lib.llama_free(context)
        return started - began, ended - started, ids

    serve(decode)


def _timed(function: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    PEERS: dict[str, Callable[..., None]] = {
        "transformers": transformers,
        "llama.cpp": llama_cpp,
    }
    PEERS[sys.argv[1]](*sys.argv[2:])
