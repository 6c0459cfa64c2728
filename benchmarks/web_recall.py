"""Recall on pages of sources that nothing was learned from, and its speed beside datatrove's.

    python -m benchmarks.web_recall --corpus=DIR --peers_python=PYTHON

DIR has `web.jsonl.zst`, which is packed as WARC: documentation of programming tools (`code`), other
documentation and books (`noncode`), saved news pages (`noncode?`). A set of documents shares a
template, so sources are held out whole, never pages: each of `SPLITS` learns from all sources but
those that it names, segmentation included, at most 120 pages of each, and is judged on all
pages of those. Compared are the job's own functions (distinct pieces), the same with every piece as
often as it stands there, and fastText on words between white space.

Speed is CPU time of one core from WARC to a score: ours, and datatrove's reader, Trafilatura and
fastText filter with a model of words that learned from the same pages, in PYTHON
(benchmarks/requirements.txt). The last line is the ratio.
"""

import argparse
import bisect
import functools
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sentencepiece
from rich.console import Console
from rich.table import Table

from beam_pipelines.recall.classifier import (
    Classifier,
    ClassifierSettings,
    Example,
    fasttext_library,
    train,
)
from beam_pipelines.recall.labels import NONE
from beam_pipelines.recall.segments import UNKNOWN, WORD, TrainedSegmenter, train_segmenter
from beam_pipelines.sources.containers import Container
from beam_pipelines.web.charset import NoTextError
from beam_pipelines.web.page import RawPage
from beam_pipelines.web.transform import PageSettings, page_document
from beam_pipelines.web.warc import WarcFormat
from benchmarks import web_recall_peers
from benchmarks.web_corpus import corpus_pages, write_warc
from opencoder_jax.errors import InputError
from opencoder_jax.formats.split import hash_fraction

# Every source is held out once, and with each source of code one of the others.
SPLITS = (
    (("git-doc", "golang-1.19-doc"), ("libreoffice-help-en-us",)),
    (("python3.11-doc", "python-django-doc"), ("anarchism",)),
    (("postgresql-doc-15",), ("lilypond-doc-html",)),
    (("sqlite3-doc",), ("trafilatura",)),
    (("libglib2.0-doc", "r-doc-html"), ("debian-history", "jargon")),
)
CODE = "code"
SETTINGS = ClassifierSettings(vocabulary=4000, sample_pages=2000)
PAGES = PageSettings(max_page_bytes=8_000_000, min_characters=100)
_OF_A_SOURCE = 120
_SAMPLE_CHARACTERS = 4000
_THRESHOLD = 0.5


class Page(NamedTuple):
    """A page of the corpus: its package, label (`code` or `none`), main text, place by hash."""

    source: str
    label: str
    text: str
    order: float


def read_pages(corpus: Path) -> list[Page]:
    """The main texts, by the job's own extraction."""
    pages = []
    for page in corpus_pages(corpus):
        raw = RawPage(page.url, page.html.encode("utf-8"), is_html=True, charset="utf-8")
        try:
            text = page_document(raw, PAGES).text
        except NoTextError:
            continue
        source = page.repo.rpartition("/")[2]
        label = CODE if page.label == CODE else NONE
        pages.append(Page(source, label, text, hash_fraction("page", page.url)))
    return sorted(pages, key=lambda page: page.order)


# Training pages to a function from texts to the probability of code.
Method = Callable[[Sequence[Page]], Callable[[str], float]]


def ours(training: Sequence[Page], folder: Path, repeated: bool = False) -> Callable[[str], float]:
    """The job's segmentation and classifier; `repeated`: pieces as often as they stand there."""
    model = train_segmenter(
        [page.text[:_SAMPLE_CHARACTERS] for page in training], SETTINGS.vocabulary
    )
    segmenter = TrainedSegmenter.load(model, "segments.model")
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)

    def pieces(text: str) -> np.ndarray:
        text = text[: SETTINGS.characters]
        if not repeated:
            return segmenter.pieces(text)
        ids = processor.encode(WORD.findall(text), num_threads=1)
        return np.array([i for word in ids for i in word if i != UNKNOWN], np.int32)

    examples = [Example(page.label, pieces(page.text)) for page in training]
    path = folder / "classifier.bin"
    train(lambda: examples, SETTINGS, path)
    classifier = Classifier.load(path, segmenter.size)
    return lambda text: classifier.scores(pieces(text))[CODE]


