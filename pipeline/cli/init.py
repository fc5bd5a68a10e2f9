"""``motet init``: a commented pipeline file that runs; with topics, one that fits their records."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from pipeline.cli.arguments import JsonOption, WaitOption
from pipeline.cli.client_option import ClientOption
from pipeline.cli.terminal import counted, emit, say, warn
from pipeline.errors import InvalidInput, MotetError, Problem

if TYPE_CHECKING:
    from pipeline.media.probe import TopicGuess

FILE = "pipeline.yaml"
FROM_TOPICS = "--from-topics"


class Spreading(TyperCommand):
    """Takes ``--from-topics A B C`` as the option three times: what follows it are topics."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args))


def spread(arguments: Sequence[str]) -> list[str]:
    """Repeats ``--from-topics`` before each topic, up to the next option; commas part too."""
    found: list[str] = []
    inside = False
    for argument in arguments:
        if argument == FROM_TOPICS:
            inside = True
        elif inside and not argument.startswith("-"):
            for topic in filter(None, argument.split(",")):
                found += [FROM_TOPICS, topic]
        else:
            inside = False
            found.append(argument)
    if FROM_TOPICS in arguments and FROM_TOPICS not in found:
        found.append(FROM_TOPICS)  # without any topic: the parser says so
    return found


def register(app: typer.Typer) -> None:
    app.command(
        cls=Spreading,
        epilog="Example: motet init lobby --from-topics door.audio door.frames door.events",
    )(init)


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where the file is written.")
    ] = Path("."),
    topics: Annotated[
        list[str] | None,
        typer.Option(
            FROM_TOPICS,
            metavar="T...",
            help="Look at records of these topics and write inputs that fit them.",
        ),
    ] = None,
    bootstrap: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The broker (default: $KAFKA, else the usual)."),
    ] = None,
    client: ClientOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write DIR/pipeline.yaml: a commented pipeline that runs as it stands.

    With --from-topics some of the oldest and newest records of each topic are read, and the
    inputs are written as they were seen: media type, byte order, rate, stream, payload, event
    time. What was seen, and how sure it is (sure, likely, guess), is said on stderr and stands
    as comments in the file. Nothing is ever overwritten.
    """
    from pipeline.cli.init_text import fitted, starter
    from pipeline.demo.eject import pipeline_name

    path = folder / FILE
    _refuse_existing(path)
    name = pipeline_name(folder)
    guesses: list[TopicGuess] = []
    notes: list[str] = []
    if topics:
        where, guesses, notes = _seen(list(dict.fromkeys(topics)), bootstrap, client, wait)
        _write(path, fitted(name, where, guesses, notes))
    else:
        _write(path, starter(name))
    emit(json.dumps(_answer(path, name, guesses, notes)) if as_json else str(path))
    _say_next(path, guesses)


def _refuse_existing(path: Path) -> None:
    if path.parent.exists() and not path.parent.is_dir():
        why = "it is a file, no folder"
        raise InvalidInput(Problem("DIR", str(path.parent), why, "name a folder"))
    if path.exists() or path.is_symlink():
        why = "it is there already and is never overwritten"
        remedy = "name another DIR, or move the file away"
        raise InvalidInput(Problem("DIR", str(path), why, remedy))


def _write(path: Path, text: str) -> None:
    """Writes a file that loads, or nothing; raises InvalidInput."""
    from pipeline.spec import loads

    try:
        loads(text, folder=path.parent)
    except InvalidInput as error:
        raise MotetError(
            f"the file that was made does not load ({str(error).splitlines()[0]}); nothing was "
            "written: please report it with the names of the topics"
        ) from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        _refuse_existing(path)
        raise
    except OSError as error:
        why = f"it cannot be written ({error.strerror or error})"
        raise InvalidInput(Problem("DIR", str(path), why, "name another folder")) from None


def _say_next(path: Path, guesses: Sequence[TopicGuess]) -> None:
    shown = shlex.quote(str(path))
    say("next:")
    if guesses:
        most = max(guess.partitions for guess in guesses if not guess.trouble)
        say(f"  motet topics create {shown} --partitions {most}")
        say(f"  motet validate {shown} --connect")
    else:
        say(f"  motet topics create {shown}")
        say(f"  motet publish --to {shown} --stream cam-7 talk.wav picture.jpg notes.txt")
    say(f"  motet run {shown} --local --until-end")


def _answer(
    path: Path, name: str, guesses: Sequence[TopicGuess], notes: Sequence[str]
) -> dict[str, Any]:
    from pipeline.cli.init_text import input_names

    names = input_names([guess.topic for guess in guesses])
    inputs = [{"input": names[guess.topic], **guess.as_json()} for guess in guesses]
    return {"file": str(path), "name": name, "topics": inputs, "notes": list(notes)}


def _seen(
    topics: list[str], bootstrap: str | None, client: Sequence[str] | None, wait: bool
) -> tuple[str, list[TopicGuess], list[str]]:
    """``kafka.bootstrap``, what each topic looks like, and what all say; InvalidInput."""
    from pipeline.cli.client_option import broker_named, client_settings, connect_without_file
    from pipeline.cli.init_topics import probed
    from pipeline.cli.topic_names import check_names
    from pipeline.media.probe import notes_on

    check_names(FROM_TOPICS, topics, f"a DIR goes before {FROM_TOPICS}")
    settings = client_settings(client)
    connector = connect_without_file(bootstrap, settings, wait=wait)
    where, _key = broker_named(bootstrap)
    guesses = probed(connector, topics)
    for guess in guesses:
        _say_guess(guess)
    usable = [guess for guess in guesses if not guess.trouble]
    if not usable:
        raise InvalidInput(
            *(Problem(FROM_TOPICS, g.topic, *_why_and_remedy(g.trouble)) for g in guesses)
        )
    _demand_gating(usable)
    notes = notes_on(guesses)
    for note in notes:
        warn(note)
    return where if bootstrap else f"${{KAFKA:-{where}}}", guesses, notes


def _say_guess(guess: TopicGuess) -> None:
    say(f"{guess.topic}: {counted(guess.seen, 'record')} looked at")
    for finding in guess.findings:
        say(f"  {finding}")
    if guess.trouble:
        say(f"  left out: {guess.trouble}")


def _why_and_remedy(trouble: str) -> tuple[str, str]:
    for mark in ("; ", ": "):
        why, found, remedy = trouble.partition(mark)
        if found:
            return why, remedy
    return trouble, "name another topic"


def _demand_gating(usable: Sequence[TopicGuess]) -> None:
    """A file needs an input that windows wait for: where none is, the one that comes oftenest."""
    from pipeline.media.probe import Finding

    if any(guess.gating for guess in usable):
        return
    oftenest = min(usable, key=lambda guess: guess.spacing_us or 1 << 62)
    oftenest.gating = True
    text = "windows wait for it after all, since they must wait for some input"
    oftenest.findings.append(Finding("gating", text, "guess"))
    say(f"{oftenest.topic}: {text}")
