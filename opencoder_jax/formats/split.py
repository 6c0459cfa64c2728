"""Which repositories are held out of training: a hash of the name decides, everywhere alike.

The pretraining, annealing and instruction sets are packed by separate jobs, so the
split has to be a function of the repository's name alone: a repository whose documents
are held out gives no annealing snippet and no instruction either.
"""

import hashlib


def hash_fraction(*parts: str | int) -> float:
    """A number in [0, 1), uniform over its arguments: the only randomness data jobs use."""
    key = "\0".join(str(part) for part in parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") / 2**64


def is_heldout(repo: str, fraction: float, seed: int = 0) -> bool:
    """Whether all documents of `repo` are held out, for a share `fraction` of repositories."""
    return hash_fraction("heldout", seed, repo) < fraction
