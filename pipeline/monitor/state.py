"""``/api/state``: what the page shows, as JSON (docs/schemas/state.schema.json)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.monitor.sampler import QUANTILES_US, RATES_US, Recent
from pipeline.spec import PipelineSpec
from pipeline.tasks.figures import Figures
from pipeline.tasks.results import rfc3339
from pipeline.tasks.stage_health import StageTrouble
from pipeline.tasks.view import HeadView, LaneView, Snapshot

_Json = dict[str, Any]


class StateWriter:
    """Puts the pipeline's file and its figures together; the file's half is made once."""

    def __init__(self, spec: PipelineSpec) -> None:
        self._spec = spec
        self.model = f"{spec.name}@sha256:{spec.model_hash()}"

    def state(
        self, recent: Recent | None, streams: Sequence[str], evaluation: _Json | None = None
    ) -> _Json:
        """``streams``: ids of the newest results, for a page to choose from.

        ``evaluation``: how good they are (``Live``).
        """
        spec = self._spec
        snapshot = recent.now.snapshot if recent else None
        figures = snapshot.figures if snapshot else Figures()
        lanes = snapshot.lanes if snapshot else ()
        return {
            "name": spec.name,
            "model": (snapshot and snapshot.model) or self.model,
            "host": snapshot.host if snapshot else None,
            "started": _time(snapshot.started_us) if snapshot else None,
            "taken": _time(snapshot.taken_us) if snapshot else None,
            "ready": snapshot is not None and snapshot.not_ready is None,
            "not_ready": snapshot.not_ready if snapshot else "starting",
            "spans": {"rates_seconds": RATES_US / 1e6, "quantiles_seconds": QUANTILES_US / 1e6},
            "inputs": [self._input(name, recent, lanes) for name in spec.inputs],
            "stages": [self._stage(name, recent, snapshot) for name in spec.stages],
            "fusion": {
                "rule": spec.fusion.rule,
                "normalize": spec.fusion.normalize,
                "dim": spec.fusion.dim,
                "weights": dict(spec.fusion.of),
                "head": _head(snapshot.head if snapshot else None),
            },
            "outputs": self._outputs(recent),
            "lanes": [_lane(lane) for lane in lanes],
            "slots": self._slots(figures, lanes),
            "totals": _totals(figures),
            "rates": {
                "records_per_second": _sum_rates(recent, "motet_records_total", spec.inputs),
                "bytes_per_second": _sum_rates(recent, "motet_record_bytes_total", spec.inputs),
                "windows_per_second": _rate(recent, "motet_windows_total"),
            },
            "latency": _quantiles(recent, "motet_end_to_end_seconds"),
            "commit": _quantiles(recent, "motet_commit_seconds"),
            "restarts": [
                {"role": role, "cause": cause, "count": round(count)}
                for (role, cause), count in _labelled(figures, "motet_actor_restarts_total")
            ],
            "warnings": [
                *(snapshot.warnings if snapshot else ()),
                *map(str, _failing(snapshot).values()),
            ],
            "streams": list(streams),
            "evaluation": evaluation,
        }

    def _input(self, name: str, recent: Recent | None, lanes: Iterable[LaneView]) -> _Json:
        given = self._spec.inputs[name]
        figures = recent.now.snapshot.figures if recent else Figures()
        lag = ("motet_event_time_lag_seconds", (name,))
        return {
            "name": name,
            "topic": given.topic,
            "type": given.type,
            "kind": given.media.kind,
            "gating": given.gating,
            "records": round(figures.value("motet_records_total", name)),
            "records_per_second": _rate(recent, "motet_records_total", name),
            "bytes_per_second": _rate(recent, "motet_record_bytes_total", name),
            "lag_records": _sum_known(_behind(lane, name) for lane in lanes),
            "clock_seconds": _clock(figures, name),
            "event_time_lag_seconds": figures.value(lag[0], name)
            if lag in figures.gauges
            else None,
            "fates": {
                fate: round(figures.value("motet_record_fates_total", name, fate))
                for fate in ("fused", "late", "dead_letter")
            },
            "missing_windows": round(figures.value("motet_windows_incomplete_total", name)),
        }

    def _stage(self, name: str, recent: Recent | None, snapshot: Snapshot | None) -> _Json:
        stage = self._spec.stages[name]
        batches = recent.histogram("motet_stage_batch_size", name) if recent else None
        busy, drift = ("motet_stage_busy_ratio", (name,)), ("motet_feature_drift", (name,))
        figures = snapshot.figures if snapshot else Figures()
        return {
            "name": name,
            "encoder": stage.encoder,
            "of": list(stage.of),
            "weight": self._spec.fusion.of.get(name),
            "out": stage.out,
            "replicas": [
                {"name": replica.name, "device": replica.device, "gpus": list(replica.gpus)}
                for replica in (snapshot.replicas if snapshot else ())
                if replica.stage == name
            ],
            "batch_size": batches.total / batches.count if batches else None,
            "windows_per_second": recent.total_rate("motet_stage_batch_size", name)
            if recent
            else None,
            "queue": _quantiles(recent, "motet_stage_queue_seconds", name),
            "compute": _quantiles(recent, "motet_stage_compute_seconds", name),
            "busy_ratio": figures.value(busy[0], name) if busy in figures.gauges else None,
            "failures": round(figures.value("motet_stage_failures_total", name)),
            "failing": _trouble(_failing(snapshot).get(name)),
            "drift": figures.value(drift[0], name) if drift in figures.gauges else None,
        }

    def _outputs(self, recent: Recent | None) -> list[_Json]:
        """The topics with what goes into them a second, where a metric tells it."""
        outputs, inputs = self._spec.outputs, self._spec.inputs
        fates = "motet_record_fates_total"
        own = ((n, s.out) for n, s in self._spec.stages.items() if s.out is not None)
        rates = {
            fate: _sum(_rate(recent, fates, name, fate) for name in inputs)
            for fate in ("late", "dead_letter")
        }
        windows = _rate(recent, "motet_windows_total")
        return [
            {"role": "results", "topic": outputs.results, "per_second": windows},
            {"role": "late", "topic": outputs.late, "per_second": rates["late"]},
            {
                "role": "dead_letter",
                "topic": outputs.dead_letter,
                "per_second": rates["dead_letter"],
            },
            *({"role": name, "topic": topic, "per_second": None} for name, topic in own),
        ]

    def _slots(self, figures: Figures, lanes: Sequence[LaneView]) -> list[_Json]:
        return [
            {
                "slot": slot,
                "lanes": [lane.lane for lane in lanes if lane.slot == slot],
                "in_flight_bytes": round(figures.value("motet_in_flight_bytes", str(slot))),
                "open_bytes": round(figures.value("motet_open_bytes", str(slot))),
                "clocks": {name: _clock(figures, name, str(slot)) for name in self._spec.inputs},
            }
            for slot in sorted({lane.slot for lane in lanes})
        ]


def _lane(lane: LaneView) -> _Json:
    return {
        "lane": lane.lane,
        "slot": lane.slot,
        "open_windows": lane.open_windows,
        "positions": dict(lane.positions),
        "ends": dict(lane.ends),
        "lag_records": _sum_known(_behind(lane, name) for name in lane.positions),
        "waiting": lane.waiting if lane.overdue else None,  # on a healthy lane it would be noise
    }


def _head(head: HeadView | None) -> _Json | None:
    if head is None:
        return None
    return {
        "sha256": head.sha256,
        "kind": head.kind,
        "since": _time(head.since_us),
        "everywhere": head.everywhere,
        "trouble": head.trouble,
    }


def _failing(snapshot: Snapshot | None) -> dict[str, StageTrouble]:
    return {one.stage: one for one in (snapshot.troubles if snapshot else ()) if not one.over}


def _trouble(one: StageTrouble | None) -> _Json | None:
    if one is None:
        return None
    since = _time(one.since_us)
    return {"windows": one.windows, "failed": one.failed, "since": since, "error": one.error}


def _totals(figures: Figures) -> _Json:
    def counted(name: str) -> int:
        return round(sum(n for _, n in _labelled(figures, name)))

    fates = dict.fromkeys(("fused", "late", "dead_letter"), 0)
    for (_, fate), count in _labelled(figures, "motet_record_fates_total"):
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
            outcome: round(count) for (outcome,), count in _labelled(figures, "motet_commits_total")
        },
    }


def _labelled(figures: Figures, name: str) -> list[tuple[tuple[str, ...], float]]:
    """A counter's series."""
    return sorted((labels, count) for (of, labels), count in figures.counters.items() if of == name)


