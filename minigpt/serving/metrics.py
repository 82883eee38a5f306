"""Figures for Prometheus, in a registry of the server's own."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from minigpt.serving.fleet import Fleet
from minigpt.serving.inbox import Observe

FIRST = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
PACE = (0.0002, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.03, 0.06, 0.125, 0.25, 0.5, 1)
GAUGES = {
    "waiting": ("minigpt_queue_texts", "Texts that wait for a slot."),
    "working": ("minigpt_batch_texts", "Texts that are written now: the batch."),
}
COUNTERS = {
    "steps": ("minigpt_steps", "Passes of the model over a batch."),
    "stepped": ("minigpt_stepped_texts", "Texts of all passes: by the passes, the mean batch."),
}
TOKENS = ("read", "written", "cached", "guessed")
MEDIA_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """What was counted since the start."""

    def __init__(self, fleet: Fleet) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "minigpt_requests", "Requests.", ("route", "status"), registry=self._registry
        )
        self._first = Histogram(
            "minigpt_time_to_first_token_seconds",
            "From a request to the first token of a text.",
            ("version",), buckets=FIRST, registry=self._registry,
        )  # fmt: skip
        self._pace = Histogram(
            "minigpt_time_per_token_seconds", "Of a text, behind its first token.",
            ("version",), buckets=PACE, registry=self._registry,
        )  # fmt: skip
        self._registry.register(_Workers(fleet))

    def request(self, route: str, status: int) -> None:
        """One was answered."""
        self._requests.labels(route, status).inc()

    def observer(self, version: str) -> Observe:
        """What is told of each text of a version."""
        first, pace = self._first.labels(version), self._pace.labels(version)

        def observe(seconds: float, each: float | None, tokens: int) -> None:
            del tokens  # the worker counts them
            first.observe(seconds)
            if each is not None:
                pace.observe(each)

        return observe

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self._registry)


class _Workers(Collector):
    """What the workers tell of themselves; those that have ended are still counted."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._last: dict[int, tuple[str, dict[str, int]]] = {}

    def collect(self) -> Iterator[Metric]:
        """The metrics, by version."""
        living = self._fleet.workers
        for worker in living:
            self._last[id(worker)] = (worker.files.name, worker.stats)
        ids = {id(worker) for worker in living}
        now = [entry for key, entry in self._last.items() if key in ids]
        for key, (name, help_text) in GAUGES.items():
            gauge = GaugeMetricFamily(name, help_text, labels=("version",))
            for version, count in _summed(now, key):
                gauge.add_metric((version,), count)
            yield gauge
        every = list(self._last.values())
        for key, (name, help_text) in COUNTERS.items():
            counter = CounterMetricFamily(name, help_text, labels=("version",))
            for version, count in _summed(every, key):
                counter.add_metric((version,), count)
            yield counter
        tokens = CounterMetricFamily("minigpt_tokens", "Tokens.", labels=("version", "kind"))
        for kind in TOKENS:
            for version, count in _summed(every, kind):
                tokens.add_metric((version, kind), count)
        yield tokens
        ready = GaugeMetricFamily("minigpt_ready", "1: every model can answer.")
        ready.add_metric((), int(self._fleet.ready))
        yield ready


def _summed(entries: Iterable[tuple[str, dict[str, int]]], key: str) -> list[tuple[str, int]]:
    sums: dict[str, int] = {}
    for version, stats in entries:
        sums[version] = sums.get(version, 0) + stats.get(key, 0)
    return sorted(sums.items())
