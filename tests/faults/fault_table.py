"""A fault run: one fault after the other in one running pipeline, then the account of it all."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fault_site import NAME, Site
from fault_traffic import STREAMS
from kafka.errors import KafkaError

from pipeline.clock import wall_us

HANGING_S_MAX = 20.0
RECOVERY_S_MAX = 180.0  # past it a fault is given up
TO_END_S_MAX = 900.0  # a soak leaves an hour of records to go over


class Hit(NamedTuple):
    """A fault that has happened: how that is known, when it began, whence recovery counts."""

    proof: str
    at_us: int
    since_us: int
    streams: Sequence[str] = STREAMS
    spoiled: frozenset[tuple[str, int]] = frozenset()  # windows that had to come out otherwise


class NotHere(Exception):
    """This machine cannot do it; says why."""


@dataclass(frozen=True)
class Fault:
    """``inject(site, short)`` makes it happen, ends it where it lasts, and proves it.

    ``limit_s``: from the injection, or from where it ended, to a new window of every stream.
    ``quick``: part of the short form that the test suite runs.
    """

    name: str
    what: str
    limit_s: float
    inject: Callable[[Site, bool], Hit]
    quick: bool = False


@dataclass
class Row:
    """What came of a fault; ``lost``, ``twice`` and ``other`` are known at the end of the run."""

    fault: Fault
    begin_us: int
    proof: str = ""
    recovery_s: float | None = None
    wrong: list[str] = field(default_factory=list)
    lost: int = 0
    twice: int = 0
    other: int = 0  # windows whose bytes differ from the calm run's
    spoiled: frozenset[tuple[str, int]] = frozenset()
    skipped: str = ""
    broken: bool = False  # nothing runs any more, so no fault can follow

    @property
    def held(self) -> bool:
        return not (self.wrong or self.lost or self.twice or self.other)

    def cells(self) -> list[str]:
        seconds = "-" if self.recovery_s is None else f"{self.recovery_s:.1f}"
        end = "MISSED " + "; ".join(self.wrong) if not self.held else self.skipped or "held"
        counts = [str(self.lost), str(self.twice), str(self.other)]
        return [
            self.fault.name, self.fault.what, self.proof, seconds, f"{self.fault.limit_s:g}",
            *counts, end,
        ]  # fmt: skip


HEADS = ["fault", "what", "proven by", "recovery s", "limit s", "lost", "twice", "other", "result"]


def run_faults(
    faults: Sequence[Fault], short: bool, told: Callable[[str], None] = lambda _line: None
) -> list[Row]:
    """All faults in one running pipeline; what goes wrong with one is in its row."""
    site = Site()
    try:
        told("starting three brokers, three Ray nodes and the pipeline")
        site.start()
        rows = []
        for fault in faults:
            told(f"{fault.name}: {fault.what}")
            rows.append(hit(site, fault, short))
            told("  " + " | ".join(rows[-1].cells()[2:4] + rows[-1].wrong))
            if rows[-1].broken:
                break
        told("stopping, closing what is open, and a calm run over the same records")
        account(site, rows)
        return rows
    finally:
        site.close()


def hit(site: Site, fault: Fault, short: bool) -> Row:
    """One fault, and what is known of it at once; what goes wrong is mended for the next one."""
    row = Row(fault, wall_us())
    try:
        done = fault.inject(site, short)
        row.proof, row.spoiled = done.proof, done.spoiled
        seen_us = site.watcher.await_after(list(done.streams), done.at_us, RECOVERY_S_MAX)
        row.recovery_s = max(0, seen_us - done.since_us) / 1e6
        if row.recovery_s > fault.limit_s:
            row.wrong.append(f"recovered after {row.recovery_s:.1f} s")
        site.await_readable(HANGING_S_MAX)
        site.await_calm()
    except NotHere as error:
        row.skipped = f"not run: {error}"
    except (AssertionError, OSError, KafkaError) as error:
        row.wrong.append(str(error).replace("\n", " ")[-300:] or repr(error))
        try:
            _mend(site)
        except Exception as failed:  # Ray's own, for one, where the machine is too busy for it
            row.wrong.append(f"and nothing goes on: {failed}"[:200])
            row.broken = True
    return row


def _mend(site: Site) -> None:
    """After a fault that went wrong: all in its place, so that the next one means something."""
    site.gate.heal()
    for node in site.brokers.nodes:
        if node.runs:
            node.send(signal.SIGCONT)
    site.brokers.start()
    if site.run.process.poll() is None:
        site.run.end(signal.SIGKILL)
    site.ray.close()
    site.ray.start()
    site.begin()
    site.await_calm()


def account(site: Site, rows: list[Row]) -> None:
    """Compares what both readers have with a calm run in one process over the same records."""
    site.traffic.end()
    began_us = wall_us()
    code = site.run.end()
    stopped_s = (wall_us() - began_us) / 1e6
    last = rows[-1]
    if code != 0 or stopped_s > 20:
        last.wrong.append(f"SIGTERM at the end: exit code {code} after {stopped_s:.1f} s")
    _to_end(site)
    user = site.new_user()
    after = _windows(user.results(NAME))
    calm = _windows(user.results(NAME, topic="results.calm"))
    assert calm, "the calm run gave nothing"
    site.watcher.end()
    if any("(raylet)" in run.err for run in site.runs):
        last.wrong.append("Ray wrote into the output of a run")
    if site.watcher.disorder:
        last.wrong.append(f"out of order: {site.watcher.disorder[:3]}")
    missed = {at for at in after if at[1] not in site.watcher.seen[at[0]]}
    if missed - _newest(after):
        last.wrong.append(f"the watching reader has not seen {sorted(missed)[:3]}")
    for stream, end_us in after.keys() | calm.keys() | set(site.watcher.twice):
        row = next((r for r in reversed(rows) if r.begin_us <= end_us), rows[0])
        at = (stream, end_us)
        row.lost += at not in after
        row.twice += len(after.get(at, [])) > 1 or at in site.watcher.twice
        if at in after and at not in row.spoiled and set(after[at]) != set(calm.get(at, [])):
            row.other += 1
            row.wrong.append(f"{after[at][:1]} where a calm run has {calm.get(at)}")


def _newest(windows: dict[tuple[str, int], list[str]]) -> set[tuple[str, int]]:
    """Those that the last run closed, when the watching reader may have ended already."""
    last = max(end_us for _, end_us in windows)
    return {at for at in windows if at[1] > last - 5_000_000}


def _to_end(site: Site) -> None:
    """Closes what is open, and beside it goes calmly over all that there was."""
    to_end = ("run", site.file, "--local", "--until-end", "--set", "metrics.port=0")
    rest = site.command(*to_end)
    site.create_topics(site.file, "--name", "calm")
    for command in (rest, site.command(*to_end, "--name", "calm", "--start", "earliest")):
        code = command.wait(TO_END_S_MAX)
        assert code == 0, command.err


def _windows(results: list[str]) -> dict[tuple[str, int], list[str]]:
    """By stream and end, all results of that window."""
    found: dict[tuple[str, int], list[str]] = {}
    for line in results:
        value = json.loads(line.partition(" ")[2])
        found.setdefault((value["stream"], value["window"]["end_us"]), []).append(line)
    return found


def table(rows: Sequence[Row]) -> str:
    """As Markdown; readable as it is."""
    lines = [HEADS, ["---"] * len(HEADS), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def missed(rows: Sequence[Row]) -> Counter[str]:
    return Counter(row.fault.name for row in rows if not row.held)
