"""Shows a training run live: `python -m opencoder_jax.watch MODEL_DIR`.

Reads the model directory only (`run_state`), so the run is not disturbed and need not have
begun. Ctrl-C ends the watching, not the run; a run that is finished is shown once more.
`--once` prints one look and ends, and so does output that is no terminal.
"""

import time
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live

from opencoder_jax import configuration
from opencoder_jax.errors import InputError, require_positive
from opencoder_jax.watch.run_state import Watcher
from opencoder_jax.watch.screen import render


def watch(model_dir: Sequence[str] = (), once: bool = False, refresh_seconds: float = 1.0) -> None:
    """Shows a training run in the terminal until it is finished.

    Args:
      model_dir: the run's model directory; it may not be there yet.
      once: print one look and end.
      refresh_seconds: between two looks.

    Raises:
      InputError: not exactly one directory.
    """
    if len(model_dir) != 1:
        raise InputError("give one model directory: python -m opencoder_jax.watch MODEL_DIR")
    require_positive(refresh_seconds=refresh_seconds)
    watcher = Watcher(model_dir[0])
    console = Console()
    if once or not console.is_terminal:
        console.print(render(watcher.look()))
        return
    try:
        state = watcher.look()
        with Live(render(state), console=console, auto_refresh=False) as live:
            while state.status != "finished":
                time.sleep(refresh_seconds)
                state = watcher.look()
                live.update(render(state), refresh=True)
    except KeyboardInterrupt:
        # The only way out while it trains: no failure.
        return


if __name__ == "__main__":
    raise SystemExit(configuration.main(watch, flags={"once": "watch.once"}, words="model_dir"))
