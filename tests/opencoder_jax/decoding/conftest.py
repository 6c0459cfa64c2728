import pytest

from opencoder_jax.decoding import programs


@pytest.fixture
def computed(monkeypatch):
    """Tokens of prompts that the engines of a test compute, piece by piece."""
    counts = []
    extend = programs.extend

    def counted(*arguments, score):
        counts.append(int(arguments[5]))
        return extend(*arguments, score=score)

    monkeypatch.setattr(programs, "extend", counted)
    return counts
