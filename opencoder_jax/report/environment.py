"""The Jinja environment of every page: strict, escaped, with one set of filters."""

from pathlib import Path

import jinja2

from opencoder_jax.report import formatting

_FOLDER = Path(__file__).parent


def template(name: str, folder: Path = _FOLDER) -> jinja2.Template:
    """A template of a folder; a name that it does not know is an error when it is rendered."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(formatting.FILTERS)
    return environment.get_template(name)
