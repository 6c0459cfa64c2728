"""Runs the released filter over files, in an interpreter that has what it needs.

    PYTHON benchmarks/released_filter.py REPOSITORY < DOCUMENTS
    PYTHON benchmarks/released_filter.py REPOSITORY --rows < CORPUS > ROWS

The repository has modules with names such as `utils` and sets signal handlers, so it is a
process of its own. The filter is run as its own notebook runs it: the file name without its
extension, human language English. DOCUMENTS are JSON lines of `text, path, language,
doc_type` (`benchmarks.cleaning` gives them); printed is one JSON object: CPU seconds,
documents kept, the slowest file. CORPUS are JSON lines of `repo_name, version, path,
content`, which the filter's own tables give a type; ROWS are what `signal_parity` and
`deviations` compare with. Imports nothing of this project, so that any interpreter will do.
"""

import contextlib
import hashlib
import json
import os
import signal
import sys
import time

_NEEDED = "nltk jieba zhconv esprima==4.0.1 beautifulsoup4 pandas Pygments regex fasttext-predict"


class Filter:
    """The released filter, of a checkout that is on the path."""

    def __init__(self):
        from pipeline.compute_filtering import CodeFilter
        from pipeline.compute_quality_signals import ComputeCodeQualitySignal

        self._signals, self._rules = ComputeCodeQualitySignal(), CodeFilter()

    def judge(self, text: str, path: str, language: str, doc_type: str) -> dict:
        """`kept, hits, signals, errors` of one document."""
        stem, extension = os.path.splitext(path.rsplit("/", 1)[-1])
        result = json.loads(
            self._signals.evaluate(
                text=text,
                filename=stem,
                lang="en",
                ext=extension[1:],
                file_size_in_byte=len(text.encode("utf-8", "replace")),
                program_lang=language,
                doc_type=doc_type,
            )
        )
        values = result.get("quality_signal", "")
        decision = json.loads(self._rules.evaluate(doc_type, "en", language, values))
        return {
            "kept": decision["effective"] == "1",
            "hits": [name for name, hit in json.loads(decision["hit_map"]).items() if hit],
            "signals": json.loads(values or "{}"),
            "errors": list(json.loads(result.get("err_msg", "{}"))),
        }


def measure(released: Filter) -> None:
    """Judges DOCUMENTS and prints what that took."""
    documents = [json.loads(line) for line in sys.stdin]
    kept, slowest, slowest_path = 0, 0.0, ""
    # It prints what fails; standard output is for the result.
    with contextlib.redirect_stdout(sys.stderr):
        released.judge(**documents[0])
        started = time.process_time()
        for document in documents:
            before = time.process_time()
            kept += released.judge(**document)["kept"]
            took = time.process_time() - before
            if took > slowest:
                slowest, slowest_path = took, document["path"]
        seconds = time.process_time() - started
    print(
        json.dumps(
            {"seconds": seconds, "kept": kept, "slowest": slowest, "slowest_path": slowest_path}
        )
    )


def write_rows(released: Filter) -> None:
    """Judges CORPUS and writes ROWS."""
    from utils.preprocessing import get_doc_type, get_program_lang

    # Its limit of ten seconds a signal is one of the clock, and this machine may be busy.
    vars(signal).update(ITIMER_REAL=signal.ITIMER_PROF, SIGALRM=signal.SIGPROF)
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        for number, line in enumerate(sys.stdin, 1):
            if number % 1000 == 0:
                print(f"released filter: {number} files", flush=True)
            row = json.loads(line)
            text, path = row["content"], row["path"]
            stem, extension = os.path.splitext(path.rsplit("/", 1)[-1])
            language = get_program_lang(stem, extension[1:])
            kind = {"language": language, "doc_type": get_doc_type(language)}
            judged = {"kept": False, "hits": [], "signals": {}, "errors": []}
            if kind["doc_type"] not in ("excluded", "unknown"):
                judged = released.judge(text=text, path=path, **kind)
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
            names = {name: row[name] for name in ("repo_name", "version", "path")}
            out.write(json.dumps({"sha256": digest, **names, **kind, **judged}) + "\n")


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    try:
        released = Filter()
    except ImportError as error:
        sys.exit(f"{sys.argv[1]}: cannot import the released filter ({error}); needs {_NEEDED}")
    if "--rows" in sys.argv[2:]:
        write_rows(released)
    else:
        measure(released)


if __name__ == "__main__":
    main()
