"""Parts of ``/api/state`` that are figures over a span of time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipeline.monitor.sampler import Recent
from pipeline.tasks.figures import Figures
from pipeline.tasks.results import rfc3339
from pipeline.tasks.stage_health import StageTrouble
from pipeline.tasks.view import HeadView, Snapshot

_Json = dict[str, Any]
GROWTH_S_MIN = 10.0  # a lag that grows for less is a fetch that has just come


def head(head: HeadView | None) -> _Json | None:
    if head is None:
        return None
    return {
        "sha256": head.sha256,
        "kind": head.kind,
        "since": time_text(head.since_us),
        "everywhere": head.everywhere,
        "trouble": head.trouble,
    }


def scaling(snapshot: Snapshot | None, stage: str) -> _Json | None:
    """None in a run that has the same replicas from its start to its end."""
    for one in snapshot.scaling if snapshot else ():
        if one.stage == stage:
            return {
                "min": one.replicas_min,
                "max": one.replicas_max,
                "wanted": one.wanted,
                "ready": one.ready,
                "starting": one.starting,
                "draining": one.draining,
                "why": one.why,
                "limit": one.limit,
            }
    return None


def draining(snapshot: Snapshot | None) -> list[_Json]:
    """Nodes that will go."""
    return [
        {
            "node": one.node,
            "by": None if one.by_us is None else time_text(one.by_us),
            "owners": one.owners,
            "replicas": one.replicas,
        }
        for one in (snapshot.draining if snapshot else ())
    ]


def failing(snapshot: Snapshot | None) -> dict[str, StageTrouble]:
    return {one.stage: one for one in (snapshot.troubles if snapshot else ()) if not one.over}


def trouble(one: StageTrouble | None) -> _Json | None:
    if one is None:
        return None
    since = time_text(one.since_us)
    return {"windows": one.windows, "failed": one.failed, "since": since, "error": one.error}


def totals(figures: Figures) -> _Json:
    def counted(name: str) -> int:
        return round(sum(n for _, n in labelled(figures, name)))

    fates = dict.fromkeys(("fused", "late", "dead_letter"), 0)
    for (_, fate), count in labelled(figures, "motet_record_fates_total"):
        fates[fate] = fates.get(fate, 0) + round(count)
    return {
        "records": counted("motet_records_total"),
        "record_bytes": counted("motet_record_bytes_total"),
        "windows": counted("motet_windows_total"),
        "forced": counted("motet_windows_forced_total"),
        "copartition_violations": counted("motet_copartition_violations_total"),
        "replay_records": round(figures.value("motet_replay_records")),
        "paused_partitions": round(figures.value("motet_paused_partitions")),
        "fates": fates,
        "commits": {
            outcome: round(count) for (outcome,), count in labelled(figures, "motet_commits_total")
        },
    }


def lately(recent: Recent | None) -> _Json:
    """Growth in the last minute, of what is worth a word when it happens."""

    def grown(name: str, *last: str) -> int:
        found = recent.grown(name) if recent else {}
        return round(sum(n for labels, n in found.items() if not last or labels[-1] in last))

    return {
        "seconds": recent.minute_s if recent else 0.0,
        "pairs": grown("motet_record_fates_total"),
        "late": grown("motet_record_fates_total", "late"),
        "dead_letters": grown("motet_dead_letters_total"),
        "forced": grown("motet_windows_forced_total"),
        "restarts": grown("motet_actor_restarts_total"),
        "commits": grown("motet_commits_total", "committed"),
        "retried": grown("motet_commits_total", "retried"),
    }


def dead_letters(recent: Recent | None) -> list[_Json]:
    """By reason, the most first."""
    if recent is None:
        return []
    lately = recent.grown("motet_dead_letters_total")
    counts = labelled(recent.now.snapshot.figures, "motet_dead_letters_total")
    return [
        {"reason": labels[0], "count": round(count), "lately": round(lately.get(labels, 0.0))}
        for labels, count in sorted(counts, key=lambda one: (-one[1], one[0]))
        if count
    ]


def lag_growth(recent: Recent | None) -> float | None:
    """Records a second that the lag has grown by since a minute ago; None where it is too soon."""
    if recent is None or recent.minute_s < GROWTH_S_MIN:
        return None
    now, then = recent.now.lag_records, recent.minute_ago.lag_records
    return None if now is None or then is None else (now - then) / recent.minute_s


def shares(recent: Recent | None, stage: str) -> _Json:
    """Of the last minute: what decoding takes of the runs, and transport of the whole way."""
    runs = recent.histogram("motet_stage_compute_seconds", stage) if recent else None
    if recent is None or runs is None or runs.total <= 0:
        return {"prepare_ratio": None, "transfer_ratio": None}
    prepare, transfer = (
        recent.grown(f"motet_stage_{part}_seconds_total").get((stage,), 0.0)
        for part in ("prepare", "transfer")
    )
    return {
        "prepare_ratio": min(1.0, prepare / runs.total),
        "transfer_ratio": transfer / (transfer + runs.total),
    }


def labelled(figures: Figures, name: str) -> list[tuple[tuple[str, ...], float]]:
    """A counter's series."""
    return sorted((labels, count) for (of, labels), count in figures.counters.items() if of == name)


def quantiles(recent: Recent | None, name: str, *labels: str) -> _Json:
    histogram = recent.histogram(name, *labels) if recent else None
    return {
        "p50_seconds": histogram.quantile(0.5) if histogram else None,
        "p99_seconds": histogram.quantile(0.99) if histogram else None,
    }


def rate(recent: Recent | None, name: str, *labels: str) -> float | None:
    return recent.rate(name, *labels) if recent else None


def sum_rates(recent: Recent | None, name: str, labels: Iterable[str]) -> float | None:
    return sum_all(rate(recent, name, label) for label in labels)


def sum_all(values: Iterable[float | None]) -> float | None:
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if len(known) == len(found) else None


def time_text(time_us: int) -> str:
    return rfc3339(time_us).decode()
