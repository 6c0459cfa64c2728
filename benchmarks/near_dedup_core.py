"""Our text to band keys, or exact keys, in a process of its own: speed and peak memory.

    python -m benchmarks.near_dedup_core near|exact FILE

FILE has one JSON string (near) or object with `content` (exact) a line; it is streamed, so
that the peak is that of the code. Without Beam. `benchmarks.near_dedup` calls it; prints JSON.
"""

import hashlib
import json
import re
import sys
import time
from pathlib import Path

NGRAM = 5


def peak_mib() -> float:
    """Largest resident memory of this process; `getrusage` would count its parent's, too."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def near(path: str) -> float:
    """CPU seconds from texts to band keys, reading not counted."""
    from beam_pipelines.dedup.minhash import Banding, text_band_keys

    text_band_keys("compile or load the cache of the compiled code", NGRAM, Banding())
    seconds = 0.0
    with open(path) as file:
        for line in file:
            text = json.loads(line)
            started = time.process_time()
            text_band_keys(text, NGRAM, Banding())
            seconds += time.process_time() - started
    return seconds


def exact(path: str) -> float:
    """CPU seconds from lines of JSON to the SHA-256 of their contents, parsing counted."""
    started = time.process_time()
    with open(path, "rb") as file:
        for line in file:
            hashlib.sha256(json.loads(line)["content"].encode("utf-8", "surrogatepass")).digest()
    return time.process_time() - started


if __name__ == "__main__":
    elapsed = {"near": near, "exact": exact}[sys.argv[1]](sys.argv[2])
    print(json.dumps({"seconds": elapsed, "peak_mib": peak_mib()}))
