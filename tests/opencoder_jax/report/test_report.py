import html.parser
import json
import re
import shutil
import subprocess
import sys

import pytest

from opencoder_jax.errors import InputError
from opencoder_jax.report.__main__ import report
from opencoder_jax.report.collect import collect
from opencoder_jax.report.formatting import json_for_script
from opencoder_jax.report.page import key_figures
from tests.opencoder_jax.report.run_folder import HOSTILE, write_run

SECTIONS = ("training", "evaluation", "corpus", "tokens", "synthesis", "timings", "provenance")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "demo")


@pytest.fixture(scope="module")
def page(run_dir):
    return report(run_dir).read_text(encoding="utf-8")


class Tags(html.parser.HTMLParser):
    """Elements of a page with their attributes, and the text outside scripts."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self._raw = False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._raw = False

    def handle_data(self, data):
        if not self._raw:
            self.text.append(data)


def test_text_of_documents_cannot_become_markup(page):
    tags = Tags(page)
    # Figures, Plotly, and the code that draws: nothing that a document brought.
    assert [tag for tag, _ in tags.found].count("script") == 3
    assert not [tag for tag, _ in tags.found if tag == "img"]
    assert not [names for _, names in tags.found if any(name.startswith("on") for name in names)]
    text = "".join(tags.text)
    # Corpus, clusters, synthetic data, evaluation, configuration: shown as it is, each of them.
    assert text.count(HOSTILE) >= 8


def test_the_page_loads_nothing_from_a_network(page):
    for tag, attributes in Tags(page).found:
        source = attributes.get("src") or attributes.get("href") or ""
        assert source.startswith(("#", "data:")) or not source, (tag, source)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_every_section_is_there_and_none_is_missing_its_stage(page):
    ids = {attributes.get("id") for _, attributes in Tags(page).found}
    assert set(SECTIONS) <= ids
    assert "Not run." not in page


def test_an_empty_run_says_what_has_not_run(tmp_path):
    page = report(tmp_path).read_text()
    assert page.count("Not run.") == len(SECTIONS)


@pytest.mark.parametrize(
    "stage",
    ["corpus", "tokenizer", "packed-512", "annealing_data", "sft_data", "pretrain", "sft_stage2"],
)
def test_any_stage_may_be_missing(run_dir, tmp_path, stage):
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    shutil.rmtree(copy / stage)
    report(copy)


def test_a_stage_that_is_under_way_shows_as_not_finished(run_dir, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    for stage in ("corpus", "pretrain"):
        (copy / stage / "manifest.json").unlink()
    run = collect(copy)
    assert run.corpus is None
    assert [phase.finished for phase in run.phases] == [False, True, True, True]


def test_damaged_statistics_are_an_error_that_names_the_file(run_dir, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    path = copy / "corpus" / "statistics.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(InputError, match=re.escape(str(path))):
        report(copy)


def test_the_command_prints_the_key_figures_and_the_path(run_dir, tmp_path, capsys):
    path = report(run_dir, tmp_path / "page.html")
    printed = capsys.readouterr().out
    figures = [figure.title for figure in key_figures(collect(run_dir))]
    assert len(figures) > 5
    assert [title for title in figures if title not in printed] == []
    assert printed.splitlines()[-1] == f"report: {path}"


def test_a_missing_run_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        report(tmp_path / "nowhere")


def test_tokens_of_a_phase_leave_out_those_of_the_phases_before(run_dir):
    pretrain, anneal, *_ = collect(run_dir).phases
    assert pretrain.tokens == 600 * 8100
    assert anneal.tokens == (1200 - 600) * 8100
    assert {part.source: part.asked for part in anneal.mixture} == {
        "refinecode": 0.84,
        "code_snippets": 0.16,
    }
    assert sum(part.actual for part in anneal.mixture) == pytest.approx(1)


def test_a_line_of_metrics_that_a_kill_cut_short_is_passed_over(run_dir):
    assert [phase.steps for phase in collect(run_dir).phases] == [600, 200, 80, 80]


def test_the_report_needs_neither_jax_nor_beam():
    program = (
        "import sys, opencoder_jax.report.__main__\n"
        "assert not {'jax', 'apache_beam', 'tensorflow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_json_in_a_script_cannot_end_it():
    text = json_for_script({"x": "</script><!--\u2028"})
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == {"x": "</script><!--\u2028"}
