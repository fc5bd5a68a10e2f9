"""``motet validate``: is the file sound, and with ``--connect`` what it names as well."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, WaitOption, load_spec
from pipeline.cli.terminal import counted, emit, warn
from pipeline.errors import InvalidInput, MotetError, Problem

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet validate lobby.yaml --connect")(validate)


def validate(
    file: FileArgument,
    connect: Annotated[
        bool,
        typer.Option("--connect", help="Check also the topics on the broker, and the encoders."),
    ] = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check a pipeline file; every error is one line with key, value, reason and remedy."""
    from pipeline.spec.head_store import check_head

    spec: PipelineSpec | None = None
    warnings: list[Problem] = []
    try:
        spec = load_spec(file)
        check_head(spec)
        if connect:
            warnings = _check_outside(spec, str(file), wait)
    except MotetError as error:
        if as_json:
            emit(json.dumps(_answer(str(file), spec, error, warnings), ensure_ascii=False))
        raise
    for problem in warnings:
        warn(str(problem))
    if as_json:
        emit(json.dumps(_answer(str(file), spec, None, warnings), ensure_ascii=False))
    else:
        counts = f"{counted(len(spec.inputs), 'input')}, {counted(len(spec.stages), 'stage')}"
        emit(f"{file}: pipeline '{spec.name}' is valid ({counts})")


def _check_outside(spec: PipelineSpec, file: str, wait: bool) -> list[Problem]:
    """Topics, partitions, timestamps, sizes and encoders; the warnings. Raises InvalidInput."""
    from pipeline.cli.connect import connect_for, topics_of
    from pipeline.cli.topic_plan import problems_of, wanted_topics
    from pipeline.encoders.checking import check_pipeline

    wanted = wanted_topics(spec)
    control = connect_for(spec, wait=wait).control()
    try:
        there = topics_of(control, [topic.name for topic in wanted])
    finally:
        control.close()
    errors, warnings = problems_of(wanted, there, f"`motet topics create {file}` makes it")
    found: list[Problem | str] = [*errors]
    try:
        check_pipeline(spec)
    except InvalidInput as error:
        found.extend(error.problems)
    if found:
        for problem in warnings:
            warn(str(problem))
        raise InvalidInput(*found)
    return warnings


def _answer(
    file: str, spec: PipelineSpec | None, error: MotetError | None, warnings: list[Problem]
) -> dict[str, Any]:
    if error is None:
        errors: list[Problem | str] = []
    else:
        errors = list(error.problems) if isinstance(error, InvalidInput) else [str(error)]
    return {
        "file": file,
        "valid": error is None,
        "name": None if spec is None else spec.name,
        "errors": [_shown(problem) for problem in errors],
        "warnings": [_shown(problem) for problem in warnings],
    }


def _shown(problem: Problem | str) -> dict[str, str | None]:
    if isinstance(problem, Problem):
        return {**problem._asdict(), "message": str(problem)}
    return {"key": None, "value": None, "why": None, "remedy": None, "message": problem}
