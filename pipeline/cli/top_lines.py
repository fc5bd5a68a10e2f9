"""What ``motet top`` shows of a run, as lines; all figures are those of ``/api/state``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from pipeline.cli.table import table
from pipeline.cli.terminal import printable

INPUTS = ("input", "records/s", "lag", "behind", "fused", "late", "dead", "topic")
STAGES = ("stage", "windows/s", "batch", "queue", "compute", "busy", "failed", "on", "encoder")
LANES = ("lane", "slot", "lag", "open", "waits for")

INDENT = "    "
QUESTIONS = {
    "verdict": "verdict",
    "bottleneck": "bottleneck",
    "window": "why no window",
    "batch": "why small batches",
}

State = dict[str, Any]


def lines_of(state: State) -> list[str]:
    """The whole picture, the most important first."""
    lines = [
        *_head(state),
        *_answers(state),
        "",
        *table(INPUTS, [_input(each) for each in state["inputs"]]),
    ]
    lines += ["", *table(STAGES, [_stage(each) for each in state["stages"]])]
    if state["lanes"]:
        lines += ["", *table(LANES, [_lane(each) for each in state["lanes"]])]
    lines += [f"restarted: {each['role']} {each['count']}x, {each['cause']}"
              for each in state["restarts"]]  # fmt: skip
    lines += [f"warning: {line}" for line in state["warnings"]]
    return [printable(line) for line in lines]


def fitted(lines: list[str], width: int, height: int) -> list[str]:
    """The lines as a screen has room for them: sentences broken where all of it fits so, else cut;
    and how many more there are.
    """
    broken = [part for line in lines for part in _broken(line, width)]
    if len(broken) <= height:
        return broken
    if len(lines) > height:
        lines = [*lines[: height - 1], f"... {len(lines) - height + 1} more"]
    return [line if len(line) <= width else f"{line[: width - 1]}…" for line in lines]


def _broken(line: str, width: int) -> list[str]:
    """A row of a table, and what has no words to break at, is cut."""
    if len(line) <= width:
        return [line]
    if ": " not in line or width < 2 * len(INDENT):
        return [f"{line[: width - 1]}…"]
    return textwrap.wrap(line, width, subsequent_indent=INDENT, break_on_hyphens=False)


def _head(state: State) -> Iterator[str]:
    ready = "ready" if state["ready"] else f"not ready: {state['not_ready']}"
    yield f"{state['name']} on {state['host'] or '-'}: {ready}, since {state['started'] or '-'}"
    rates, totals, latency = state["rates"], state["totals"], state["latency"]
    yield (
        f"{_number(rates['windows_per_second'])} windows/s  "
        f"{_number(rates['records_per_second'])} records/s  "
        f"{_bytes(rates['bytes_per_second'])}/s  "
        f"end to end p50 {_time(latency['p50_seconds'])} p99 {_time(latency['p99_seconds'])}  "
        f"commit p50 {_time(state['commit']['p50_seconds'])}"
    )
    yield (
        f"{totals['windows']} windows, {totals['records']} records, "
        f"{totals['fates']['late']} late, {_letters(state)} dead letters, "
        f"{totals['commits'].get('committed', 0)} commits"
    )
    head = state["fusion"]["head"]
    if head is not None:
        named = "no head yet" if head["sha256"] is None else f"head {head['sha256'][:12]}"
        taking = "" if head["everywhere"] else ", taking over"
        yield f"{named}{taking}, since {head['since']}"


def _letters(state: State) -> int:
    """Entries of the dead-letter topic; a run of an older version tells the records alone."""
    entries = sum(int(each["count"]) for each in state.get("dead_letters", []))
    return max(entries, int(state["totals"]["fates"]["dead_letter"]))


def _answers(state: State) -> Iterator[str]:
    """The verdict, and the questions that are asked of a run, a line each (docs/HTTP.md)."""
    answers = state.get("answers", {})  # a run of an older version gives none
    for name, title in QUESTIONS.items():
        if name in answers:
            yield f"{title}: {answers[name]['words']}"


def _input(each: State) -> list[object]:
    fates = each["fates"]
    return [
        each["name"], _number(each["records_per_second"]), each["lag_records"],
        _behind(each["event_time_lag_seconds"]), fates["fused"], fates["late"],
        fates["dead_letter"], each["topic"],
    ]  # fmt: skip


def _stage(each: State) -> list[object]:
    devices = sorted({replica["device"] or "-" for replica in each["replicas"]})
    busy = each["busy_ratio"]
    return [
        each["name"], _number(each["windows_per_second"]), _number(each["batch_size"]),
        _time(each["queue"]["p50_seconds"]), _time(each["compute"]["p50_seconds"]),
        None if busy is None else f"{busy:.0%}", each["failures"],
        f"{len(each['replicas'])} x {', '.join(devices) or '-'}", each["encoder"],
    ]  # fmt: skip


def _lane(each: State) -> list[object]:
    return [
        each["lane"], each["slot"], each["lag_records"], each["open_windows"], each["waiting"] or ""
    ]  # fmt: skip


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if abs(seconds) < 1 else f"{seconds:.1f} s"


def _behind(seconds: float | None) -> str:
    """A record that lasts may end after now: then nothing is behind."""
    return _time(None if seconds is None else max(0.0, seconds))


def _bytes(value: float | None) -> str:
    if value is None:
        return "-"
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