def _behind(lane: LaneView, name: str) -> int | None:
    end, position = lane.ends.get(name), lane.positions.get(name)
    return None if end is None or position is None else max(0, end - position)


def _clock(figures: Figures, name: str, slot: str | None = None) -> float | None:
    """Where an input's event time stands: the slot that is furthest behind, or that slot's."""
    found = [
        max(values)
        for (of, labels), values in figures.gauges.items()
        if of == "motet_clock_seconds" and labels[0] == name and slot in (None, labels[1])
    ]
    return min(found, default=None)


def _quantiles(recent: Recent | None, name: str, *labels: str) -> _Json:
    histogram = recent.histogram(name, *labels) if recent else None
    return {
        "p50_seconds": histogram.quantile(0.5) if histogram else None,
        "p99_seconds": histogram.quantile(0.99) if histogram else None,
    }


def _rate(recent: Recent | None, name: str, *labels: str) -> float | None:
    return recent.rate(name, *labels) if recent else None


def _sum_rates(recent: Recent | None, name: str, labels: Iterable[str]) -> float | None:
    return _sum(_rate(recent, name, label) for label in labels)


def _sum(values: Iterable[float | None]) -> float | None:
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if len(known) == len(found) else None


def _sum_known(values: Iterable[int | None]) -> int | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _time(time_us: int) -> str:
    return rfc3339(time_us).decode()
