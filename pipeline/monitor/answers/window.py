"""Why does my window not fire? Which input of which lane holds it, and what would let it go."""

from __future__ import annotations

from pipeline.monitor.answers import facts
from pipeline.monitor.answers.finding import Finding, State
from pipeline.monitor.answers.phrases import many, names, number, size, span

BEHIND_S = 2.0  # a healthy fetch takes less


def why_no_window(state: State) -> tuple[Finding, list[Finding]]:
    """The first reason, and what each lane waits for, the worst first."""
    lanes = [found for _, _, found in sorted(_lanes(state), key=lambda each: each[:2])]
    if not state["ready"]:
        return Finding("not-ready", f"Nothing fires yet: {state['not_ready']}."), lanes
    worst = next((f for f in lanes if f.cause not in ("open", "none-open")), None)
    if worst is not None:
        return worst, lanes
    slow = [stage for stage in state["stages"] if facts.saturated(stage)]
    if slow:
        return _encoding(max(slow, key=lambda one: one["queue_windows"] or 0)), lanes
    if not facts.incoming(state):
        return _nothing_comes(state, lanes), lanes
    windows = state["rates"]["windows_per_second"] or 0.0
    begin = f"They do fire: {number(windows)} a second." if windows else "The first is on its way."
    opened = next((found for found in lanes if found.cause == "open"), None)
    if opened is None:
        return Finding("fires", begin), lanes
    return opened._replace(cause="fires", words=f"{begin} {opened.words}"), lanes


def _lanes(state: State) -> list[tuple[int, float, Finding]]:
    """Of each lane how bad it is (0: the worst), for how long, and what it waits for."""
    slots = {slot["slot"]: slot for slot in state["slots"]}
    found = []
    for lane in state["lanes"]:
        hold, behind, name = lane["hold"], lane["behind"], str(lane["lane"])
        if lane["full"]:
            words = _full(lane, slots.get(lane["slot"]), state["limits"]["in_flight_bytes"])
            found.append((0, 0.0, Finding("credit", words, "lane", name)))
        elif behind is not None and behind["seconds"] >= BEHIND_S:
            words = _behind(lane, behind)
            found.append((1, -behind["seconds"], Finding("log", words, "lane", name)))
        elif hold is not None and lane["overdue"]:
            words = _held(state, lane, hold)
            found.append((2, -hold["still_seconds"], Finding("held", words, "lane", name)))
        elif hold is not None:
            words = _open(lane, hold)
            found.append((3, hold["left_seconds"], Finding("open", words, "lane", name)))
        else:
            words = f"Lane {name}: no window is open."
            found.append((4, float(lane["lane"]), Finding("none-open", words, "lane", name)))
    return found


def _full(lane: State, slot: State | None, limit_bytes: int) -> str:
    held = "" if slot is None else f" ({size(slot['in_flight_bytes'])})"
    return (
        f"Lane {lane['lane']} reads nothing: its slot {lane['slot']} has as much in flight as "
        f"limits.in_flight_bytes allows, {size(limit_bytes)}{held}. It goes on with the next "
        "commit; the bottleneck says what that waits for."
    )


def _behind(lane: State, behind: State) -> str:
    if behind["unknown_end"]:
        why = "the broker does not say where it ends. It goes on once the broker answers"
    else:
        why = "records are there that have not been fetched. It goes on once the broker sends them"
    return (
        f"Lane {lane['lane']} has waited {span(behind['seconds'])} for the log of "
        f"{behind['input']}: {why}."
    )


def _held(state: State, lane: State, hold: State) -> str:
    first = hold["inputs"][0]
    name = first["input"]
    records = next(one["records"] for one in state["inputs"] if one["name"] == name)
    if first["newest"] is not None:
        what = f"its newest record there ends at {first['newest']}"
    elif records:
        what = f"{name} has records, but none of this stream: are the keys the same?"
    else:
        what = f"{name} has sent nothing yet: does its source run, and into this topic?"
    since = f", and so it has stood for {span(hold['still_seconds'])}"
    after = "" if what.endswith("?") else "."
    return (
        f"Lane {lane['lane']}: the window from {hold['start']} of {hold['stream']} waits for "
        f"{names([one['input'] for one in hold['inputs']])}: {what}"
        f"{since if first['newest'] is not None else ''}{after} "
        f"It closes with a record of {name} that ends at {first['needed']} or later, and without "
        f"one in {span(max(0.0, hold['left_seconds']))} (windows.idle)."
    )


def _open(lane: State, hold: State) -> str:
    first = hold["inputs"][0]
    return (
        f"Lane {lane['lane']}: the window from {hold['start']} of {hold['stream']} closes when "
        f"{names([one['input'] for one in hold['inputs']])} "
        f"{'have' if len(hold['inputs']) > 1 else 'has'} passed {first['needed']}."
    )


def _encoding(stage: State) -> Finding:
    name, waiting = stage["name"], stage["queue_windows"] or 0
    took = stage["compute"]["p50_seconds"]
    batch = f", and a batch takes {span(took)}" if took else ""
    words = (
        f"Windows close in time, and then wait for {name}: {many(waiting, 'window')} "
        f"{'is' if waiting == 1 else 'are'} queued or under way there{batch}."
    )
    return Finding("encoding", words, "stage", name)


def _nothing_comes(state: State, lanes: list[Finding]) -> Finding:
    silent = [each["name"] for each in state["inputs"] if not each["records"]]
    opened = next((found for found in lanes if found.cause == "open"), None)
    if opened is not None:
        return opened._replace(words=f"No record comes just now. {opened.words}")
    if len(silent) == len(state["inputs"]):
        topics = names([each["topic"] for each in state["inputs"]])
        return Finding("no-records", f"No record has come yet: nobody has sent to {topics}.")
    return Finding("no-records", "No window is open, and no record comes just now.")
