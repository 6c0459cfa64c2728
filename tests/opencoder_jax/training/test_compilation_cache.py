"""Programs of a run are compiled once, and only whole ones are ever read."""

import jax
import jax.numpy as jnp
import pytest

from opencoder_jax.training import compilation_cache

COMPILED = "/jax/compilation_cache/cache_misses"
FOUND = "/jax/compilation_cache/cache_hits"


@pytest.fixture
def events():
    seen = []

    def listen(name: str, **unused: object) -> None:
        seen.append(name)

    jax.monitoring.register_event_listener(listen)
    yield seen
    jax.monitoring.unregister_event_listener(listen)


def _program():
    return jax.jit(lambda x: jnp.sin(x) @ jnp.cos(x))


def _run(model_dir, events):
    """What happened to one program of a new process."""
    events.clear()
    jax.clear_caches()
    with compilation_cache.kept_in(model_dir) as sealing:
        value = sealing(_program())(jnp.eye(3) + 0.1)
    return events.count(COMPILED), events.count(FOUND), value


def _entries(model_dir):
    return [path for path in model_dir.rglob("*-cache") if path.name.startswith("jit__lambda")]


def test_a_program_is_compiled_once_and_gives_the_same_numbers(tmp_path, events):
    compiled, _, value = _run(tmp_path, events)
    assert compiled
    compiled_again, found, same = _run(tmp_path, events)
    assert (compiled_again, found) == (0, compiled)
    assert (value == same).all()


@pytest.mark.parametrize("damage", ["cut short", "one bit flipped", "never sealed"])
def test_an_entry_that_is_not_whole_is_compiled_again(tmp_path, events, damage):
    _run(tmp_path, events)
    (entry,) = _entries(tmp_path)
    content = bytearray(entry.read_bytes())
    if damage == "cut short":
        entry.write_bytes(content[: len(content) // 2])
    elif damage == "one bit flipped":
        content[len(content) // 2] ^= 1
        entry.write_bytes(content)
    else:  # A kill between the entry and its seal.
        entry.with_name(entry.name + ".sha256").unlink()
    assert _run(tmp_path, events)[0] == 1
    assert _run(tmp_path, events)[0] == 0


def test_what_was_compiled_is_kept_although_the_process_is_killed_later(tmp_path, events):
    jax.clear_caches()
    with compilation_cache.kept_in(tmp_path) as sealing:
        sealing(_program())(jnp.eye(3) + 0.1)
        sealed = [path.with_name(path.name + ".sha256").exists() for path in _entries(tmp_path)]
    assert sealed == [True]


def test_a_cache_of_the_users_own_is_left_alone(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    try:
        with compilation_cache.kept_in(tmp_path / "run"):
            assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
        assert not (tmp_path / "run").exists()
    finally:
        jax.config.update("jax_compilation_cache_dir", None)
