"""Other rules over stored signals keep exactly what the job would keep with them."""

import itertools
import json
import shutil
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest

from beam_pipelines import refinecode
from beam_pipelines.corpus import STATISTICS_NAME
from beam_pipelines.transforms.rejudge import rejudge
from beam_pipelines.what_if import what_if
from opencoder_jax import configuration
from opencoder_jax.errors import InputError
from opencoder_jax.formats.document import Document, decode_document
from opencoder_jax.formats.judged import Judged, decode_judged
from opencoder_jax.formats.shards import read_records
from tests.beam_pipelines.object_store import running_store_of

RULES = """
from __gin__ import dynamic_registration
from beam_pipelines.signals import rules
python/rules.RuleTable.drop_if = {
    'qsc_codepython_score_lines_no_logic': '> 0.2 for 50%',
    'qsc_code_num_lines': '< 40 or > 900',
}
text_en/rules.RuleTable.drop_if = {'qsc_doc_num_lines': '< 30'}
"""


def clean(source: Path, output: Path, *more: Path) -> dict[str, Document]:
    """What the job keeps of `source`, by id."""
    configured = configuration.configure(
        refinecode.refinecode,
        gin_files=["refinecode/paper.gin", *more],
        bindings=[f"SOURCE_DIR = '{source}'", f"OUTPUT_DIR = '{output}'", "NUM_SHARDS = 2"],
    )
    configured()
    return {d.id: d for d in map(decode_document, read_records(output, "documents"))}


def compare(corpus: Path | str, output: Path, *more: Path, flags: Sequence[str] = ()) -> dict:
    configured = configuration.configure(
        what_if,
        gin_files=["refinecode/what_if.gin", *more],
        bindings=[f"CORPUS_DIR = '{corpus}'", "what_if.samples = 1000"],
    )
    configured(output=str(output), pipeline_args=flags)
    return json.loads(output.read_text())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some modules of Python's library, and texts of an installed package."""
    root = tmp_path_factory.mktemp("what_if") / "source"
    library = Path(sysconfig.get_path("stdlib"))
    for path in itertools.chain(
        library.glob("[a-f]*.py"), library.glob("email/*.py"), library.glob("lib2to3/fixes/*.py")
    ):
        target = root / "python" / path.relative_to(library)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    for number in range(20):
        # Words of its own, or the texts would be near duplicates of each other.
        lines = (
            f"{n * number} things{number} are sentence{n} of text{number}.\n"
            for n in range(12 + 2 * number)
        )
        (root / f"text{number}.md").write_text("".join(lines))
    (root.parent / "custom.gin").write_text(RULES)
    return root


@pytest.fixture(scope="module")
def corpus(source: Path) -> Path:
    clean(source, source.parent / "corpus")
    return source.parent / "corpus"


def test_a_rerun_with_the_other_rules_keeps_exactly_what_was_said(
    source: Path, corpus: Path, tmp_path: Path
) -> None:
    rules = source.parent / "custom.gin"
    before = {d.id: d for d in map(decode_document, read_records(corpus, "documents"))}
    comparison = compare(corpus, tmp_path / "what_if.json", rules)
    after = clean(source, tmp_path / "after", rules)

    def changed(change: str) -> set[str]:
        return {sample["id"] for sample in comparison["samples"][change]}

    assert changed("newly_kept") == after.keys() - before.keys()
    assert changed("newly_dropped") == before.keys() - after.keys()
    assert len(changed("newly_kept")) > 5
    assert len(changed("newly_dropped")) > 5
    for side, kept in (("before", before), ("after", after)):
        total = comparison["totals"][side]
        assert total["documents"] == len(kept)
        assert total["bytes"] == sum(len(d.text.encode()) for d in kept.values())
        for language in ("python", "markdown"):
            expected = sum(d.language == language for d in kept.values())
            assert comparison["languages"][language][side]["documents"] == expected
    # The rerun's own statistics count the same hits of each rule.
    statistics = json.loads((tmp_path / "after" / STATISTICS_NAME).read_text())
    for rule, counts in statistics["rules"].items():
        assert comparison["rules"][rule]["after"]["documents"] == counts["hits"]
        assert comparison["rules"][rule]["sole_after"]["documents"] == counts["sole"]
        assert comparison["rules"][rule]["sole_after"]["bytes"] == counts["sole_bytes"]


def test_the_same_rules_change_nothing(corpus: Path, tmp_path: Path, capsys) -> None:
    comparison = compare(corpus, tmp_path / "what_if.json")
    totals = comparison["totals"]
    assert totals["before"] == totals["after"]
    assert totals["newly_kept"]["documents"] == totals["newly_dropped"]["documents"] == 0
    assert comparison["samples"] == {"newly_kept": [], "newly_dropped": []}
    assert totals["judged"]["documents"] > totals["before"]["documents"] > 0
    kept = f"{totals['before']['documents']:,} documents"
    assert f"kept {kept}" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_a_corpus_in_a_store_is_compared_where_it_is(
    kind: str, source: Path, corpus: Path, tmp_path: Path
) -> None:
    rules = source.parent / "custom.gin"
    with running_store_of(kind, tmp_path) as store:
        url = store.upload(corpus, "corpus")
        here = compare(corpus, tmp_path / "here.json", rules)
        there = compare(url, tmp_path / "there.json", rules, flags=store.flags)
        assert there == here
        assert here["totals"]["newly_kept"]["documents"] > 5
        with pytest.raises(InputError, match=r"signals has no manifest\.json"):
            compare(f"{url}/signals", tmp_path / "there.json", rules, flags=store.flags)
        store.remove(f"{url}/signals/signals-00001-of-00002.arrayrecord")
        with pytest.raises(InputError, match=r"lacks signals-00001-of-00002\.arrayrecord"):
            compare(url, tmp_path / "there.json", rules, flags=store.flags)


def judged(**changes: object) -> Judged:
    values = {
        "id": "0" * 32,
        "repo": "r",
        "path": "x.c",
        "language": "c",
        "doc_type": "code",
        "human_language": "en",
        "size_bytes": 10,
        "table": "c",
        "kept": True,
        "signals": "{}",
        "violations": "[]",
    }
    return Judged(**(values | changes))  # type: ignore[arg-type]


def test_signals_of_another_version_are_refused() -> None:
    with pytest.raises(InputError, match=r"r x\.c .* lack qsc_code_.*clean the corpus again"):
        rejudge(judged(), {})


def test_a_document_whose_signal_failed_stays_dropped() -> None:
    verdicts = rejudge(judged(kept=False, table="", error="qsc_x: ValueError"), {})
    assert (verdicts.kept_after, verdicts.change) == (False, "")


def test_a_folder_without_signals_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.json"):
        what_if(str(tmp_path), {}, 1)


def test_the_records_of_a_corpus_name_their_table(corpus: Path) -> None:
    records = map(decode_judged, read_records(corpus / "signals", "signals"))
    assert {record.table for record in records} == {"python", "text_en"}
