"""``motet explain``: why a committed result says what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, WaitOption, load_spec
from pipeline.cli.clip import ID_REMEDY, ResultIdArgument, demand_free, parsed_id
from pipeline.cli.terminal import emit, progress, say, stopping, warn
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.record import MediaRecord
    from pipeline.slot.ports import Connector, LogRecord
    from pipeline.spec import PipelineSpec
    from pipeline.tasks.window_media import ResultId


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet explain cam-7/1790000001000000 lobby.yaml -o why")(explain)


def explain(
    result_id: ResultIdArgument,
    file: FileArgument,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="DIR", help="Write explain.json, .html and pictures."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(metavar="L", help="With a head: explain this label, not the winning one."),
    ] = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Explain a result: which stages, which numbers of their vectors, which parts of the media.

    The result's records are read from the topics, and the stages that fusion rests on run again
    in this process: once whole, which is compared with the committed answer, and once without
    each slice of sound, tile of the frames or word. DIR gets a picture of each media.
    """
    if out is not None:
        from pipeline.evaluation.explain_page import demand_plotting

        demand_free(out)
        demand_plotting("-o")
    wanted = parsed_id(result_id)
    spec = load_spec(file)
    value, records = _read(file, spec, result_id, wanted, wait)
    import torch

    from pipeline.evaluation.explain_page import warnings_of, write_explanation
    from pipeline.evaluation.explaining import explain as explained_of

    torch.set_num_threads(1)  # as replicas run: sums over threads have other last digits
    with progress("running the stages without each part", 1.0) as done:
        explained = explained_of(spec, value, records, label, done)
    for line in warnings_of(explained.found):
        warn(line)
    if out is not None:
        try:
            paths = write_explanation(out, explained)
        except OSError as error:
            remedy = "name a folder that can be written"
            raise InvalidInput(Problem("-o", str(out), str(error), remedy)) from error
        for path in paths:
            say(f"motet: wrote {path}")
    if as_json:
        emit(json.dumps(explained.found, ensure_ascii=False))
        return
    for line in _lines(explained.found):
        emit(line)


def _read(
    file: Path, spec: PipelineSpec, result_id: str, wanted: ResultId, wait: bool
) -> tuple[dict[str, Any], dict[str, list[MediaRecord]]]:
    """The result's value, and by input what its stages read; InvalidInput where it is not there."""
    from pipeline.cli.connect import connect_for, create_remedy, partitions_of
    from pipeline.tasks.window_media import WindowMedia

    connector = connect_for(spec, wait=wait)
    topics = {spec.outputs.results: "outputs.results", spec.outputs.late: "outputs.late"}
    topics |= {entry.topic: f"inputs.{name}.topic" for name, entry in spec.inputs.items()}
    control = connector.control()
    try:
        partitions_of(control, topics, create_remedy(file))
    finally:
        control.close()
    with stopping() as stop:
        result = WindowMedia(spec, connector, stop.is_set).result(wanted)
        if stop.is_set():
            raise KeyboardInterrupt
        if result is None:
            why = f"{spec.outputs.results} holds no such result"
            raise InvalidInput(Problem("RESULT_ID", result_id, why, ID_REMEDY))
        records = _records(spec, connector, wanted, result, stop.is_set)
        if stop.is_set():
            raise KeyboardInterrupt
    value = json.loads(result.value or b"")
    for name in value["present"]:
        if not any(_inside(record, value["window"]) for record in records[name]):
            topic = spec.inputs[name].topic
            say(f"motet: {name}: {topic} no longer holds its records; see the topic's retention.ms")
    return value, records


def _records(
    spec: PipelineSpec, connector: Connector, wanted: ResultId, result: LogRecord, stopped: Any
) -> dict[str, list[MediaRecord]]:
    """Those of the window, and around it those that a stage's context reaches."""
    from pipeline.tasks.window_media import ResultId, WindowMedia

    end_us = wanted.start_us + spec.windows.size_us
    window = {"start_us": wanted.start_us, "end_us": end_us}
    inside = WindowMedia(spec, connector, stopped).records(wanted, result, list(spec.inputs))
    lane = spec.lane_spec()
    if not lane.before_us and not lane.after_us:
        return inside
    size_us = spec.windows.size_us + lane.before_us + lane.after_us
    windows = spec.windows.model_copy(update={"size_us": size_us})
    wide = spec.model_copy(update={"windows": windows})
    around = ResultId(wanted.stream, wanted.start_us - lane.before_us)
    found = WindowMedia(wide, connector, stopped).records(around, result, list(spec.inputs))
    return {
        name: sorted(
            [*inside[name], *(r for r in of_input if not _inside(r, window))],
            key=lambda record: record.log.offset,
        )
        for name, of_input in found.items()
    }


def _inside(record: MediaRecord, window: dict[str, int]) -> bool:
    return record.ts_us < window["end_us"] and record.end_us > window["start_us"]


def _lines(found: dict[str, Any]) -> Iterator[str]:
    from pipeline.cli.table import table
    from pipeline.evaluation.explain_page import media_rows, stage_rows, subject

    yield f"{found['result_id']}: {subject(found)}"
    yield from table(("stage", "weight", "attribution", "numbers"), stage_rows(found))
    if found["media"]:
        yield from table(("media", "kind", "read by", "without it"), media_rows(found))
