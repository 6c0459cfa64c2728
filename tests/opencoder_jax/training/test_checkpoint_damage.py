"""A checkpoint damaged anywhere gives its own numbers, or those of the one before; no others."""

import random
import shutil
from pathlib import Path

import pytest

from opencoder_jax.training import checkpoints
from tests.opencoder_jax.training.test_checkpoints import (
    _assert_same,
    _filled,
    _metadata,
    _restore_latest,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage") / "model"
    with checkpoints.CheckpointWriter(folder) as writer:
        for number in (1, 2):
            state = _filled(number)
            writer.save(state.params, state.opt_state, _metadata(number))
    return folder


def _damage(folder: Path, other: Path, generator: random.Random) -> str:
    """Does one thing to one file of `folder`; `other` is a checkpoint of another step."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    # Half of the time one that holds arrays: there are many small ones besides.
    large = [path for path in files if path.stat().st_size > 1000]
    path = generator.choice(large if generator.random() < 0.5 else files)
    content = bytearray(path.read_bytes())
    kind = generator.choice(["cut", "flip", "remove", "zero", "append", "swap", "remove folder"])
    if kind == "cut":
        path.write_bytes(content[: generator.randrange(len(content) + 1)])
    elif kind == "flip" and content:
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(content)
    elif kind == "zero" and content:
        start = generator.randrange(len(content))
        end = min(len(content), start + generator.choice([1, 16, 512, 4096]))
        content[start:end] = bytes(end - start)
        path.write_bytes(content)
    elif kind == "append":
        path.write_bytes(content + generator.randbytes(64))
    elif kind == "swap" and (other / path.relative_to(folder)).is_file():
        path.write_bytes((other / path.relative_to(folder)).read_bytes())
    elif kind == "remove folder" and path.parent != folder:
        shutil.rmtree(path.parent)
    else:
        path.unlink()
    return f"{kind} {path.relative_to(folder)}"


def _check(written: Path, scratch: Path, seed: int) -> str:
    """What was done and which step came back; its numbers have been compared."""
    model_dir = shutil.copytree(written, scratch / str(seed))
    done = _damage(model_dir / "checkpoint_2", model_dir / "checkpoint_1", random.Random(seed))
    restored = _restore_latest(model_dir)
    step = restored.metadata.step
    assert restored.metadata == _metadata(step), done
    _assert_same(restored.params, _filled(step).params)
    _assert_same(restored.opt_state, _filled(step).opt_state)
    shutil.rmtree(model_dir)
    return f"seed {seed}: {done}: checkpoint_{step}"


def test_damage_is_never_restored(written, tmp_path):
    found = [_check(written, tmp_path, seed) for seed in range(12)]
    assert any(line.endswith("checkpoint_1") for line in found), found


@pytest.mark.slow
def test_much_damage_is_never_restored(written, tmp_path):
    first = random.SystemRandom().randrange(10**6)
    for seed in range(first, first + 150):
        print(_check(written, tmp_path, seed))
