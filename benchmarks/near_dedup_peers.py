"""One library's text to band keys or LSH index, in its own Python: speed and peak memory.

    PYTHON near_dedup_peers.py rensa|datasketch|text-dedup|datatrove FILE

FILE has one JSON string a line. 2048 permutations in 16 bands, 5-grams of words, each
library's own code from its own texts on. Imports nothing of the project, so that it runs
where the libraries are installed. `benchmarks.near_dedup` calls it; prints JSON.
"""

import importlib.metadata
import itertools
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

NGRAM, PERMUTATIONS, BANDS, ROWS = 5, 2048, 16, 128
_WORD = re.compile(rb"[A-Za-z0-9_\x80-\xff]+")


def python_shingles(text: str) -> list[bytes]:
    words = _WORD.findall(text.encode("utf-8", "surrogatepass").lower())
    return [b" ".join(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1))]


def rensa(texts: Sequence[str]) -> None:
    import rensa as library

    index = library.RMinHashLSH(0.98, PERMUTATIONS, BANDS)
    for batch in itertools.batched(enumerate(texts), 128):
        shingles = [python_shingles(text) for _, text in batch]
        matrix = library.RMinHash.digest_matrix_from_token_byte_sets(shingles, PERMUTATIONS, 0)
        index.insert_matrix(matrix, batch[0][0])


def datasketch(texts: Sequence[str]) -> None:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, ROWS))
    for number, text in enumerate(texts):
        signature = MinHash(num_perm=PERMUTATIONS, scheme="affine32")
        signature.update_batch(set(python_shingles(text)))
        index.insert(number, signature)


def text_dedup(texts: Sequence[str]) -> None:
    import numpy as np
    from text_dedup import minhash

    prime = (1 << 61) - 1
    random = np.random.RandomState(0)
    permutations = (
        random.randint(1, prime, PERMUTATIONS, dtype=np.uint64),
        random.randint(0, prime, PERMUTATIONS, dtype=np.uint64),
    )
    for number, text in enumerate(texts):
        minhash.embed_func(
            text,
            number,
            num_perm=PERMUTATIONS,
            ngram_size=NGRAM,
            min_length=0,
            hashranges=[(i * ROWS, (i + 1) * ROWS) for i in range(BANDS)],
            permutations=permutations,
            hash_func=minhash.xxh3_32hash,
            dtype=np.uint64,
            max_hash=np.uint64((1 << 32) - 1),
            modulo_prime=np.uint64(prime),
        )


def datatrove(texts: Sequence[str]) -> None:
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

    config = MinhashConfig(n_grams=NGRAM, num_buckets=BANDS, hashes_per_bucket=ROWS)
    with tempfile.TemporaryDirectory() as folder:
        signer = MinhashDedupSignature(folder, config)
        for text in texts:
            shingles = signer.get_shingles(text)
            if shingles.size:
                signer.get_signature(shingles)


PEERS: dict[str, Callable[[Sequence[str]], None]] = {
    "rensa": rensa,
    "datasketch": datasketch,
    "text-dedup": text_dedup,
    "datatrove": datatrove,
}


def peak_mib() -> float:
    """Largest resident memory of this process; `getrusage` would count its parent's, too."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def main(peer: str, path: str) -> None:
    try:
        version = importlib.metadata.version(peer)
    except importlib.metadata.PackageNotFoundError:
        print(json.dumps({"missing": True}))
        return
    with open(path) as file:
        texts = [json.loads(line) for line in file]
    PEERS[peer](texts[:1])  # imports, first calls
    started = time.process_time()
    PEERS[peer](texts)
    seconds = time.process_time() - started
    print(json.dumps({"version": version, "seconds": seconds, "peak_mib": peak_mib()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
