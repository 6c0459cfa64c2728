import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.dedup.shingles import jaccard, shingle_hashes

WORDS = st.lists(st.sampled_from(["a", "bb", "c_3", "Zürich", "0", "日本"]), max_size=30)


def ngrams(words: list[str], n: int) -> set[tuple[str, ...]]:
    """The definition, on words as Python objects."""
    if not words:
        return set()
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}


@settings(deadline=None)  # the first call compiles
@given(WORDS, st.integers(1, 6))
def test_one_shingle_for_each_distinct_ngram_of_words(words: list[str], n: int) -> None:
    shingles = shingle_hashes(" ".join(words), n)
    assert shingles.size == len(ngrams(words, n))
    assert np.all(shingles[1:] > shingles[:-1])


@settings(deadline=None)  # the first call compiles
@given(WORDS, WORDS)
def test_jaccard_is_that_of_the_ngram_sets(a: list[str], b: list[str]) -> None:
    left, right = ngrams(a, 3), ngrams(b, 3)
    expected = len(left & right) / len(left | right) if left and right else 0.0
    assert jaccard(shingle_hashes(" ".join(a), 3), shingle_hashes(" ".join(b), 3)) == expected


def test_case_layout_and_punctuation_do_not_count() -> None:
    a = shingle_hashes("def Area(width, height):\n    return width * height\n")
    b = shingle_hashes("DEF area( width , height ) : return width*height;")
    assert np.array_equal(a, b)


def test_underscores_digits_and_non_ascii_letters_belong_to_words() -> None:
    assert not np.array_equal(shingle_hashes("a_b c d e f"), shingle_hashes("a b c d e f"))
    assert not np.array_equal(shingle_hashes("naïve b c d e"), shingle_hashes("na ve b c d e"))
    assert not np.array_equal(shingle_hashes("x1 b c d e"), shingle_hashes("x 1 b c d e"))


def test_a_short_text_has_one_shingle_and_a_text_without_words_none() -> None:
    assert shingle_hashes("import os").size == 1
    assert not np.array_equal(shingle_hashes("import os"), shingle_hashes("os import"))
    assert shingle_hashes("").size == 0
    assert shingle_hashes("{}\n();\n").size == 0
    assert jaccard(shingle_hashes(""), shingle_hashes("")) == 0.0


def test_lone_surrogates_and_nuls_are_shingled_too() -> None:
    assert shingle_hashes("a\ud800b \x00 c d e f").size == 1


def test_shingles_are_the_same_in_every_process() -> None:
    """They decide across workers, so they may not depend on hash seeds or machines."""
    assert shingle_hashes("the quick brown fox jumps over").tolist() == [
        7058866846973086292,
        16557124905821604976,
    ]


def test_functions_are_compiled_even_where_no_cache_can_be_written() -> None:
    """Numba refuses to decorate when none of its cache locators applies."""
    code = "from beam_pipelines.dedup.shingles import shingle_hashes as f; print(f('a b').size)"
    environment = {"NUMBA_CACHE_LOCATOR_CLASSES": "ZipCacheLocator", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "1", done.stderr
