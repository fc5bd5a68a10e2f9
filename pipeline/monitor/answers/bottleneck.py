"""Where is the bottleneck? The one part that all others wait for, or that there is none."""

from __future__ import annotations

from pipeline.monitor.answers import facts
from pipeline.monitor.answers.finding import Finding, State
from pipeline.monitor.answers.phrases import many, names, number, share, span

COMMIT_S = 0.25  # a commit that is quicker holds up nobody


def where_is_the_bottleneck(state: State) -> Finding:
    if not state["ready"]:
        return Finding("not-ready", f"The run is not ready: {state['not_ready']}.")
    return (
        _broker(state)
        or _stage(state)
        or _commit(state)
        or _memory(state)
        or _ingest(state)
        or _none(state)
    )


def _broker(state: State) -> Finding | None:
    behind = [lane for lane in state["lanes"] if (lane["behind"] or {}).get("seconds", 0) >= 2]
    if not behind:
        return None
    inputs = sorted({lane["behind"]["input"] for lane in behind})
    lanes = "1 lane waits" if len(behind) == 1 else f"{len(behind):,} lanes wait"
    words = f"Kafka: {lanes} for the log of {names(inputs)}, and the broker does not send it."
    return Finding("kafka", words, "lane", str(behind[0]["lane"]))


def _stage(state: State) -> Finding | None:
    slow = [stage for stage in state["stages"] if facts.saturated(stage)]
    if not slow:
        return None
    stage = max(slow, key=lambda one: (one["busy_ratio"], one["queue"]["p50_seconds"] or 0.0))
    name, prepare = stage["name"], stage["prepare_ratio"] or 0.0
    words = f"The stage {name}: its {_replicas(stage)} busy {share(stage['busy_ratio'])}"
    waiting, took = stage["queue_windows"] or 0, stage["compute"]["p50_seconds"]
    words += f", and {many(waiting, 'window')} {'is' if waiting == 1 else 'are'} there"
    words += f"; a batch takes {span(took)}. " if took else ". "
    if prepare >= facts.COSTLY:
        words += (
            f"{share(prepare)} of its time goes into decoding: smaller pictures, a cheaper codec "
            "or more cores help, a faster GPU does not."
        )
        return Finding("decode", words, "stage", name)
    if facts.on_gpu(stage):
        words += f"More replicas (stages.{name}.replicas) on more GPUs share the work."
    else:
        words += f"More replicas (stages.{name}.replicas), a GPU or a smaller model help."
    return Finding("stage", words, "stage", name)


def _replicas(stage: State) -> str:
    found = facts.devices(stage)
    on = f" on {names(found)}" if found else ""
    count = max(1, len(stage["replicas"]))
    return f"replica{on} is" if count == 1 else f"{count} replicas{on} are"


def _commit(state: State) -> Finding | None:
    took, every = state["commit"]["p50_seconds"], state["commit"]["interval_seconds"]
    if took is None or took < max(COMMIT_S, every):
        return None
    words = (
        f"The commit: a transaction takes {span(took)}, longer than commit_interval "
        f"({span(every)}). See the brokers; fewer slots make fewer transactions."
    )
    return Finding("commit", words)


def _memory(state: State) -> Finding | None:
    full = facts.full_slots(state)
    if not full:
        return None
    slots = names([str(slot["slot"]) for slot in full])
    words = (
        f"Memory: slot {slots} has as much in flight as limits.in_flight_bytes allows, though no "
        "stage is busy all the time. Raise it where the machine has more."
    )
    return Finding("memory", words, "slot", str(full[0]["slot"]))


def _ingest(state: State) -> Finding | None:
    waiting = facts.lag(state)
    if waiting < facts.LAG_RECORDS or (state["lag_growth_per_second"] or 0.0) <= 0:
        return None
    words = (
        f"Reading: {many(waiting, 'record')} wait and their number grows, while no stage is busy "
        "all the time. One process reads all lanes of its slots: more slots and owners share it."
    )
    return Finding("ingest", words)


def _none(state: State) -> Finding:
    waiting = facts.lag(state)
    if not facts.incoming(state) and not waiting:
        return Finding("no-records", "There is none: no record comes in.")
    top = facts.busiest(state)
    begin = "There is none: what comes is taken as it comes."
    if waiting >= facts.LAG_RECORDS:
        begin = f"A backlog of {many(waiting, 'record')} is being worked off."
    if top is None or not top["busy_ratio"]:
        return Finding("none", begin)
    name, busy = top["name"], top["busy_ratio"]
    if busy >= facts.BUSY:
        more = f" {name} is busy {share(busy)}, and keeps up: there is little room for more."
    else:
        more = f" {name} is the busiest stage, at {share(busy)}: about {number(1 / busy)} times "
        more += "as much would fill it."
    return Finding("none", begin + more, "stage", name)
