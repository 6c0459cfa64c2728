"""Eight virtual CPU devices for every test, and quick compilation, before JAX is imported."""

import os
import sys

import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "8"
# Programs of tests run for milliseconds and are compiled for seconds: half of that without LLVM's
# optimizations.
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
# TensorFlow, which seqio brings, is talkative.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# PyTorch would import it and needs it for GPUs alone; its LLVM and TensorFlow's abort the process
# that loads both.
sys.modules["triton"] = None  # type: ignore[assignment]


@pytest.fixture(autouse=True, scope="module")
def no_configuration_of_another_module():
    """Gin's settings are the process's: what a module configured is no other's, in any order."""
    yield
    if "gin" in sys.modules:
        sys.modules["gin"].clear_config()
