"""datatrove's reader, extractor and fastText filter on a WARC file, in their own Python.

    PYTHON web_recall_peers.py WARC MODEL     prints JSON: CPU seconds, pages kept

Imports nothing of the project.
"""

import json
import os
import sys
import time


def recalled(warc: str, model: str) -> dict[str, float]:
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import FastTextClassifierFilter
    from datatrove.pipeline.readers import WarcReader

    folder, name = os.path.split(warc)
    reader = WarcReader(folder, glob_pattern=name)
    extract = Trafilatura(favour_precision=True, timeout=60)
    keep = FastTextClassifierFilter(model, keep_labels=[("code", 0.5)], newline_replacement=" ")
    start = time.process_time()
    kept = sum(1 for _ in keep.run(extract.run(reader.run(None, 0, 1), 0, 1), 0, 1))
    # The extractor works in a process of its own.
    children = os.times().children_user + os.times().children_system
    return {"cpu_seconds": time.process_time() - start + children, "kept": kept}


if __name__ == "__main__":
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    json.dump(recalled(*sys.argv[1:]), output)
