"""Which input of a pipeline file takes a file, and in what form its records come there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.connectors.files import SourceFile, Target
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.spec import InputSpec, PipelineSpec

_HEADER = "header:"


def check_inputs(spec: PipelineSpec, only: Sequence[str]) -> None:
    """Raises InvalidInput where ``--input`` names no input of the file."""
    unknown = [name for name in only if name not in spec.inputs]
    if unknown:
        remedy = f"name one of {', '.join(spec.inputs)}"
        why = f"pipeline '{spec.name}' has no such input"
        raise InvalidInput(*(Problem("--input", name, why, remedy) for name in unknown))


def choose_input(spec: PipelineSpec, file: SourceFile, only: Sequence[str]) -> Target:
    """The one input of the file's kind; of several the one of exactly its type.

    Raises InvalidInput where there is none or no single one, or where its records are not
    plain media (``payload``, ``time``, ``stream: partition``).
    """
    inputs = {name: given for name, given in spec.inputs.items() if not only or name in only}
    fitting = {name: given for name, given in inputs.items() if given.media.kind == file.kind}
    if len(fitting) > 1:
        exact = {n: given for n, given in fitting.items() if _essence(given) == file.content_type}
        fitting = exact if len(exact) == 1 else fitting
    if not fitting:
        taken = ", ".join(f"{name} takes {given.media}" for name, given in inputs.items())
        why = f"no input of pipeline '{spec.name}' takes {file.kind} ({taken})"
        remedy = "leave it out, or send it to a topic with --topic"
        raise InvalidInput(Problem("SOURCE", str(file.path), why, remedy))
    if len(fitting) > 1:
        why = f"{', '.join(fitting)} all take {file.kind}"
        remedy = f"choose with --input {next(iter(fitting))}"
        raise InvalidInput(Problem("SOURCE", str(file.path), why, remedy))
    [(name, given)] = fitting.items()
    return Target(given.topic, str(given.media), _stream_header(name, given))


def _stream_header(name: str, given: InputSpec) -> str | None:
    """The header that carries the stream id, None for the key; refuses what is no plain record."""
    remedy = "feed this input with the producer that it is made for"
    for key, value in (("payload", given.payload), ("time", given.time)):
        if value is not None:
            why = "publish sends plain media, not media inside JSON"
            raise InvalidInput(Problem(f"inputs.{name}.{key}", "", why, remedy))
    if given.stream == "partition":
        why = "publish sends by stream id, and here a partition is the stream"
        raise InvalidInput(Problem(f"inputs.{name}.stream", given.stream, why, remedy))
    return given.stream.removeprefix(_HEADER) if given.stream.startswith(_HEADER) else None


def _essence(given: InputSpec) -> str:
    return f"{given.media.kind}/{given.media.subtype}"
