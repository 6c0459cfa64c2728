"""Peers of `benchmarks.web_extraction`, `web_readers`, `web_pages`, in their own Python: JSON out.

    PYTHON web_peers.py extract NAME FILE     FILE: a JSON string of HTML a line
    PYTHON web_peers.py records NAME WARC     fastwarc or warcio
    PYTHON web_peers.py datatrove WARC        datatrove's own reader and extractor

Imports nothing of the project. NAME: trafilatura, trafilatura-precision, trafilatura-recall,
resiliparse (its own main content), resiliparse-all (without).
"""

import json
import os
import sys
import time
from collections.abc import Callable


def extractor(name: str) -> Callable[[str], str]:
    if name.startswith("resiliparse"):
        from resiliparse.extract.html2text import extract_plain_text

        main = not name.endswith("all")
        return lambda html: extract_plain_text(
            html, preserve_formatting=True, main_content=main, alt_texts=False
        )
    import trafilatura

    options = {"favor_precision": "precision" in name, "favor_recall": "recall" in name}
    return lambda html: trafilatura.extract(html, output_format="markdown", **options) or ""


def extract(name: str, path: str) -> dict[str, object]:
    with open(path, encoding="utf-8") as file:
        pages = [json.loads(line) for line in file]
    one = extractor(name)
    one(pages[0])
    start = time.process_time()
    texts = []
    for page in pages:
        try:
            texts.append(one(page))
        except Exception:
            texts.append("")
    return {"seconds": time.process_time() - start, "texts": texts}


def records(name: str, path: str) -> dict[str, object]:
    """(address, bytes of the payload) of each response up to the end or an error."""
    found: list[tuple[str, int]] = []
    error = ""
    start = time.process_time()
    with open(path, "rb") as file:
        try:
            if name == "fastwarc":
                from fastwarc.warc import ArchiveIterator

                for record in ArchiveIterator(file):
                    url = record.headers.get("WARC-Target-URI") or ""
                    found.append((url, len(record.reader.read())))
            else:
                from warcio.archiveiterator import ArchiveIterator as Iterator

                for record in Iterator(file):
                    url = record.rec_headers.get_header("WARC-Target-URI") or ""
                    found.append((url, len(record.content_stream().read())))
        except Exception as problem:
            error = repr(problem)[:200]
    return {"found": found, "error": error, "seconds": time.process_time() - start}


def datatrove(path: str) -> dict[str, object]:
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.readers import WarcReader

    folder, name = os.path.split(path)
    reader = WarcReader(folder, glob_pattern=name)
    extract = Trafilatura(favour_precision=True, timeout=60)
    start, start_cpu = time.perf_counter(), time.process_time()
    kept = sum(len(page.text) > 0 for page in extract.run(reader.run(None, 0, 1), 0, 1))
    times = os.times()
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - start_cpu + times.children_user,
        "kept": kept,
    }


if __name__ == "__main__":
    task, *rest = sys.argv[1:]
    tasks: dict[str, Callable[..., dict[str, object]]] = {
        "extract": extract,
        "datatrove": datatrove,
        "records": records,
    }
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    json.dump(tasks[task](*rest), output)
