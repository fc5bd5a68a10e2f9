"""What a histogram has grown by between two looks at a run."""

from __future__ import annotations

from pipeline.tasks.figures import Figures, Histogram


def grown_histogram(
    figures: Figures, before: Figures, name: str, labels: tuple[str, ...] = ()
) -> Histogram | None:
    """What was observed since ``before``; None where nothing was."""
    histogram = figures.histograms.get((name, labels))
    if histogram is None:
        return None
    then = before.histograms.get((name, labels))
    if then is not None:
        pairs = zip(histogram.counts, then.counts, strict=True)
        counts = [max(0, now - earlier) for now, earlier in pairs]
        histogram = Histogram(histogram.bounds, counts, histogram.total - then.total)
    return histogram if histogram.count else None