def words(training: Sequence[Page], folder: Path) -> Callable[[str], float]:
    """fastText on words between white space, trained as long."""
    text = folder / "words.txt"
    lines = (f"__label__{page.label} {' '.join(page.text.split())}\n" for page in training)
    text.write_text("".join(lines))
    model = fasttext_library().train_supervised(
        str(text),
        epoch=math.ceil(SETTINGS.least_steps / len(training)),
        lr=SETTINGS.learning_rate,
        thread=1,
        seed=0,
        verbose=0,
    )
    model.save_model(str(folder / "words.bin"))

    def score(text: str) -> float:
        labels, values = model.predict(" ".join(text.split()), k=2)
        return dict(zip(labels, values, strict=True))[f"__label__{CODE}"]

    return score


class Quality(NamedTuple):
    """Precision and recall at one half; how often a page of code has more than another one."""

    precision: float
    recall: float
    ranked: float


def judge(score: Callable[[str], float], pages: Sequence[Page]) -> Quality:
    scores = {label: [score(p.text) for p in pages if p.label == label] for label in (CODE, NONE)}
    right, wrong = (sum(s >= _THRESHOLD for s in scores[label]) for label in (CODE, NONE))
    others = sorted(scores[NONE])
    below = sum(bisect.bisect_left(others, s) for s in scores[CODE])
    return Quality(
        right / max(right + wrong, 1),
        right / len(scores[CODE]),
        below / (len(scores[CODE]) * len(others)),
    )


def few_of_each(pages: Sequence[Page], held_out: Sequence[str]) -> list[Page]:
    given: dict[str, int] = {}
    chosen = []
    for page in pages:
        if page.source not in held_out:
            given[page.source] = given.get(page.source, 0) + 1
            if given[page.source] <= _OF_A_SOURCE:
                chosen.append(page)
    return chosen


def measure_quality(pages: Sequence[Page], folder: Path) -> None:
    """Prints a row for each split and method, and their means."""
    methods: dict[str, Method] = {
        "ours": functools.partial(ours, folder=folder),
        "every occurrence": functools.partial(ours, folder=folder, repeated=True),
        "words": functools.partial(words, folder=folder),
    }
    table = Table("held out", "pages", "method", "precision", "recall", "ranked right")
    sums = {name: np.zeros(3) for name in methods}
    for code, other in SPLITS:
        held_out = (*code, *other)
        training = few_of_each(pages, held_out)
        test = [page for page in pages if page.source in held_out]
        for name, method in methods.items():
            quality = judge(method(training), test)
            sums[name] += quality
            title = " + ".join(code) + " | " + " + ".join(other)
            first = name == "ours"
            table.add_row(
                title if first else "",
                str(len(test)) if first else "",
                name,
                *(f"{value:.3f}" for value in quality),
            )
    for name, total in sums.items():
        table.add_row("mean", "", name, *(f"{value:.3f}" for value in total / len(SPLITS)))
    Console(width=120).print(table)


def our_pages(warc: Path) -> Iterator[str]:
    """The main texts in a WARC file."""
    form = WarcFormat()
    container = Container(str(warc), warc.name, warc.stat().st_size)
    for part in form.split(container):
        for record in form.read(container, part, PAGES.max_page_bytes):
            if isinstance(record, RawPage):
                try:
                    yield page_document(record, PAGES).text
                except NoTextError:
                    continue


def measure_speed(pages: Sequence[Page], corpus: Path, folder: Path, peers_python: str) -> float:
    """Prints pages a second of both; ours over theirs."""
    warc = folder / "pages.warc.gz"
    write_warc(corpus_pages(corpus), warc)
    training = few_of_each(pages, ())
    score = ours(training, folder)
    words(training, folder)
    count = sum(1 for _ in corpus_pages(corpus))
    # Compiled and loaded; the words that pages have were seen in training only.
    score(next(our_pages(warc)))
    start = time.process_time()
    kept = sum(score(text) >= _THRESHOLD for text in our_pages(warc))
    seconds = time.process_time() - start
    print(f"ours: {count / seconds:,.0f} pages/s a core, {kept} of {count} recalled")
    command = [peers_python, web_recall_peers.__file__, str(warc), str(folder / "words.bin")]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        print("datatrove: not measured (see --peers_python)")
        return 0.0
    found = json.loads(done.stdout)
    print(
        f"datatrove: {count / found['cpu_seconds']:,.0f} pages/s a core,"
        f" {found['kept']} of {count} recalled"
    )
    return found["cpu_seconds"] / seconds


def web_recall(corpus: Path, peers_python: str) -> None:
    """Prints the measurements; see the module."""
    pages = read_pages(corpus)
    print(f"{len(pages)} pages with text")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure_quality(pages, folder)
        ratio = measure_speed(pages, corpus, folder, peers_python)
    print(f"web_recall: {ratio:.2f} times datatrove" if ratio else "web_recall: no peer")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--corpus", required=True, type=Path)
    parser.add_argument("--peers_python", default=sys.executable)
    arguments = parser.parse_args()
    try:
        web_recall(arguments.corpus, arguments.peers_python)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
