"""Which input of a pipeline file takes a file, and in what form its records come there."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from pipeline.cli.terminal import say
from pipeline.connectors.files import PICTURES, Pictures, SourceFile, Target, parts
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.spec import InputSpec, PipelineSpec

_HEADER = "header:"


def targeted(
    files: Sequence[SourceFile],
    topic: str | None,
    spec: PipelineSpec | None,
    only: Sequence[str],
    kind: str | None,
) -> list[tuple[SourceFile, Target]]:
    """Each file, and each part of a film, with its target; ``kind``: of films only that part."""
    if spec is not None:
        check_inputs(spec, only)
    found: list[tuple[SourceFile, Target]] = []
    for file in files:
        held = _held(file, kind)
        if spec is None:
            found.extend((part, Target(topic or "")) for part in _one_kind(file, held))
            continue
        taken, left = choose_inputs(spec, file, held, only)
        for part in left:
            say(f"motet: {file.path}: its {part.kind} is left out, since no input takes it")
        found.extend(taken)
    return found


def pictures(fps: str | None, scale: int | None, spec: PipelineSpec | None) -> Pictures:
    """How pictures are taken out of films: at least one a window where nothing is said."""
    rate = PICTURES.fps
    if fps is not None:
        rate = _rate(fps)
    elif spec is not None:
        rate = max(rate, Fraction(1_000_000, spec.windows.hop_us))
    return PICTURES._replace(fps=rate, width_max=scale)


def _rate(fps: str) -> Fraction:
    remedy = "write it as 5, 0.5 or 1/2"
    try:
        rate = Fraction(fps)
    except (ValueError, ZeroDivisionError):
        raise InvalidInput(Problem("--fps", fps, "it is no number", remedy)) from None
    if not Fraction(1, 86_400) <= rate <= 1_000:
        why = "it is not between one picture a day and 1000 a second"
        raise InvalidInput(Problem("--fps", fps, why, remedy))
    return rate


def _held(file: SourceFile, kind: str | None) -> list[SourceFile]:
    """The parts of a film that are asked for; any other file is its only part."""
    held = parts(file)
    if kind is None or not file.is_film:
        return held
    wanted = [part for part in held if part.kind == kind]
    if not wanted:
        raise InvalidInput(Problem("--kind", kind, f"{file.path} holds none", "leave it out"))
    return wanted


def check_inputs(spec: PipelineSpec, only: Sequence[str]) -> None:
    """Raises InvalidInput where ``--input`` names no input of the file."""
    unknown = [name for name in only if name not in spec.inputs]
    if unknown:
        remedy = f"name one of {', '.join(spec.inputs)}"
        why = f"pipeline '{spec.name}' has no such input"
        raise InvalidInput(*(Problem("--input", name, why, remedy) for name in unknown))


def _one_kind(file: SourceFile, held: Sequence[SourceFile]) -> Sequence[SourceFile]:
    """The one part of a file that a topic takes; raises InvalidInput for a film with two."""
    if len(held) > 1:
        why = "a film has sound and pictures, and the records of a topic are of one kind"
        remedy = "add --kind audio or --kind image, or send it by --to FILE"
        raise InvalidInput(Problem("SOURCE", str(file.path), why, remedy))
    return held


def choose_inputs(
    spec: PipelineSpec, file: SourceFile, held: Sequence[SourceFile], only: Sequence[str]
) -> tuple[list[tuple[SourceFile, Target]], list[SourceFile]]:
    """Each part with its input, and those that no input takes: a film may have more than that.

    Raises InvalidInput where no part is taken, and otherwise as ``choose_input`` does.
    """
    open_to = [given for name, given in spec.inputs.items() if not only or name in only]
    taken = [part for part in held if any(_takes(given, part) for given in open_to)]
    if not taken and len(held) > 1:
        inputs = ", ".join(f"{name} takes {given.media}" for name, given in spec.inputs.items())
        why = f"no input takes the sound or the pictures of a film ({inputs})"
        remedy = "leave it out, or send one of them to a topic with --topic and --kind"
        raise InvalidInput(Problem("SOURCE", str(file.path), why, remedy))
    chosen = [(part, choose_input(spec, part, only)) for part in taken or held]
    return chosen, [part for part in held if part not in taken] if taken else []


def choose_input(spec: PipelineSpec, file: SourceFile, only: Sequence[str]) -> Target:
    """The one input of the file's kind; of several the one of exactly its type.

    Raises InvalidInput where there is none or no single one, or where its records are not
    plain media (``payload``, ``time``, ``stream: partition``).
    """
    inputs = {name: given for name, given in spec.inputs.items() if not only or name in only}
    fitting = {name: given for name, given in inputs.items() if _takes(given, file)}
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


def _takes(given: InputSpec, file: SourceFile) -> bool:
    """Whether an input takes the file: a film's pictures also go as film, not taken out of it."""
    kind = given.media.kind
    return kind == file.kind or (file.is_film and file.kind == "image" and kind == "video")


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
