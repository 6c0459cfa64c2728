import pytest

from tests.opencoder_jax.model.small_models import make_model_directory
from tests.opencoder_jax.serve.server_process import ServerProcess

SLOTS = 4


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("served") / "tiny"


@pytest.fixture(scope="session")
def model(model_dir):
    return make_model_directory(model_dir)


@pytest.fixture(scope="session")
def server(model, model_dir):
    """One for all tests of this worker: each leaves it idle."""
    with ServerProcess.start(
        model_dir, f"--slots={SLOTS}", "--queue=8", "--max_body_mib=1", "--request_seconds=1"
    ) as running:
        yield running
