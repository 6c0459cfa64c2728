"""Signals as the cleaning job asks for them: by kind, and never silently missing."""

import subprocess
import sys

from beam_pipelines.signals import ngrams, registry
from beam_pipelines.signals.compute import compute_signals, signal_names
from beam_pipelines.signals.document import ParsedDocument
from beam_pipelines.signals.words import words_of

TEXT = "def f(x):\n    return x\n"


def compute(language: str, doc_type: str):
    return compute_signals(
        TEXT, language=language, doc_type=doc_type, path="a", size_bytes=9, document_id="id7"
    )


def test_a_failing_signal_is_an_error_by_name_and_the_others_are_computed(monkeypatch):
    def failing(document: ParsedDocument) -> float:
        raise RuntimeError("broken")

    name = "qsc_code_num_words"
    others = [signal for signal in registry.signals_of("code") if signal.name != name]
    broken = registry.Signal(name, "code", failing)
    monkeypatch.setitem(registry._BY_GROUP, "code", (broken, *others))
    result = compute("c", "code")
    assert result.errors == {name: "document id7: RuntimeError: broken"}
    assert result.values[name] is None
    assert sum(value is not None for value in result.values.values()) == 32 + 8


def test_a_text_that_is_no_unicode_is_an_error_of_the_document():
    result = compute_signals(
        "a\ud800", language="c", doc_type="code", path="a", size_bytes=1, document_id="id7"
    )
    assert result.errors["human_language"].startswith("document id7: ")


def test_every_signal_of_the_released_filter_is_there():
    own = {
        "python": 8,
        "c": 8,
        "cpp": 8,
        "csharp": 4,
        "go": 5,
        "html": 3,
        "java": 8,
        "javascript": 9,
    }
    counts = {group: len(registry.signals_of(group)) for group in ("text", "code", *own)}
    assert counts == {"text": 32, "code": 33, **own}
    assert len(signal_names()) == 118
    assert all(
        name.startswith("qsc_") and entry.group in counts
        for name, entry in registry._SIGNALS.items()
    )


def test_a_new_languages_signals_need_only_be_registered(monkeypatch):
    monkeypatch.setattr(registry, "_SIGNALS", dict(registry._SIGNALS))
    monkeypatch.setattr(registry, "_BY_GROUP", dict(registry._BY_GROUP))
    registry.add_signal("qsc_codego_num_x", "go", lambda document: 1.0)
    assert compute("go", "code").values["qsc_codego_num_x"] == 1
    assert "qsc_codego_num_x" not in compute("c", "code").values


def test_ngram_shares_equal_those_counted_one_by_one():
    words = list("abcabcabdabcabcabcdefabcabc")
    numbered = words_of(words)
    shares = ngrams.ngram_shares(numbered.ids, numbered.lengths)
    for n in ngrams.DUPLICATE_LENGTHS:
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        marked = {i + k for i, g in enumerate(grams) if grams.count(g) > 1 for k in range(n)}
        assert shares.duplicate[n] == len(marked) / len(words)
    for n in ngrams.TOP_LENGTHS:
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        assert shares.top[n] == max(map(grams.count, grams)) * n / len(words)


def test_signals_import_no_beam_and_no_framework():
    program = (
        "import sys, beam_pipelines.signals.rules as rules\n"
        "heavy = {'apache_beam', 'jax', 'flax', 'tensorflow', 'gin', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
