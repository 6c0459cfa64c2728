"""No group is more than its share of what stays, as many stay as can, and a hash says which."""

import collections
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.accounting import Drop
from beam_pipelines.synthesis.balance import (
    REASON,
    Balance,
    BalanceSettings,
    conversation_fact,
    group_limit,
)
from opencoder_jax.errors import InputError
from opencoder_jax.formats.conversation import Conversation
from tests.beam_pipelines.dedup.running import run

SETTINGS = BalanceSettings(by=("language", "difficulty"), max_share=0.4)


def conversation(number: int, language: str, difficulty: str) -> Conversation:
    return Conversation(
        id=f"{number:032x}",
        messages=(("user", str(number)), ("assistant", "pass")),
        language=language,
        repo="r",
        provenance="p",
        details=f'{{"difficulty": "{difficulty}"}}' if difficulty else "",
    )


def drop(element: Conversation, reason: str, detail: str) -> Drop:
    return Drop(element.id, element.repo, "", element.language, reason, detail=detail)


KINDS = [("python", "easy")] * 200 + [("python", "hard")] * 30 + [("go", "easy")] * 25
MADE = [conversation(n, *kind) for n, kind in enumerate([*KINDS, *[("c", "")] * 5])]


def balanced(options: tuple[str, ...] = ()) -> tuple[list[Conversation], list[Drop]]:
    made = random.Random(1).sample(MADE, len(MADE))
    out = run(made, Balance(SETTINGS, conversation_fact, drop), options)
    return (
        sorted(out["kept"], key=lambda c: c.id),
        sorted(out["dropped"], key=lambda d: d.id),
    )


def test_the_largest_group_is_cut_to_its_share_of_what_stays() -> None:
    kept, dropped = balanced()
    left = collections.Counter((c.language, c.known().get("difficulty")) for c in kept)
    # 40 of 100: the others have 60 together.
    assert left == {
        ("python", "easy"): 40,
        ("python", "hard"): 30,
        ("go", "easy"): 25,
        ("c", None): 5,
    }
    assert len(kept) + len(dropped) == len(MADE)
    assert {(d.reason, d.detail) for d in dropped} == {(REASON, "python / easy: at most 40")}


def test_which_ones_stay_does_not_depend_on_order_or_runner() -> None:
    assert balanced() == balanced(("--runner=DirectRunner",))


def test_what_stays_of_a_group_is_drawn_from_all_of_it() -> None:
    numbers = [int(c.id, 16) for c in balanced()[0] if c.known().get("difficulty") == "easy"]
    first = [number for number in numbers if number < 200]
    assert min(first) < 50
    assert max(first) > 150


@given(
    counts=st.dictionaries(st.text(max_size=3), st.integers(1, 60), min_size=1, max_size=8),
    share=st.floats(0.05, 1.0),
)
def test_the_limit_is_the_largest_that_keeps_every_group_to_its_share(
    counts: dict[str, int], share: float
) -> None:
    def fits(n: int) -> bool:
        left = [min(count, n) for count in counts.values()]
        return max(left) <= share * sum(left) + 1e-9

    possible = [n for n in range(1, max(counts.values()) + 1) if fits(n)]
    if possible:
        assert group_limit(counts, share) == max(possible)
    else:
        with pytest.raises(InputError, match="max_share has to be at least"):
            group_limit(counts, share)


def test_a_share_that_no_set_can_have_is_refused() -> None:
    with pytest.raises(InputError, match="max_share is 0"):
        BalanceSettings(by=("language",), max_share=0)
    with pytest.raises(InputError, match="by is empty"):
        BalanceSettings(by=(), max_share=0.5)
