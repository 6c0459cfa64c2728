"""Eight megabytes of whatever makes most tokens, comments or findings take bounded memory."""

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from beam_pipelines.signals.compute import compute_signals
from beam_pipelines.transforms.personal_data import personal_spans
from beam_pipelines.transforms.repair import repair
from opencoder_jax.formats.document import Document

_SIZE = 8_000_000
_MOST_MEGABYTES = 150
_UNITS = (
    '"',
    "\\",
    "'\\\"\\\\",
    'password = "x"\n',
    "# Copyright 2010 Jane Roe\n",
    "# todo\n",
    "a b ",
)
_KEY = "api_key = 'a8f5f167f44f4964e6c998dee82711{:02d}'\n"


@pytest.mark.slow
def test_no_text_takes_much_more_memory_than_itself():
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender,))
    process.start()
    sender.close()
    grown = receiver.recv()
    process.join()
    assert max(grown.values()) < _MOST_MEGABYTES, grown


@pytest.mark.parametrize("line", ["x = 1  # y\n", "é = 'ü'\n"])
def test_keys_of_a_long_text_are_found_wherever_they_stand(line):
    # One every few lines over several windows of the scanner.
    places = range(0, 60_000, 977)
    lines = [_KEY.format(i % 100) if i in places else line for i in range(60_000)]
    text = "".join(lines)
    found = [text[span.start : span.end] for span in personal_spans(text)]
    assert len(text.encode()) > 2 * (1 << 18)
    assert found == [_KEY.format(i % 100)[11:-2] for i in places]


def _measure(sender: Connection) -> None:
    _clean("x = 'é'\n")
    grown = {}
    for unit in _UNITS:
        text = (unit * (_SIZE // len(unit) + 1))[:_SIZE]
        # From here on the high-water mark is that of what follows (man 5 proc).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _megabytes("VmRSS")
        _clean(text)
        grown[unit] = _megabytes("VmHWM") - before
    sender.send(grown)


def _clean(text: str) -> None:
    document, _ = repair(Document("id", text, "r", "p.sh", "shell", "code"))
    compute_signals(document.text, language="shell", doc_type="code", path="p.sh",
                    size_bytes=len(text), document_id="id")  # fmt: skip


def _megabytes(name: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1000
