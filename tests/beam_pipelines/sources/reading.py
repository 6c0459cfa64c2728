"""What a source hands over, read on the default runner."""

from beam_pipelines.sources.entry import RawFile, Source
from tests.beam_pipelines.dedup.running import run_source


def files_of(source: Source, max_file_bytes: int = 8_000_000) -> list[RawFile]:
    """All raw files, by id."""
    return sorted(run_source(source, max_file_bytes), key=lambda file: file.id)
