"""Figures as Prometheus text (exposition format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from pipeline.tasks.figures import Figures, Histogram
from pipeline.tasks.metrics import METRICS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(figures: Figures) -> bytes:
    """Every metric of the catalogue, and its series by their labels; some have none yet."""
    registry = CollectorRegistry()
    registry.register(_Figures(figures))
    return generate_latest(registry)


class _Figures(Collector):
    """Collects one ``Figures`` once, so that a scrape is of one moment."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def describe(self) -> list[Metric]:
        return []  # or the registry would collect, to learn the names

    def collect(self) -> Iterator[Metric]:
        for name in METRICS:
            yield _family(name, self._figures)


def _family(name: str, figures: Figures) -> Metric:
    metric = METRICS[name]
    if metric.kind == "histogram":
        family = HistogramMetricFamily(name, metric.help, labels=metric.labels)
        for labels, histogram in sorted(_series(figures.histograms, name)):
            family.add_metric(labels, _buckets(histogram), histogram.total)
        return family
    simple = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    known = figures.counters if metric.kind == "counter" else figures.gauges
    numbers = simple(name, metric.help, labels=metric.labels)
    for labels in sorted(labels for found, labels in known if found == name):
        numbers.add_metric(labels, figures.value(name, *labels))
    return numbers


def _series(
    histograms: dict[tuple[str, tuple[str, ...]], Histogram], name: str
) -> Iterator[tuple[tuple[str, ...], Histogram]]:
    return ((labels, found) for (of, labels), found in histograms.items() if of == name)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*(str(float(bound)) for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True))
