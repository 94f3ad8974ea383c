"""What the service counts of itself, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from palate.serve.state import Outcome, Shelf

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts of one service.

    Args:
        shelf: the models that it serves.
        busy: requests that are worked on or wait.
    """

    def __init__(self, shelf: Shelf, busy: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "palate_requests", "Requests that were answered.", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "palate_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._swaps = Counter(
            "palate_swaps",
            "Attempts to put a new model in the place of an old one.",
            ("model", "outcome"),
            registry=self.registry,
        )
        waiting = Gauge("palate_requests_busy", "Requests that are worked on or wait.", registry=self.registry)
        waiting.set_function(busy)
        self.registry.register(_Loaded(shelf))
        for name in shelf.places:
            for outcome in ("swapped", "refused"):
                self._swaps.labels(name, outcome)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def swapped(self, name: str, outcome: Outcome) -> None:
        """Count a swap."""
        self._swaps.labels(name, outcome).inc()

    def text(self) -> bytes:
        """All counts in Prometheus's text format."""
        return generate_latest(self.registry)


class _Loaded(Collector):
    """The models as they are when they are asked for."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One line a model and fact."""
        labels = ("model", "title", "source")
        since = GaugeMetricFamily("palate_model_loaded_timestamp_seconds", "When the model came.", labels=labels)
        users = GaugeMetricFamily("palate_model_users", "Users that the model knows.", labels=labels)
        items = GaugeMetricFamily("palate_model_items", "Items that the model knows.", labels=labels)
        for place, served in self.shelf.all():
            facts = served.bundle.facts
            values = (place.name, facts.title, served.source)
            since.add_metric(values, place.since)
            users.add_metric(values, facts.users)
            items.add_metric(values, facts.items)
        return [since, users, items]
