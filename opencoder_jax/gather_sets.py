"""Shows packed sets that lie apart as one folder, without a copy.

    python -m opencoder_jax.gather_sets refinecode=runs/a/packed snippets=runs/b/packed \
      --output=runs/c/packed

Writes `sets.json`, name to place, which everything that opens packed sets follows: so arms of a
sweep share the sets that they have in common. Next: `data/gathered_sets.py`.
"""

import sys
from collections.abc import Sequence

from opencoder_jax import configuration
from opencoder_jax.data.gathered_sets import SETS_NAME, write_sets
from opencoder_jax.errors import InputError


def gather_sets(sets: Sequence[str] = (), output: str = "") -> dict[str, str]:
    """Writes the folder.

    Args:
      sets: `NAME=FOLDER` each: what mixtures call the set, and where it lies. Folders may be in
        the store of `output`.
      output: the folder; replaces the names of one that is there.

    Returns:
      Name to place as they were written.

    Raises:
      InputError: a word is no `NAME=FOLDER`, a name is there twice, or a folder has no set.
    """
    if not output:
        raise InputError("where to? Give --output=FOLDER")
    folders: dict[str, str] = {}
    for word in sets:
        name, separator, folder = word.partition("=")
        if not (name and separator and folder) or "/" in name:
            raise InputError(f"{word!r}: expected NAME=FOLDER")
        if name in folders:
            raise InputError(f"set {name!r} is there twice")
        folders[name] = folder
    if not folders:
        raise InputError("which sets? Give NAME=FOLDER, one or more")
    written = write_sets(output, folders)
    print(f"{output}/{SETS_NAME}: {', '.join(written)}", file=sys.stderr)
    return written


if __name__ == "__main__":
    sys.exit(configuration.main(gather_sets, flags={"output": "gather_sets.output"}, words="sets"))
