"""``motet reset``: moves the committed position of a stopped pipeline, once it has said how."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.arguments import FileArgument, WaitOption, load_spec
from pipeline.cli.table import table
from pipeline.cli.terminal import counted, emit, say, stopping
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.slot.ports import Connector
    from pipeline.spec import PipelineSpec
    from pipeline.tasks.resetting import ResetPlan, Target
    from pipeline.tasks.starting import Layout

HEAD = ("lane", "input", "from", "to", "again", "skipped", "windows after")
LOOK_S_MIN, LOOK_S_MAX = 1.0, 5.0


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet reset lobby.yaml --to 2026-01-31T12:00:00Z")(reset)


def reset(
    file: FileArgument,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="earliest|latest|TIME",
            help="Go there instead, by Kafka's timestamps; its windows are emitted again.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: WaitOption = False,
) -> None:
    """Move the committed position of a stopped pipeline; says first what would happen, and asks.

    Without --to it goes on from the records of the windows that were open, and emits none that
    ends at or before the last one emitted: for a file that decides otherwise now, offsets that
    expired, a topic that was recreated or whose log is gone. Lanes that a run would simply go on
    with stay as they are.
    """
    from pipeline.cli.connect import connect_for, demand_topics
    from pipeline.tasks.resetting import plan_reset

    target = _target(to)
    spec = load_spec(file)
    connector = connect_for(spec, wait=wait)
    layout = demand_topics(connector, spec, f"motet topics create {file}")
    plan = plan_reset(spec, connector, layout, target)
    if not plan.cuts:
        ran = not all(standing.untouched for standing in plan.standings.values())
        why = "nothing is in the way of going on" if ran else "it never ran"
        say(f"motet: {spec.name}: {why}, so nothing is moved; `motet run {file}` starts it")
        return
    _demand_stopped(spec, connector, layout, plan)
    for line in _preview(spec, plan, to):
        emit(line)
    say("motet: a run of it that is still there, on any machine, ends with exit code 1")
    if not yes:
        _ask(spec, file)
    _move(spec, connector, layout, plan)
    say(f"motet: {spec.name}: {counted(len(plan.cuts), 'lane')} moved; `motet run {file}` goes on")


def _target(to: str | None) -> Target | None:
    from pipeline.spec.units import Wrong, parse_rfc3339_us

    if to is None:
        return None
    if to == "earliest":
        return "earliest"
    if to == "latest":
        return "latest"
    try:
        return parse_rfc3339_us(to)
    except Wrong as wrong:
        remedy = f"{wrong.remedy}, or earliest or latest"
        raise InvalidInput(Problem("--to", to, wrong.why, remedy)) from None


def _demand_stopped(
    spec: PipelineSpec, connector: Connector, layout: Layout, plan: ResetPlan
) -> None:
    """Refuses where a run commits while we look. One that has nothing to commit is not seen
    like this: that is why its slots are fenced before anything is moved."""
    from pipeline.tasks.resetting import committed_now

    look_s = min(LOOK_S_MAX, max(LOOK_S_MIN, 2 * spec.commit_interval_us / 1e6))
    say(f"motet: {spec.name}: looking for {look_s:g} s whether it runs")
    time.sleep(look_s)
    with closing(connector.control()) as control:
        if committed_now(spec, layout, control) != plan.committed:
            why = "it runs: its offsets moved while they were looked at"
            remedy = "stop its `motet run` (Ctrl-C or SIGTERM) and reset it then"
            raise InvalidInput(Problem("name", spec.name, why, remedy))


def _preview(spec: PipelineSpec, plan: ResetPlan, to: str | None) -> list[str]:
    from pipeline.slot.reset import moves
    from pipeline.spec import format_rfc3339

    late, dead = spec.outputs.late, spec.outputs.dead_letter
    lines = []
    reasons: dict[str, list[str]] = {}
    for lane, texts in plan.doubts.items():
        for text in texts:
            reasons.setdefault(text, []).append(str(lane))
    for text, lanes in reasons.items():
        lines.append(f"{text} (lane {', '.join(lanes)})")
    rows = [
        (
            *(move.lane, move.input, move.before, move.after, move.again, move.skipped),
            None if cut.floor_us is None else format_rfc3339(cut.floor_us, "microseconds"),
        )
        for lane, cut in plan.cuts.items()
        for move in moves(plan.standings[lane], cut)
    ]
    lines += table(HEAD, rows)
    again, skipped = sum(row[4] for row in rows), sum(row[5] for row in rows)
    lines.append(f"{counted(again, 'record')} read again, {counted(skipped, 'record')} skipped")
    if to is not None:
        lines.append(
            "windows of what is read again are EMITTED AGAIN, with the ids that they had; "
            "windows that were open are given up"
        )
    elif any(cut.floor_us is not None for cut in plan.cuts.values()):
        lines.append(
            "no window that ends at or before the time in the last column is emitted any more; of "
            f"what is read, records that overlap one are late for it and go to {late}, and unsound "
            f"ones go to {dead}, some of them again"
        )
    kept = len(plan.standings) - len(plan.cuts)
    if kept:
        lines.append(f"unchanged: {counted(kept, 'other lane')}")
    return lines


def _ask(spec: PipelineSpec, file: Path) -> None:
    if not sys.stdin.isatty():
        why, remedy = "there is no terminal to ask on, and nothing was moved", "pass --yes"
        raise InvalidInput(Problem("reset", str(file), why, remedy))
    if not typer.confirm(f"move {spec.name}?", default=False, err=True):
        say("motet: nothing was moved")
        raise typer.Exit(1)


def _move(spec: PipelineSpec, connector: Connector, layout: Layout, plan: ResetPlan) -> None:
    from pipeline.tasks.resetting import move
    from pipeline.tasks.retry import Retry

    with stopping() as stop:
        move(spec, connector, layout, plan, Retry(stop))
