"""Is all well, and if not, where? One line, the worst first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.monitor.answers import facts
from pipeline.monitor.answers.bottleneck import where_is_the_bottleneck
from pipeline.monitor.answers.finding import Finding, State
from pipeline.monitor.answers.phrases import many, names, number, share, span
from pipeline.monitor.answers.window import why_no_window

LEVELS = ("good", "look", "bad")
LATE_SHARE = 0.02
NO_COMMIT_S = 30.0


class Trouble(NamedTuple):
    """``level``: ``bad`` where results stop or soon will, ``look`` where they are worse or later
    than they should be.
    """

    level: str
    finding: Finding


def verdict(state: State) -> tuple[str, Finding, list[Trouble]]:
    """The level of the worst, its words, and all that is not well, the worst first."""
    found = sorted(_troubles(state), key=lambda one: -LEVELS.index(one.level))
    if found:
        return found[0].level, found[0].finding, found
    return "good", Finding("well", _well(state)), []


def _well(state: State) -> str:
    if not facts.incoming(state):
        return "Ready. No record comes in just now."
    windows, latency = state["rates"]["windows_per_second"], state["latency"]["p50_seconds"]
    words = f"All is well: {many(len(state['inputs']), 'input')}"
    if windows:
        words += f", {number(windows)} results a second"
    if latency is not None:
        words += f", half of them within {span(latency)}"
    return f"{words}."


def _troubles(state: State) -> Iterator[Trouble]:
    if not state["ready"]:
        yield Trouble("look", Finding("not-ready", f"Not ready: {state['not_ready']}."))
        return
    yield from _stages(state)
    yield from _falling_behind(state)
    yield from _commits(state)
    yield from _windows(state)
    yield from _records(state)
    yield from _rest(state)


def _stages(state: State) -> Iterator[Trouble]:
    for stage in state["stages"]:
        name, failing = stage["name"], stage["failing"]
        if failing is not None:
            words = (
                f"{name} fails: {failing['failed']:,} of {many(failing['windows'], 'window')} "
                f"since {failing['since']} ({failing['error']}). Results come without it."
            )
            yield Trouble("bad", Finding("failing", words, "stage", name))
        if not stage["replicas"]:
            yield Trouble("look", Finding("no-replica", f"{name} has no replica.", "stage", name))
        if (stage["drift"] or 0.0) >= 1:
            words = f"{name} is unlike what the head was trained on: look at its source."
            yield Trouble("look", Finding("drift", words, "stage", name))


def _falling_behind(state: State) -> Iterator[Trouble]:
    waiting, growth = facts.lag(state), state["lag_growth_per_second"] or 0.0
    cause = where_is_the_bottleneck(state)
    if waiting >= facts.LAG_RECORDS and growth > 0.05 * facts.incoming(state) > 0:
        words = f"It falls behind: {many(waiting, 'record')} wait, {number(growth)} more a second. "
        yield Trouble("bad", cause._replace(cause="behind", words=words + cause.words))
    elif cause.cause not in ("none", "no-records"):
        yield Trouble("look", cause._replace(words=f"There is a bottleneck. {cause.words}"))


def _commits(state: State) -> Iterator[Trouble]:
    lately = state["lately"]
    in_flight = any(slot["in_flight_bytes"] for slot in state["slots"])
    if in_flight and not lately["commits"] and lately["seconds"] >= NO_COMMIT_S:
        words = f"Nothing was committed for {span(lately['seconds'])}, though work is in flight."
        yield Trouble("bad", Finding("no-commits", words))
    if lately["retried"]:
        words = f"{many(lately['retried'], 'transaction')} had to be tried again in the last minute"
        words += ": see the brokers. Nothing is lost or doubled."
        yield Trouble("look", Finding("retried", words))


def _windows(state: State) -> Iterator[Trouble]:
    held, _ = why_no_window(state)
    if held.cause == "held":
        yield Trouble("look", held._replace(words=_silent(state, held.name)))
    if state["lately"]["forced"]:
        words = "Windows are closed early to stay within limits.open_bytes."
        yield Trouble("look", Finding("forced", words))


def _silent(state: State, lane: str) -> str:
    hold = next(one["hold"] for one in state["lanes"] if str(one["lane"]) == lane)
    name = hold["inputs"][0]["input"]
    return (
        f"{name} of {hold['stream']} is silent: its windows wait for it in lane {lane}, and come "
        f"{span(state['windows']['idle_seconds'])} later (windows.idle) and without it."
    )


def _records(state: State) -> Iterator[Trouble]:
    lately = state["lately"]
    if lately["dead_letters"]:
        reasons = names([one["reason"] for one in state["dead_letters"] if one["lately"]])
        words = f"{many(lately['dead_letters'], 'dead letter')} in the last minute ({reasons}): "
        words += "motet dlq list FILE shows each."
        yield Trouble("look", Finding("dead-letters", words))
    if lately["late"] and lately["late"] > LATE_SHARE * max(1, lately["pairs"]):
        late = share(lately["late"] / max(1, lately["pairs"]))
        words = f"{late} of the records came too late for their windows in the last minute: raise "
        words += "out_of_orderness, or see the clocks of the sources."
        yield Trouble("look", Finding("late", words))


def _rest(state: State) -> Iterator[Trouble]:
    if state["lately"]["restarts"]:
        words = f"{many(state['lately']['restarts'], 'actor')} ended and began anew in the last "
        yield Trouble("look", Finding("restarts", f"{words}minute. Results stay exactly once."))
    if state["totals"]["copartition_violations"]:
        words = "Some streams lie on two partition numbers, and never meet in a window: see the "
        yield Trouble("look", Finding("copartition", f"{words}warnings below."))
