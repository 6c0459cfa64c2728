"""A command whose figure is what it was told, for tests of searches."""

import contextlib
import json
import signal
from pathlib import Path

from opencoder_jax import configuration
from opencoder_jax.errors import InputError


def searched(output_dir: str, rate: float, highest: float = 1.0, waits: bool = False) -> None:
    """Writes `manifest.json`, whose figure is `bytes a token`.

    Args:
      output_dir: folder that gets it.
      rate: the figure.
      highest: a rate that is still possible.
      waits: until SIGTERM; then `saved` is written.
    """
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if waits:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            (folder / "waiting").touch()
            signal.pause()
        (folder / "saved").touch()
        raise SystemExit(128 + signal.SIGTERM)
    if rate > highest:
        raise InputError(f"rate is {rate}, expected at most {highest}")
    made = {"counts": {"bytes_per_token": rate}}
    (folder / "manifest.json").write_text(json.dumps(made))


if __name__ == "__main__":
    raise SystemExit(configuration.main(searched))
