"""``motet lag``: how far each lane is behind its topics, and what a start would read again."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, WaitOption, load_spec
from pipeline.cli.table import table
from pipeline.cli.terminal import counted, emit, warn

if TYPE_CHECKING:
    from pipeline.slot.reset import Place, Standing
    from pipeline.spec import PipelineSpec
    from pipeline.tasks.starting import Layout

HEAD = ("lane", "input", "committed", "end", "lag", "replay", "floor", "emitted up to")


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet lag lobby.yaml --json")(lag)


def lag(file: FileArgument, wait: WaitOption = False, as_json: JsonOption = False) -> None:
    """Show consumer lag and replay span of each lane, in records.

    Lag: from the committed position to the newest committed record. Replay: from the oldest
    record that open windows need to the committed position; the next start reads it again,
    silently. Offsets of transaction markers count as records.
    """
    from pipeline.cli.connect import connect_for, demand_topics
    from pipeline.slot.reset import doubts
    from pipeline.tasks.resetting import committed_now, standings_of

    spec = load_spec(file)
    connector = connect_for(spec, wait=wait)
    layout = demand_topics(connector, spec, f"motet topics create {file}")
    with closing(connector.control()) as control:
        committed = committed_now(spec, layout, control)
        standings = standings_of(spec, layout, control, committed)
    answer = _answer(spec, layout, standings)
    for standing in standings.values():
        for doubt in doubts(standing, spec.decision_hash()):
            warn(f"lane {standing.lane}: {doubt}; `motet reset {file}` shows where it can go on")
    if as_json:
        emit(json.dumps(answer))
        return
    for line in _lines(spec, answer):
        emit(line)


def _answer(spec: PipelineSpec, layout: Layout, standings: dict[int, Standing]) -> dict[str, Any]:
    lanes: list[dict[str, Any]] = [
        {
            "lane": lane,
            "slot": lane % spec.slots,
            "owner": standing.owner,
            "cut": standing.number if standing.known else None,
            "floor_us": standing.floor_us,
            "emitted_us": standing.top_us,
            "inputs": [_input(name, at) for name, at in standing.places.items()],
        }
        for lane, standing in standings.items()
    ]
    inputs = [found for lane in lanes for found in lane["inputs"]]
    return {
        "name": spec.name,
        "ran": any(not standing.untouched for standing in standings.values()),
        "lag_records": sum(found["lag_records"] for found in inputs),
        "replay_records": sum(found["replay_records"] or 0 for found in inputs),
        "lanes": lanes,
    }


def _input(name: str, at: Place) -> dict[str, Any]:
    position = None if at.entry is None else at.entry.offset
    start = None if at.found is None else at.found.start
    return {
        "input": name,
        "topic": at.partition.topic,
        "committed": position,
        "from": start,
        "end": at.end,
        "lag_records": max(0, at.end - (at.begin if position is None else position)),
        "replay_records": None if start is None or position is None else position - start,
    }


def _lines(spec: PipelineSpec, answer: dict[str, Any]) -> list[str]:
    from pipeline.spec import format_rfc3339

    rows = []
    for lane in answer["lanes"]:
        for found in lane["inputs"]:
            times = [lane["floor_us"], lane["emitted_us"]]
            rows.append(
                [
                    lane["lane"],
                    found["input"],
                    found["committed"],
                    found["end"],
                    found["lag_records"],
                    found["replay_records"],
                    *(None if t is None else format_rfc3339(t, "milliseconds") for t in times),
                ]
            )
    total = (
        f"{answer['name']}: lag {counted(answer['lag_records'], 'record')}, "
        f"replay {counted(answer['replay_records'], 'record')}"
    )
    if not answer["ran"]:
        total = (
            f"{answer['name']} never ran: nothing is committed; its topics hold "
            f"{counted(answer['lag_records'], 'record')}, and `start: {_start(spec)}` applies"
        )
    return [*table(HEAD, rows), total]


def _start(spec: PipelineSpec) -> str:
    from pipeline.spec import format_rfc3339

    return format_rfc3339(spec.start) if isinstance(spec.start, int) else spec.start
