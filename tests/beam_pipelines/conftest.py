"""What several tests of jobs need."""

from collections.abc import Iterator

import pytest

from tests.beam_pipelines.object_store import Store, running_store_of


@pytest.fixture(scope="module", params=["s3", "gs"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """A server of each kind in turn."""
    with running_store_of(request.param, tmp_path_factory.mktemp("store")) as running:
        yield running
