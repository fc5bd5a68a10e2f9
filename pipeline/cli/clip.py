"""``motet clip``: the source media of a result, from the topics, cut to its window."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, WaitOption, load_spec
from pipeline.cli.terminal import emit, say, stopping
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.cli.clip_files import Written
    from pipeline.record import MediaRecord
    from pipeline.slot.ports import LogRecord
    from pipeline.spec import PipelineSpec
    from pipeline.tasks.window_media import ResultId

COVERAGE_TOLERANCE = 1e-6
SINGLE = (".wav", ".jpg", ".png", ".webp", ".txt")  # OUT is one file, not a folder
START_US_MAX = (1 << 63) - 1
ID_REMEDY = (
    "write STREAM/START_US: a result's stream and window.start_us (`motet tail FILE --json`)"
)

ResultIdArgument = Annotated[
    str, typer.Argument(metavar="RESULT_ID", help="STREAM/START_US: the result's ce_id.")
]


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet clip cam-7/1790000001000000 lobby.yaml -o cam-7")(clip)


def clip(
    result_id: ResultIdArgument,
    file: FileArgument,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="OUT", help="A folder, or one file (x.wav).")
    ],
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Cut the source media of a result to its window, from the topics into files.

    OUT gets result.json and, for each input that was present, INPUT.wav, INPUT.jpg (or
    INPUT-1.jpg, ... where there are several; frames of films as PNG) or INPUT.txt. Records that
    came too late for the window are left out. One line a file on stdout. An OUT that ends in
    .wav, .jpg, .png, .webp or .txt is that one file alone.
    """
    from pipeline.cli.connect import connect_for, create_remedy, partitions_of
    from pipeline.tasks.window_media import WindowMedia

    wanted = parsed_id(result_id)
    demand_free(out)
    spec = load_spec(file)
    connector = connect_for(spec, wait=wait)
    topics = {spec.outputs.results: "outputs.results", spec.outputs.late: "outputs.late"}
    topics |= {entry.topic: f"inputs.{name}.topic" for name, entry in spec.inputs.items()}
    control = connector.control()
    try:
        partitions_of(control, topics, create_remedy(file))
    finally:
        control.close()
    with stopping() as stop:
        media = WindowMedia(spec, connector, stop.is_set)
        result = media.result(wanted)
        if stop.is_set():
            raise KeyboardInterrupt
        if result is None:
            why = f"{spec.outputs.results} holds no such result"
            raise InvalidInput(Problem("RESULT_ID", result_id, why, ID_REMEDY))
        value = json.loads(result.value or b"")
        records = media.records(wanted, result, value["present"])
        if stop.is_set():
            raise KeyboardInterrupt
    with _folder_for(out) as folder:
        written = _write(spec, wanted, result, records, folder)
        if folder != out:
            written = [_only(written, out)]
    _compare(spec, wanted, value, records)
    if as_json:
        emit(json.dumps(_answer(result_id, out, written), ensure_ascii=False))
        return
    for file_ in written:
        length_ms = (file_.end_us - file_.start_us) / 1000
        emit(f"{file_.path}  {file_.input}  {file_.kind}  {length_ms:g} ms")


def parsed_id(text: str) -> ResultId:
    from pipeline.tasks.window_media import ResultId

    stream, _, start = text.rpartition("/")
    try:
        start_us = int(start)
    except ValueError:
        why = "it does not end in /START_US"
        raise InvalidInput(Problem("RESULT_ID", text, why, ID_REMEDY)) from None
    if abs(start_us) > START_US_MAX:
        why = "its START_US has more than 64 bits"
        raise InvalidInput(Problem("RESULT_ID", text, why, ID_REMEDY))
    return ResultId(stream, start_us)


def demand_free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        why = "it is there, and is no empty folder"
        raise InvalidInput(Problem("-o", str(out), why, "name one that is not there yet"))


@contextmanager
def _folder_for(out: Path) -> Iterator[Path]:
    """The folder to write: OUT itself, or one beside it that goes again where OUT is one file."""
    try:
        if out.suffix.lower() not in SINGLE:
            out.mkdir(parents=True, exist_ok=True)
            yield out
            return
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent) as folder:
            yield Path(folder)
    except OSError as error:
        remedy = "name a folder that can be written"
        raise InvalidInput(Problem("-o", str(out), str(error), remedy)) from error


def _only(written: list[Written], out: Path) -> Written:
    """Moves the one file of OUT's kind to OUT."""
    fitting = [file for file in written if file.path.suffix == out.suffix.lower()]
    if len(fitting) != 1:
        why = f"the window has {len(fitting)} files of that kind"
        raise InvalidInput(Problem("-o", str(out), why, "name a folder: it gets all of them"))
    return fitting[0]._replace(path=fitting[0].path.replace(out))


def _write(
    spec: PipelineSpec,
    wanted: ResultId,
    result: LogRecord,
    records: dict[str, list[MediaRecord]],
    out: Path,
) -> list[Written]:
    from pipeline.cli.clip_files import Window, write_input

    end_us = wanted.start_us + spec.windows.size_us
    window = Window(wanted.stream, wanted.start_us, end_us, spec.limits.decode_time_us)
    (out / "result.json").write_bytes(result.value or b"")
    written = []
    for name, of_input in records.items():
        files, problems = write_input(window, name, of_input, out / name)
        written += files
        for problem in problems:
            say(f"motet: {problem}")
        if not of_input:
            topic = spec.inputs[name].topic
            say(f"motet: {name}: {topic} no longer holds its records; see the topic's retention.ms")
    return written


def _compare(
    spec: PipelineSpec,
    wanted: ResultId,
    value: dict[str, Any],
    records: dict[str, list[MediaRecord]],
) -> None:
    """Says where the topics hold another share of the window than the result was made of."""
    from pipeline.media.coverage import coverage

    end_us = wanted.start_us + spec.windows.size_us
    for name, fused in value.get("coverage", {}).items():
        found = coverage(records.get(name, ()), wanted.start_us, end_us)
        if abs(found - fused) > COVERAGE_TOLERANCE:
            say(
                f"motet: {name}: the result was made of {fused:.1%} of the window, "
                f"and {found:.1%} of it was found"
            )


def _answer(result_id: str, out: Path, written: list[Written]) -> dict[str, Any]:
    return {
        "result_id": result_id,
        "result": str(out / "result.json") if out.is_dir() else None,
        "files": [{**file._asdict(), "path": str(file.path)} for file in written],
    }
