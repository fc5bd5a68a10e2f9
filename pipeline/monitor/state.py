"""``/api/state``: what the page shows, as JSON (docs/schemas/state.schema.json)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.monitor.answers import answers_to
from pipeline.monitor.sampler import QUANTILES_US, RATES_US, Recent
from pipeline.monitor.state_lanes import (
    behind_records,
    input_clock,
    lane_state,
    owner_states,
    slot_states,
    sum_known,
)
from pipeline.monitor.state_parts import (
    dead_letters,
    draining,
    failing,
    head,
    labelled,
    lag_growth,
    lately,
    quantiles,
    rate,
    scaling,
    shares,
    sum_all,
    sum_rates,
    time_text,
    totals,
    trouble,
)
from pipeline.record import LETTERED
from pipeline.spec import PipelineSpec
from pipeline.tasks.figures import Figures
from pipeline.tasks.view import LaneView, Snapshot

_Json = dict[str, Any]


class StateWriter:
    """Puts the pipeline's file and its figures together; the file's half is made once."""

    def __init__(self, spec: PipelineSpec) -> None:
        self._spec = spec
        self._bounds_us = {
            rule.name: rule.bound_us for rule in spec.lane_spec().inputs if rule.gating
        }
        self.model = f"{spec.name}@sha256:{spec.model_hash()}"

    def state(
        self,
        recent: Recent | None,
        streams: Sequence[str],
        evaluation: _Json | None = None,
        stream_count: int | None = None,
    ) -> _Json:
        """``streams``: ids of the newest results, for a page to choose from, and how many there
        are. ``evaluation``: how good they are (``Live``).
        """
        state = self._state(recent, streams, evaluation, stream_count)
        return {**state, "answers": answers_to(state)}

    def _state(
        self,
        recent: Recent | None,
        streams: Sequence[str],
        evaluation: _Json | None,
        stream_count: int | None,
    ) -> _Json:
        spec = self._spec
        snapshot = recent.now.snapshot if recent else None
        figures = snapshot.figures if snapshot else Figures()
        lanes = snapshot.lanes if snapshot else ()
        owners = snapshot.owners if snapshot else ()
        return {
            "name": spec.name,
            "model": (snapshot and snapshot.model) or self.model,
            "host": snapshot.host if snapshot else None,
            "started": time_text(snapshot.started_us) if snapshot else None,
            "taken": time_text(snapshot.taken_us) if snapshot else None,
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
                "head": head(snapshot.head if snapshot else None),
            },
            "outputs": self._outputs(recent),
            "lanes": [lane_state(lane, self._bounds_us) for lane in lanes],
            "slots": slot_states(figures, lanes, spec.inputs, owners),
            "owners": owner_states(owners),
            "limits": {
                "in_flight_bytes": spec.limits.in_flight_bytes,
                "open_bytes": spec.limits.open_bytes,
            },
            "windows": {
                "size_seconds": spec.windows.size_us / 1e6,
                "hop_seconds": spec.windows.hop_us / 1e6,
                "idle_seconds": spec.windows.idle_us / 1e6,
            },
            "totals": totals(figures),
            "lately": lately(recent),
            "dead_letters": dead_letters(recent),
            "lag_growth_per_second": lag_growth(recent),
            "rates": {
                "records_per_second": sum_rates(recent, "motet_records_total", spec.inputs),
                "bytes_per_second": sum_rates(recent, "motet_record_bytes_total", spec.inputs),
                "windows_per_second": rate(recent, "motet_windows_total"),
            },
            "latency": quantiles(recent, "motet_end_to_end_seconds"),
            "commit": {
                **quantiles(recent, "motet_commit_seconds"),
                "interval_seconds": spec.commit_interval_us / 1e6,
            },
            "restarts": [
                {"role": role, "cause": cause, "count": round(count)}
                for (role, cause), count in labelled(figures, "motet_actor_restarts_total")
                if count
            ],
            "draining": draining(snapshot),
            "warnings": [
                *(snapshot.warnings if snapshot else ()),
                *map(str, failing(snapshot).values()),
            ],
            "streams": list(streams),
            "stream_count": len(streams) if stream_count is None else stream_count,
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
            "out_of_orderness_seconds": given.out_of_orderness_us / 1e6,
            "records": round(figures.value("motet_records_total", name)),
            "records_per_second": rate(recent, "motet_records_total", name),
            "bytes_per_second": rate(recent, "motet_record_bytes_total", name),
            "lag_records": sum_known(behind_records(lane, name) for lane in lanes),
            "clock_seconds": input_clock(figures, name),
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
            "scaling": scaling(snapshot, name),
            "batch_size": batches.total / batches.count if batches else None,
            "batch_max": stage.batch_max,
            "queue_windows": round(figures.value("motet_stage_queue_windows", name)),
            "holds": any(lane.held_by == name for lane in snapshot.lanes) if snapshot else False,
            **shares(recent, name),
            "windows_per_second": recent.total_rate("motet_stage_batch_size", name)
            if recent
            else None,
            "queue": quantiles(recent, "motet_stage_queue_seconds", name),
            "compute": quantiles(recent, "motet_stage_compute_seconds", name),
            "busy_ratio": figures.value(busy[0], name) if busy in figures.gauges else None,
            "failures": round(figures.value("motet_stage_failures_total", name)),
            "failing": trouble(failing(snapshot).get(name)),
            "drift": figures.value(drift[0], name) if drift in figures.gauges else None,
        }

    def _outputs(self, recent: Recent | None) -> list[_Json]:
        """The topics with what goes into them a second, where a metric tells it."""
        outputs, inputs = self._spec.outputs, self._spec.inputs
        own = ((n, s.out) for n, s in self._spec.stages.items() if s.out is not None)
        late = sum_all(rate(recent, "motet_record_fates_total", name, "late") for name in inputs)
        letters = sum_rates(recent, "motet_dead_letters_total", LETTERED)
        windows = rate(recent, "motet_windows_total")
        return [
            {"role": "results", "topic": outputs.results, "per_second": windows},
            {"role": "late", "topic": outputs.late, "per_second": late},
            {"role": "dead_letter", "topic": outputs.dead_letter, "per_second": letters},
            *({"role": name, "topic": topic, "per_second": None} for name, topic in own),
        ]
