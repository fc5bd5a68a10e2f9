"""Queries of PromQL over the chosen pipelines, and the panels that show a number or lines."""

from __future__ import annotations

from typing import Any

from panels import Panel, Query

GREEN_ORANGE_RED = ("green", "orange", "red")


def of(metric: str, more: str = "") -> str:
    """The series of a metric of the chosen pipelines; ``more`` are matchers of other labels."""
    return f'{metric}{{instance=~"$instance"{more and ", " + more}}}'


def rate(metric: str, by: str = "", more: str = "") -> str:
    keep = f"by ({by}) " if by else ""
    return f"sum {keep}(rate({of(metric, more)}[$__rate_interval]))"


def quantile(share: float, histogram: str, by: str = "") -> str:
    keep = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(histogram + '_bucket', keep)})"


def quantiles(histogram: str, by: str = "") -> tuple[Query, ...]:
    """Median and 99th percentile, which the legend calls p50 and p99."""
    name = f"{{{{{by}}}}} " if by else ""
    shares = ((0.5, "p50"), (0.99, "p99"))
    return tuple(Query(quantile(share, histogram, by), name + said) for share, said in shares)


def in_an_hour(metric: str, more: str = "") -> str:
    """How many in the last hour; a series that began within it counts whole."""
    begun = f"{of(metric, more)} unless {metric} offset 1h"
    return f"sum(({begun}) or increase({of(metric, more)}[1h]))"


def stat(title: str, description: str, unit: str, expr: str, *bounds: float) -> Panel:
    """A number, green at first, orange and red from the two bounds on."""
    steps = tuple(zip(GREEN_ORANGE_RED, (None, *bounds), strict=False))
    return Panel(title, description, unit, (Query(expr),), kind="stat", steps=steps)


def lines(title: str, description: str, unit: str, *queries: Query, **more: Any) -> Panel:
    return Panel(title, description, unit, queries, **more)
