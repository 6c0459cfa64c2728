"""Installed packages as a source: even shares within a budget, the same every time."""

import dataclasses
import random
from collections import Counter
from pathlib import Path

import pytest

from beam_pipelines.languages.file_types import identify
from beam_pipelines.sources.installed import InstalledFile, InstalledPackages, even_cap, sample
from opencoder_jax.errors import InputError

FILES = [
    InstalledFile(f"repo{r}", f"{r}/{i}.{extension}", "", size, "MIT", language)
    for r, count in enumerate((3, 10, 400))
    for i in range(count)
    for extension, language, size in (("py", "python", 100), ("c", "c", 50), ("so", "", 9000))
]


def test_shares_are_even_and_small_packages_whole() -> None:
    taken = sample(FILES, 4000, seed=0)
    total = Counter((file.repo, file.language) for file in taken if file.language)
    assert total["repo0", "python"] == total["repo0", "c"] == 3
    assert abs(total["repo1", "python"] - total["repo2", "python"]) <= 1
    assert 3000 < sum(file.size for file in taken if file.language) <= 4000


def test_the_sample_depends_on_names_and_seed_alone() -> None:
    shuffled = random.Random(0).sample(FILES, len(FILES))
    assert sample(shuffled, 4000, seed=0) == sample(FILES, 4000, seed=0)
    assert sample(FILES, 4000, seed=1) != sample(FILES, 4000, seed=0)


def test_files_without_a_language_come_at_their_repository_s_rate() -> None:
    taken = sample(FILES, 4000, seed=0)
    unknown = Counter(file.repo for file in taken if not file.language)
    assert unknown["repo0"] == 3
    assert unknown["repo2"] < 40


def test_a_budget_that_is_large_enough_takes_all() -> None:
    assert len(sample(FILES, 10**9, seed=0)) == len(FILES)


@pytest.mark.parametrize(
    ("sizes", "budget", "cap"), [([1, 2, 100], 9, 6), ([5, 5], 100, 5), ([], 5, 0), ([4, 4], 3, 1)]
)
def test_the_even_cap_is_the_largest_that_fits(sizes: list[int], budget: int, cap: int) -> None:
    assert even_cap(sizes, budget) == cap


def test_this_environment_gives_many_packages_within_the_budget() -> None:
    entries = InstalledPackages(megabytes=1).files()
    known = [e for e in entries if identify(e.path).doc_type not in ("unknown", "excluded")]
    assert 900_000 < sum(entry.size for entry in known) <= 1_000_000
    repositories = {entry.repo for entry in entries}
    assert len(repositories) > 100
    assert not any(repo.startswith("opencoder") for repo in repositories)
    assert {"numpy", "python"} <= {repo.partition("==")[0] for repo in repositories}
    assert all(Path(entry.location.decode()).is_absolute() for entry in entries)
    assert len({entry.id for entry in entries}) == len(entries)


def test_a_budget_of_nothing_is_bad_input() -> None:
    with pytest.raises(InputError, match="megabytes is 0"):
        dataclasses.replace(InstalledPackages(1), megabytes=0).fingerprint()
