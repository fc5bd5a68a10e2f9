"""Why is my batch not full, why is my GPU idle? What a stage lacks: arrivals, decoding,
transfer, credit or Kafka."""

from __future__ import annotations

from pipeline.monitor.answers import facts
from pipeline.monitor.answers.finding import Finding, State
from pipeline.monitor.answers.phrases import number, share, size, span

FULL = 0.9


def why_batches_are_small(state: State) -> tuple[Finding, list[Finding]]:
    """Of the stage that matters most (on a GPU where there is one), and of every stage."""
    found = {stage["name"]: _stage(state, stage) for stage in state["stages"]}
    gpus = [stage for stage in state["stages"] if facts.on_gpu(stage)]
    main = max(gpus or state["stages"], key=lambda one: one["busy_ratio"] or 0.0)
    return found[main["name"]], list(found.values())


def _stage(state: State, stage: State) -> Finding:
    name, busy = stage["name"], stage["busy_ratio"] or 0.0
    if not stage["replicas"]:
        return Finding("starting", f"{name} has no replica yet.", "stage", name)
    shown = f"{name} on {', '.join(facts.devices(stage))} is busy {share(busy)}"
    if stage["batch_size"] is not None:
        shown += f" with batches of {number(stage['batch_size'])} of at most {stage['batch_max']}"
    cause, why = _why(state, stage, busy)
    return Finding(cause, f"{shown}: {why}", "stage", name)


def _why(state: State, stage: State, busy: float) -> tuple[str, str]:
    fill = (stage["batch_size"] or 0.0) / stage["batch_max"]
    prepare, transfer = stage["prepare_ratio"] or 0.0, stage["transfer_ratio"] or 0.0
    if not state["ready"]:
        return "not-ready", f"{state['not_ready']}."
    if busy >= facts.BUSY and fill >= FULL:
        return "full", "it is used fully."
    if prepare >= facts.COSTLY and busy > 0.05:
        return "decode", (
            f"{share(prepare)} of the time of a batch goes into decoding and laying out clips, "
            "on the CPU. Smaller pictures, a cheaper codec or more cores would keep it fed."
        )
    if busy >= facts.BUSY:
        return "latency", (
            "a batch takes all that waits when the one before ends, and more did not wait. "
            "Batches grow by themselves when more windows come at once."
        )
    return _starved(state, stage, transfer)


def _starved(state: State, stage: State, transfer: float) -> tuple[str, str]:
    """Why a stage that could do more has nothing to do."""
    full = facts.full_slots(state)
    if full:
        limit = size(state["limits"]["in_flight_bytes"])
        return "credit", (
            f"no more is read: slot {full[0]['slot']} has limits.in_flight_bytes ({limit}) in "
            "flight, and waits for other stages or the commit."
        )
    above = [one for one in state["stages"] if one["name"] in stage["of"] and facts.saturated(one)]
    if above:
        name = above[0]["name"]
        return "upstream", f"it waits for {name}, whose replicas are busy all the time."
    behind = [lane["behind"] for lane in state["lanes"] if lane["behind"] is not None]
    if facts.lag(state) >= facts.LAG_RECORDS and behind:
        return "kafka", f"the broker does not send what the log of {behind[0]['input']} has."
    if transfer >= 0.5 and (stage["queue_windows"] or 0) > 0:
        return "transfer", (
            f"{share(transfer)} of the way of a batch is transport, not work: payloads are large "
            "for so little computing, or the reading process has no time to hand more out."
        )
    held = [lane for lane in state["lanes"] if lane["overdue"] and lane["hold"] is not None]
    if held and not stage["windows_per_second"]:
        lane = held[0]
        name = lane["hold"]["inputs"][0]["input"]
        return "clock", f"no window closes: lane {lane['lane']} waits for {name}."
    return "arrivals", _arrivals(stage)


def _arrivals(stage: State) -> str:
    rate, took = stage["windows_per_second"] or 0.0, stage["compute"]["p50_seconds"]
    if not rate:
        return "no window comes that it has to do anything for."
    words = f"only {number(rate)} windows a second come"
    if took:
        words += f", and a batch takes {span(took)}"
        words += f". Full batches would need some {number(stage['batch_max'] / took)} a second."
        return words
    return f"{words}."
