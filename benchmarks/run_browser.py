"""The page of many runs: what it takes to write it, its size, and how soon it answers.

    python -m benchmarks.run_browser [--runs=200] [--lines=1000]

Writes runs of realistic metrics, makes the page, and opens it in a headless Chromium: seconds
until everything is drawn, then milliseconds that a keystroke in the filter, an order, an opened
run and all curves at once take, each with its layout. docs/report.md has the figures.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from opencoder_jax.sweep.browse import browse
from tests.opencoder_jax.report.run_folders import write_runs
from tests.opencoder_jax.serve.browser import Browser

_FILTERS = ("a", "ar", "arm:file", "arm:file loss<2.5", "chunk", "")
_TIMED = """(async () => {
  const started = performance.now();
  %s;
  document.body.offsetHeight;
  return performance.now() - started;
})()"""
_TYPE = (
    "const e = document.getElementById('filter'); e.value = '%s'; "
    "e.dispatchEvent(new Event('input'))"
)
_ACTIONS = {
    "order by a column": "document.querySelector('[data-sort=\"loss\"]').click()",
    "open a run": "document.querySelector('#table [data-open]').click()",
    "draw all curves": "document.getElementById('select-shown').click(); "
    "document.getElementById('log').click()",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--lines", type=int, default=1000, help="of metrics, of each run")
    options = parser.parse_args()
    # A browser that was ended may still write.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        write_runs(folder / "runs", runs=options.runs, lines=options.lines)
        started = time.process_time()
        page = browse([str(folder / "runs")], str(folder / "runs.html"))
        print(f"written in {time.process_time() - started:.1f} s of CPU")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"{page.stat().st_size / 1e6:.1f} MB, {peak / 1e3:.0f} MB of memory")
        with Browser(folder / "profile") as browser:
            browser.window(1280)
            started = time.monotonic()
            browser.open(page.as_uri())
            browser.wait("document.documentElement.dataset.ready === 'yes'")
            print(f"drawn {time.monotonic() - started:.2f} s after it was opened")
            typed = [browser.run(_TIMED % (_TYPE % text)) for text in _FILTERS]
            print(f"a keystroke in the filter: {min(typed):.0f} to {max(typed):.0f} ms")
            for title, script in _ACTIONS.items():
                print(f"{title}: {browser.run(_TIMED % script):.0f} ms")


if __name__ == "__main__":
    main()
