"""Which input of a pipeline file takes a file, and in what form its records come there."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from pipeline.cli.terminal import say
from pipeline.connectors.files import PICTURES, Pictures, SourceFile, Target, parts
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.spec import InputSpec, PipelineSpec
    from pipeline.spec.media_type import MediaType

AUDIO_RATE = 48_000  # any that every type can be written in
_HEADER = "header:"


class To(NamedTuple):
    """Where everything goes: to one topic (``media``: as that type), or by a pipeline file.

    ``only``: the inputs that may be chosen; ``kind``: of films and live sources only that part.
    """

    topic: str | None = None
    media: MediaType | None = None
    spec: PipelineSpec | None = None
    only: Sequence[str] = ()
    kind: str | None = None


def targeted(files: Sequence[SourceFile], to: To) -> list[tuple[SourceFile, Target]]:
    """Each file, and each part of a film, with its target; raises InvalidInput."""
    return [chosen for file in files for chosen in targets_of(file, parts(file), to)]


def targets_of(
    file: SourceFile, held: Sequence[SourceFile], to: To
) -> list[tuple[SourceFile, Target]]:
    """The parts of one source with their targets; says what of it is left out."""
    from pipeline.connectors.sound_cutter import audio_form

    if to.kind is not None and file.is_film:
        wanted = [part for part in held if part.kind == to.kind]
        if not wanted:
            why = f"{file.shown} holds none"
            raise InvalidInput(Problem("--kind", to.kind, why, "leave it out"))
        held = wanted
    if to.spec is None:
        found = [_to_topic(file, held, to)]
    else:
        check_inputs(to.spec, to.only)
        found, left = choose_inputs(to.spec, file, held, to.only)
        for part in left:
            say(f"motet: {file.shown}: its {part.kind} is left out, since no input takes it")
    for part, target in found:
        if part.kind == "audio":
            audio_form(target.content_type, AUDIO_RATE, 1)
    return found


def _to_topic(file: SourceFile, held: Sequence[SourceFile], to: To) -> tuple[SourceFile, Target]:
    """The one part of a source that a topic takes; raises InvalidInput for a film with two."""
    if to.media is None:
        if len(held) > 1:
            why = "it has sound and pictures, and the records of a topic are of one kind"
            remedy = "add --kind audio or --kind image, or send it by --to FILE"
            raise InvalidInput(Problem("SOURCE", file.shown, why, remedy))
        return held[0], Target(to.topic or "")
    media = to.media
    fitting = [part for part in held if _fits(media, part)]
    if not fitting:
        kinds = " and ".join(part.kind for part in held)
        why = f"{file.shown} holds {kinds}"
        raise InvalidInput(Problem("--type", str(media), why, "leave it out, or give another"))
    return fitting[0], Target(to.topic or "", str(media))


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


def check_inputs(spec: PipelineSpec, only: Sequence[str]) -> None:
    """Raises InvalidInput where ``--input`` names no input of the file."""
    unknown = [name for name in only if name not in spec.inputs]
    if unknown:
        remedy = f"name one of {', '.join(spec.inputs)}"
        why = f"pipeline '{spec.name}' has no such input"
        raise InvalidInput(*(Problem("--input", name, why, remedy) for name in unknown))


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
        raise InvalidInput(Problem("SOURCE", file.shown, why, remedy))
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
        raise InvalidInput(Problem("SOURCE", file.shown, why, remedy))
    if len(fitting) > 1:
        why = f"{', '.join(fitting)} all take {file.kind}"
        remedy = f"choose with --input {next(iter(fitting))}"
        raise InvalidInput(Problem("SOURCE", file.shown, why, remedy))
    [(name, given)] = fitting.items()
    return Target(given.topic, str(given.media), _stream_header(name, given))


def _takes(given: InputSpec, file: SourceFile) -> bool:
    return _fits(given.media, file)


def _fits(media: MediaType, file: SourceFile) -> bool:
    """Whether a file can go as a type: a film's pictures also as film, not taken out of it."""
    return media.kind == file.kind or (
        file.is_film and file.kind == "image" and media.kind == "video"
    )


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
