"""How many replicas a stage should have: a function of what was measured and decided before.

Up at once, by as many as the work needs. Down late, and only to the most that the last minute
needed: a replica too many costs a minute, one too few costs a model's load and a backlog.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from pipeline.scaling.meter import Measured

UP_BUSY = 0.8  # replicas below it are not what holds the windows up
UP_LOAD = 0.75  # share of its time that a replica is to be busy, after a step up
DOWN_LOAD = 0.6  # the same, after a step down: between the two nothing is changed
UP_AFTER_S = 2.0
WAIT_S = 2.0  # a backlog that is worked off sooner is none
DRAIN_S = 30.0  # in which a backlog is to be worked off
LOADS = 2.0  # or in the time that so many loads take one after the other
STEP_UP = 4  # at most so many times as many at once
DOWN_EVERY_S = 10.0
CALM_S, CALM_TIMES_MAX = 60.0, 16  # so long less must be needed before a step down
REGRET_S = 120.0  # a step up so soon after one down: that one was wrong, and the calm doubles
FORGET_S = 1800.0  # without a regret, and the calm is as at the start
SLACK_S = 15.0  # longer than rates are about
FAILED_S, FAILED_S_MAX = 30.0, 600.0  # no step up after replicas that did not start
DID_NOT_START = "replicas that were added did not start"


@dataclass(frozen=True, slots=True)
class ScalingRule:
    """Bounds of a stage. ``latency_target_s`` None: any wait is as good as another.

    ``calm_s``: for how long less must be needed before a step down, where none was too soon.
    """

    replicas_min: int
    replicas_max: int
    latency_target_s: float | None = None
    calm_s: float = CALM_S

    @property
    def wait_s(self) -> float:
        return WAIT_S if self.latency_target_s is None else min(WAIT_S, self.latency_target_s)

    @property
    def drain_s(self) -> float:
        return DRAIN_S if self.latency_target_s is None else max(5.0, min(DRAIN_S, self.wait_s * 5))


class Signals(NamedTuple):
    """``ready`` and ``starting`` replicas, without those that are being removed.

    ``room``: how many more the cluster has a place for (None: it is not known). ``failed``: how
    many that were added have ended before they were ready, since the start of the run. ``load_s``:
    how long the last one took until it was ready.
    ``held``: another stage is the limit and grows: what this one needs is not known.
    """

    now_s: float
    measured: Measured
    ready: int
    starting: int
    room: int | None = None
    failed: int = 0
    held: bool = False
    load_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ScalingState:
    """What is remembered between two decisions.

    ``needs``: what was needed, by time, newest last; one for each second that differs.
    """

    needs: tuple[tuple[float, int], ...] = ()
    pressed_s: float | None = None  # since when the backlog is one
    slack_s: float | None = None  # since when windows are behind and replicas have time
    down_s: float | None = None  # the last step down
    regret_s: float | None = None
    calm_times: int = 1  # of the rule's calm: doubled by every step down that was too soon
    failed: int = 0
    again_s: float = 0.0  # no step up before
    pause_s: float = FAILED_S


class Decision(NamedTuple):
    """``target`` replicas, and why; ``limit``: what keeps it from what it needs, if anything."""

    target: int
    why: str
    limit: str | None = None


def decide(
    rule: ScalingRule, signals: Signals, state: ScalingState
) -> tuple[Decision, ScalingState]:
    """The target is within the rule's bounds, and the present number where nothing is to change.

    Time must not run backwards between two calls.
    """
    now_s, found = signals.now_s, signals.measured
    present = signals.ready + signals.starting
    state = _failures(signals, state)
    if not rule.replicas_min <= present <= rule.replicas_max:
        target = max(rule.replicas_min, min(present, rule.replicas_max))
        if target > present and now_s < state.again_s:
            return Decision(present, "as it is", DID_NOT_START), replace(state, needs=())
        why = f"replicas are to be {rule.replicas_min} to {rule.replicas_max}"
        return Decision(target, why), replace(state, needs=(), pressed_s=None)
    need_up, need_down = _needs(rule, signals)
    wait_s = _wait_s(signals)
    pressed = found.busy >= UP_BUSY and wait_s > rule.wait_s
    since_s = (now_s if state.pressed_s is None else state.pressed_s) if pressed else None
    state = replace(state, pressed_s=since_s, needs=_remember(rule, state, now_s, need_down))
    state = replace(state, slack_s=_slack_s(signals, state))
    if since_s is not None and now_s - since_s >= UP_AFTER_S and found.window_s > 0:
        decision = _up(rule, signals, state, present, need_up, wait_s)
        if decision.target > present:
            state = _regretted(state, now_s)
        return decision, state
    if not pressed:
        down = _down(rule, signals, state, present)
        if down is not None:
            return down, replace(state, down_s=now_s)
    return Decision(present, "as it is", _other_limit(signals, state)), state


# -- how ------------------------------------------------------------------------------------


def _wait_s(signals: Signals) -> float:
    """How long the present replicas need for all that waits, if nothing came meanwhile.

    What the log still holds counts where the replicas are the limit; elsewhere (Kafka, the
    network, decoding at ingest) more replicas would only wait too.
    """
    found = signals.measured
    waiting = found.backlog + (found.behind if found.busy >= UP_BUSY else 0)
    return waiting * found.window_s / max(1, signals.ready)


def _needs(rule: ScalingRule, signals: Signals) -> tuple[int, int]:
    """Replicas for what arrives and for the backlog, by either share."""
    found = signals.measured
    backlog = 0.0
    if _wait_s(signals) > rule.wait_s:
        # What loads longer comes too late for most of it: the others have done it by then.
        drain_s = max(rule.drain_s, LOADS * signals.load_s)
        backlog = _wait_s(signals) * max(1, signals.ready) / drain_s
    return (
        math.ceil(found.rising * found.window_s / UP_LOAD + backlog - 1e-9),
        math.ceil(found.arriving * found.window_s / DOWN_LOAD + backlog - 1e-9),
    )


def _remember(
    rule: ScalingRule, state: ScalingState, now_s: float, need: int
) -> tuple[tuple[float, int], ...]:
    """One entry a second: the greatest of it. The oldest is as old as the calm, once one is."""
    kept = list(state.needs)
    while len(kept) > 1 and now_s - kept[1][0] >= rule.calm_s * state.calm_times:
        del kept[0]
    if kept and math.floor(kept[-1][0]) == math.floor(now_s):
        kept[-1] = (kept[-1][0], max(need, kept[-1][1]))
    else:
        kept.append((now_s, need))
    return tuple(kept)


def _up(
    rule: ScalingRule,
    signals: Signals,
    state: ScalingState,
    present: int,
    need: int,
    wait_s: float,
) -> Decision:
    found, now_s = signals.measured, signals.now_s
    wanted = max(need, present + 1)
    if signals.starting:
        # Their load adds to the backlog: only a rise of what arrives asks for more.
        wanted = math.ceil(found.rising * found.window_s / UP_LOAD - 1e-9)
    step = STEP_UP if found.sure else 2
    target = min(wanted, rule.replicas_max, step * present)
    why = (
        f"{_rate(found.rising)} arrive and {_rate(found.served)} are done, replicas are busy for "
        f"{found.busy:.0%}, and {found.backlog + found.behind} windows wait, {wait_s:.0f} s of work"
    )
    if target <= present:
        limit = f"replicas.max = {rule.replicas_max}" if present >= rule.replicas_max else None
        return Decision(present, "as it is", limit)
    if now_s < state.again_s:
        return Decision(present, "as it is", DID_NOT_START)
    if signals.room is not None and target > present + signals.room:
        limit = f"the cluster has a place for {signals.room} more, not for {target - present}"
        return Decision(present + signals.room, why, limit)
    return Decision(target, why)


def _down(
    rule: ScalingRule, signals: Signals, state: ScalingState, present: int
) -> Decision | None:
    if signals.starting or signals.held or present <= rule.replicas_min:
        return None
    calm_s = rule.calm_s * state.calm_times
    if signals.now_s - state.needs[0][0] < calm_s:
        return None  # not looked at for long enough
    if state.down_s is not None and signals.now_s - state.down_s < DOWN_EVERY_S:
        return None
    most = max(need for _, need in state.needs)
    target = max(rule.replicas_min, most, -(-present // 2))
    if target >= present:
        return None
    found = signals.measured
    why = f"{_rate(found.arriving)} arrive: for {calm_s:.0f} s {most or 1} were enough"
    return Decision(target, why)


def _regretted(state: ScalingState, now_s: float) -> ScalingState:
    """After a step up: was the one down before it too soon?"""
    if state.down_s is not None and now_s - state.down_s <= REGRET_S:
        times = min(CALM_TIMES_MAX, 2 * state.calm_times)
        return replace(state, calm_times=times, regret_s=now_s, down_s=None)
    if state.regret_s is not None and now_s - state.regret_s >= FORGET_S:
        return replace(state, calm_times=1, regret_s=None)
    return state


def _failures(signals: Signals, state: ScalingState) -> ScalingState:
    if signals.failed > state.failed:
        again_s = signals.now_s + state.pause_s
        pause_s = min(FAILED_S_MAX, 2 * state.pause_s)
        return replace(state, failed=signals.failed, again_s=again_s, pause_s=pause_s)
    return state


def _slack_s(signals: Signals, state: ScalingState) -> float | None:
    """Since when windows are behind though the replicas have time; None where they are not."""
    found = signals.measured
    if found.busy >= UP_BUSY or signals.starting or found.behind <= found.served * DRAIN_S:
        return None
    return signals.now_s if state.slack_s is None else state.slack_s


def _other_limit(signals: Signals, state: ScalingState) -> str | None:
    """The limit lies before the replicas or after them."""
    if state.slack_s is None or signals.now_s - state.slack_s < SLACK_S:
        return None
    return (
        f"{signals.measured.behind} windows behind, and replicas are busy for "
        f"{signals.measured.busy:.0%} only: the limit is Kafka, the network or ingest"
    )


def _rate(windows: float) -> str:
    return f"{windows:.3g} windows a second"
