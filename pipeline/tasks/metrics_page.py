"""docs/METRICS.md, written from the catalogue: ``make metrics``."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

from pipeline.tasks.metrics import GROUPS, Metric

WIDTH = 118
_HEAD = (
    "What `/metrics` of a run answers, for the whole pipeline in one scrape ([HTTP.md](HTTP.md)). "
    "This page is written from `pipeline/tasks/metrics.py` by `make metrics`.",
    "Labels are never a stream or a class, so the number of series does not grow with streams. "
    "Counters do not fall when an actor is started again; they begin anew with the run. "
    "Quantiles of histograms are as exact as their buckets. `deploy/alerts.yml` rings where "
    "something needs a person, and [OPERATIONS.md](OPERATIONS.md#alerts) says what to do then.",
    "Each entry says what is counted and, in italics, what it tells and what to do about it.",
)


def metrics_page() -> str:
    """The whole page as Markdown."""
    parts = ["# Metrics\n", *(f"{textwrap.fill(words, WIDTH)}\n" for words in _HEAD)]
    for title, metrics in GROUPS.items():
        entries = "\n".join(_entry(name, metric) for name, metric in metrics.items())
        parts.append(f"## {title}\n\n{entries}\n")
    return "\n".join(parts)


def _entry(name: str, metric: Metric) -> str:
    words = " ".join(_words(name, metric))
    # code spans hold no blank, so wrapping breaks none
    return textwrap.fill(words, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _words(name: str, metric: Metric) -> Iterator[str]:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    unit = "no unit" if metric.unit == "1" else metric.unit
    yield f"- **`{name}`**"
    yield f"({metric.kind}, {unit}{f'; by {labels}' if labels else ''}):"
    yield metric.help
    if metric.buckets:
        yield f"Buckets up to {metric.buckets[-1]:g}."
    yield f"*{metric.act}*"


if __name__ == "__main__":
    sys.stdout.write(metrics_page())
