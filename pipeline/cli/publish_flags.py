"""The options of ``motet publish``, and what cannot be combined."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.spec.media_type import MediaType

STREAM_BYTES_MAX = 256  # of a stream id


class Kind(StrEnum):
    """What a film holds."""

    audio = "audio"
    image = "image"


SourcesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="Files (mp4, mov, mkv, webm, wav, flac, ogg, opus, mp3, m4a, aac, jpg, png, webp, "
        "txt), folders, /dev/video0, alsa:default, URLs (rtsp, http, ...), or - for stdin.",
    ),
]
TopicOption = Annotated[
    str | None, typer.Option(metavar="T", help="Send everything to this topic.")
]
StreamOption = Annotated[
    str | None,
    typer.Option(
        metavar="S",
        help="The stream id; {stem}, {name} and {folder} stand for those of each file "
        "(with --to, default: {stem}).",
    ),
]
ToOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Send each kind to the input of this pipeline file."),
]
InputOption = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="NAME", help="With --to: only to these inputs."),
]
TypeOption = Annotated[
    str | None,
    typer.Option(
        "--type",
        metavar="TYPE",
        help="With --topic: the media type of the records, such as image/jpeg, video/mp4, "
        "video/H264 or audio/L16;rate=16000.",
    ),
]
BootstrapOption = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="The broker (default: the file's, else $KAFKA)."),
]
RealtimeOption = Annotated[
    bool,
    typer.Option("--realtime", help="Files at the pace of the media, not at once."),
]
LoopOption = Annotated[
    int, typer.Option(min=0, metavar="N", help="Play all N times; 0 with --realtime: no end.")
]
StartOption = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Event time of the first sample, RFC 3339 (default: so that all ends now).",
    ),
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on where an earlier publish of these files into the topics stopped."
    ),
]
ChunkOption = Annotated[
    str, typer.Option(metavar="1s", help="Length of a record; spacing of images and lines.")
]
FpsOption = Annotated[
    str | None,
    typer.Option(
        metavar="N",
        help="Pictures a second of a film, such as 5 or 1/2 (default: 2, or one each hop).",
    ),
]
ScaleOption = Annotated[
    int | None,
    typer.Option(min=16, metavar="PIXELS", help="Scale a film's pictures to at most this width."),
]
KindOption = Annotated[
    Kind | None, typer.Option(help="Of a film only its sound, or only its pictures.")
]
SourceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--source-option",
        metavar="KEY=VALUE",
        help="An option of FFmpeg for devices and URLs, such as video_size=1280x720 (repeatable).",
        show_default=False,
    ),
]
ReconnectOption = Annotated[
    str,
    typer.Option(
        metavar="5m", help="How long a live source that is lost is tried again (0s: not at all)."
    ),
]
BufferOption = Annotated[
    str,
    typer.Option(
        metavar="64MiB", help="How much of live sources may wait for the broker; the oldest goes."
    ),
]


class Flags(NamedTuple):
    """Those that depend on one another."""

    topic: str | None
    stream: str | None
    to: Path | None
    only: Sequence[str]
    media: str | None
    realtime: bool
    loop: int
    start: str | None
    resume: bool


def check_flags(flags: Flags, live: Sequence[str]) -> MediaType | None:
    """What ``--type`` says; raises InvalidInput with every problem.

    ``live``: the names of the live sources.
    """
    problems = [*_target_problems(flags), *_play_problems(flags, live)]
    media = None
    if flags.media is not None:
        from pipeline.spec.media_type import parse_media_type
        from pipeline.spec.units import Wrong

        try:
            media = parse_media_type(flags.media)
        except Wrong as wrong:
            problems.append(Problem("--type", flags.media, wrong.why, wrong.remedy))
    if problems:
        raise InvalidInput(*problems)
    return media


def _target_problems(flags: Flags) -> list[Problem]:
    problems = []
    if (flags.topic is None) == (flags.to is None):
        none = flags.topic is None
        why = "give one of the two" if none else "only one of the two can be given"
        problems.append(Problem("--topic, --to", "", why, "--topic T --stream S, or --to FILE"))
    elif flags.topic is not None and flags.stream is None:
        why = "--topic needs the stream id of the records"
        remedy = "add --stream NAME, or --stream '{stem}' for one stream a file"
        problems.append(Problem("--stream", "", why, remedy))
    if flags.stream is not None and not 1 <= len(os.fsencode(flags.stream)) <= STREAM_BYTES_MAX:
        why = f"a stream id has 1 to {STREAM_BYTES_MAX} bytes"
        problems.append(Problem("--stream", flags.stream, why, "give another"))
    if flags.only and flags.to is None:
        problems.append(
            Problem("--input", flags.only[0], "it belongs to --to FILE", "leave it out")
        )
    if flags.media is not None and flags.to is not None:
        why = "with --to the inputs say their types"
        problems.append(Problem("--type", flags.media, why, "leave it out"))
    return problems


def _play_problems(flags: Flags, live: Sequence[str]) -> list[Problem]:
    problems = []
    if flags.loop == 0 and not flags.realtime:
        why = "an endless loop at full speed would fill the broker"
        problems.append(Problem("--loop", "0", why, "add --realtime, or give a number"))
    if live:
        why = f"{live[0]} is live: it plays once, at its own times"
        given = {
            "--loop": "" if flags.loop == 1 else str(flags.loop),
            "--start": flags.start,
            "--resume": "yes" if flags.resume else None,
        }
        problems += [Problem(k, v, why, "leave it out") for k, v in given.items() if v]
    return problems
