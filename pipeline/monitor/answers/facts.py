"""What several answers look at in a state."""

from __future__ import annotations

from pipeline.monitor.answers.finding import State

BUSY = 0.9  # a stage whose replicas have work for so much of the time is taken as busy
LAG_RECORDS = 100  # fewer come with every fetch
COSTLY = 0.35  # a part of a stage's time that is worth a word


def saturated(stage: State) -> bool:
    """Whether its replicas are busy and more waits for them than they run, or do in time."""
    busy, queue = stage["busy_ratio"] or 0.0, stage["queue"]["p50_seconds"] or 0.0
    waits = queue >= max(0.5, stage["compute"]["p50_seconds"] or 0.0)
    held = 2 * max(1.0, stage["batch_size"] or 1.0) * max(1, len(stage["replicas"]))
    return busy >= BUSY and (stage["holds"] or waits or (stage["queue_windows"] or 0) > held)


def busiest(state: State) -> State | None:
    """The stage with the largest busy share; None where none is known."""
    known = [stage for stage in state["stages"] if stage["busy_ratio"] is not None]
    return max(known, key=lambda stage: stage["busy_ratio"], default=None)


def lag(state: State) -> int:
    """Records that are in the logs and not applied, as far as it is known."""
    return sum(each["lag_records"] or 0 for each in state["inputs"])


def incoming(state: State) -> float:
    """Records a second."""
    return state["rates"]["records_per_second"] or 0.0


def full_slots(state: State) -> list[State]:
    """Those that apply nothing more until something is committed."""
    full = {lane["slot"] for lane in state["lanes"] if lane["full"]}
    return [slot for slot in state["slots"] if slot["slot"] in full]


def devices(stage: State) -> list[str]:
    return sorted({replica["device"] for replica in stage["replicas"]})


def on_gpu(stage: State) -> bool:
    return any(device.startswith("cuda") for device in devices(stage))
