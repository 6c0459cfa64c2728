"""Runs the released filter over files, in an interpreter that has what it needs.

    PYTHON benchmarks/released_filter.py REPOSITORY < DOCUMENTS

`benchmarks.cleaning` starts it as a process of its own: the repository has modules with
names such as `utils` and sets signal handlers. DOCUMENTS are JSON lines of `text, path,
language, doc_type`. It is run as its own notebook runs it: the file name without its
extension, human language English. Prints one JSON object: CPU seconds, documents kept,
the slowest file. Imports nothing of this project, so that any interpreter will do.
"""

import contextlib
import json
import sys
import time

_NEEDED = "nltk jieba zhconv esprima==4.0.1 beautifulsoup4 pandas Pygments regex fasttext-predict"


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    try:
        from pipeline.compute_filtering import CodeFilter
        from pipeline.compute_quality_signals import ComputeCodeQualitySignal
    except ImportError as error:
        sys.exit(f"{sys.argv[1]}: cannot import the released filter ({error}); needs {_NEEDED}")
    signals, rules = ComputeCodeQualitySignal(), CodeFilter()

    def judge(document: dict[str, str]) -> bool:
        name = document["path"].rsplit("/", 1)[-1]
        stem, _, extension = name.rpartition(".")
        result = json.loads(
            signals.evaluate(
                text=document["text"],
                filename=stem or name,
                lang="en",
                ext=extension,
                file_size_in_byte=len(document["text"].encode()),
                program_lang=document["language"],
                doc_type=document["doc_type"],
            )
        )
        values = result["quality_signal"]
        decision = rules.evaluate(document["doc_type"], "en", document["language"], values)
        return json.loads(decision)["effective"] == "1"

    documents = [json.loads(line) for line in sys.stdin]
    kept, slowest, slowest_path = 0, 0.0, ""
    # It prints what fails; standard output is for the result.
    with contextlib.redirect_stdout(sys.stderr):
        judge(documents[0])
        started = time.process_time()
        for document in documents:
            before = time.process_time()
            kept += judge(document)
            took = time.process_time() - before
            if took > slowest:
                slowest, slowest_path = took, document["path"]
        seconds = time.process_time() - started
    print(
        json.dumps(
            {"seconds": seconds, "kept": kept, "slowest": slowest, "slowest_path": slowest_path}
        )
    )


if __name__ == "__main__":
    main()
