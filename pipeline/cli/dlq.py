"""``motet dlq``: what is in the dead-letter and the late topic, and why."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, WaitOption, load_spec
from pipeline.cli.table import table
from pipeline.cli.terminal import emit, printable, progress, stopping
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.cli.dlq_entry import Entry
    from pipeline.spec import PipelineSpec

HEAD = ("reason", "input", "stage", "count", "first", "newest", "example")
SHOWN_DEFAULT = 10

app = typer.Typer(
    help="The dead-letter and late topics of a pipeline.",
    epilog="Example: motet dlq list lobby.yaml",
    rich_markup_mode=None,
)


@app.callback()
def dlq() -> None:
    """The dead-letter and late topics of a pipeline."""


@dataclass(slots=True)
class _Kind:
    """Entries of one reason, input and stage; ``newest`` is the example that is shown."""

    count: int
    first: Entry
    newest: Entry

    def add(self, entry: Entry) -> None:
        self.count += 1
        if _age(entry) < _age(self.first):
            self.first = entry
        if _age(entry) > _age(self.newest):
            self.newest = entry


@app.command("list", epilog="Example: motet dlq list lobby.yaml")
def list_(file: FileArgument, wait: WaitOption = False, as_json: JsonOption = False) -> None:
    """Count the entries by reason, input and stage, with times and the newest as an example.

    Times are Kafka's timestamps of the entries. Reads both topics from their beginning.
    """
    spec = load_spec(file)
    kinds: dict[tuple[str, str, str], _Kind] = {}
    with _entries(file, spec, wait) as entries:
        for entry in entries:
            key = (entry.reason, entry.input or "", entry.stage or "")
            if key in kinds:
                kinds[key].add(entry)
            else:
                kinds[key] = _Kind(1, entry, entry)
    found = [kinds[key] for key in sorted(kinds)]
    if as_json:
        emit(json.dumps(_answer(spec, found), ensure_ascii=False))
        return
    for line in _lines(spec, found, file):
        emit(line)


@app.command(epilog="Example: motet dlq show lobby.yaml --reason undecodable --max 3")
def show(
    file: FileArgument,
    reason: Annotated[
        str | None,
        typer.Option(metavar="R", help="Only entries with this reason.", show_default=False),
    ] = None,
    number: Annotated[
        int, typer.Option("--max", min=1, metavar="N", help="The N newest of them.")
    ] = SHOWN_DEFAULT,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show single entries, the newest last: key, headers, error, source, size and a preview.

    With --json each line is one entry as a JSON object.
    """
    from pipeline.cli.dlq_entry import as_json as shown_as_json
    from pipeline.cli.dlq_entry import lines_of

    demand_reason(reason)
    spec = load_spec(file)
    with _entries(file, spec, wait) as entries:
        wanted = (e for e in entries if reason is None or e.reason == reason)
        newest = heapq.nlargest(number, wanted, key=_age)
    for entry in reversed(newest):
        if as_json:
            emit(json.dumps(shown_as_json(entry), ensure_ascii=False))
            continue
        for line in lines_of(entry):
            emit(line)


def demand_reason(reason: str | None) -> None:
    from pipeline.record import Reason

    if reason is not None and reason not in get_args(Reason):
        remedy = f"give one of {', '.join(get_args(Reason))}"
        raise InvalidInput(Problem("--reason", reason, "no entry has such a reason", remedy))


@contextmanager
def _entries(file: Path, spec: PipelineSpec, wait: bool) -> Iterator[Iterator[Entry]]:
    """All entries of both topics; Ctrl-C ends the reading and the command."""
    from pipeline.cli.committed import committed_records
    from pipeline.cli.connect import connect_for, create_remedy
    from pipeline.cli.dlq_entry import entry_of

    inputs = {source.topic: name for name, source in spec.inputs.items()}
    outputs = spec.outputs
    topics = {outputs.dead_letter: "outputs.dead_letter", outputs.late: "outputs.late"}
    connector = connect_for(spec, wait=wait)
    with stopping() as stop, progress("reading", 1.0) as done:
        records = committed_records(connector, topics, create_remedy(file), stop, done)
        yield (entry_of(record, inputs) for record in records)
        if stop.is_set():
            raise KeyboardInterrupt


def _age(entry: Entry) -> tuple[int, str, int, int]:
    return entry.time_us, entry.topic, entry.partition, entry.offset


def _answer(spec: PipelineSpec, kinds: list[_Kind]) -> dict[str, Any]:
    from pipeline.cli.dlq_entry import as_json
    from pipeline.spec import format_rfc3339

    return {
        "name": spec.name,
        "dead_letter": spec.outputs.dead_letter,
        "late": spec.outputs.late,
        "entries": sum(kind.count for kind in kinds),
        "kinds": [
            {
                "reason": kind.newest.reason,
                "input": kind.newest.input,
                "stage": kind.newest.stage,
                "count": kind.count,
                "first": format_rfc3339(kind.first.time_us, "microseconds"),
                "newest": format_rfc3339(kind.newest.time_us, "microseconds"),
                "example": as_json(kind.newest),
            }
            for kind in kinds
        ],
    }


def _lines(spec: PipelineSpec, kinds: list[_Kind], file: Path) -> list[str]:
    from pipeline.spec import format_rfc3339

    if not kinds:
        return [f"{spec.outputs.dead_letter} and {spec.outputs.late} are empty"]
    rows = [
        [
            printable(kind.newest.reason),
            printable(kind.newest.input or "-"),
            printable(kind.newest.stage or "-"),
            kind.count,
            format_rfc3339(kind.first.time_us, "seconds"),
            format_rfc3339(kind.newest.time_us, "seconds"),
            printable(f"{kind.newest.source or kind.newest.key}: {kind.newest.error}"),
        ]
        for kind in kinds
    ]
    count = sum(kind.count for kind in kinds)
    entries = f"{count} entry" if count == 1 else f"{count} entries"
    return [*table(HEAD, rows), f"{entries}; `motet dlq show {file} --reason R` shows them"]
