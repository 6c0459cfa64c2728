"""What `/metrics` tells Prometheus. Next: `app`, which counts requests.

The names begin with `opencoder_`; docs/serving.md lists them.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest

# Seconds. From a token of a small model on an accelerator to minutes in the queue.
_FIRST = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_BETWEEN = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5)
_WHOLE = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The server's counters, each server its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "opencoder_requests",
            "Requests answered, by path and status; 499: the client left.",
            ["path", "status"],
            registry=registry,
        )
        self.prompt = Counter(
            "opencoder_prompt_tokens", "Tokens of prompts that were taken.", registry=registry
        )
        self.generated = Counter(
            "opencoder_generated_tokens", "Tokens that were generated.", registry=registry
        )
        self.cancelled = Counter(
            "opencoder_cancelled_texts",
            "Texts that ended early because nobody waited for them.",
            registry=registry,
        )
        self.stalled = Counter(
            "opencoder_stalled_connections",
            "Connections that were closed because their client did not take its answer.",
            registry=registry,
        )
        self.first_token = Histogram(
            "opencoder_time_to_first_token_seconds",
            "From a request's arrival in the queue to the first token of a text.",
            buckets=_FIRST,
            registry=registry,
        )
        self.between_tokens = Histogram(
            "opencoder_inter_token_seconds",
            "Between two tokens of a text.",
            buckets=_BETWEEN,
            registry=registry,
        )
        self.duration = Histogram(
            "opencoder_request_seconds",
            "From a request's head to the end of its answer.",
            ["path"],
            buckets=_WHOLE,
            registry=registry,
        )

    def watch(self, slots: int, counts: Callable[[], tuple[int, int]]) -> None:
        """Adds the gauges of an engine: its slots, and how many texts run and wait now."""
        gauges: tuple[tuple[str, str, Callable[[], float]], ...] = (
            ("opencoder_slots", "Texts that can run side by side.", lambda: slots),
            ("opencoder_texts_running", "Texts that have a slot now.", lambda: counts()[0]),
            ("opencoder_texts_waiting", "Texts that wait for a slot now.", lambda: counts()[1]),
        )
        for name, text, value in gauges:
            Gauge(name, text, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self.registry)
