"""The demo as files of the user's own: pipeline file, media, and the commands that feed it."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

from pipeline.demo.assets import (
    HERE,
    MEDIA,
    OWN_CLASS,
    PARTITIONS,
    PHOTOGRAPHS,
    STREAMS,
    pipeline_text,
    sources,
)
from pipeline.errors import InvalidInput, Problem

FILE = "demo.yaml"
FEED = "feed.sh"
NAME_LENGTH_MAX = 50
# As long as the speech: the film's 25 frames so often, a second each; each of four photographs.
FILM_TIMES, PHOTOGRAPH = 2, "12s"

_FEED = """\
#!/bin/sh
# Feeds the pipeline of {file}: starts a real Kafka (or takes yours: KAFKA=HOST:PORT), creates
# the topics, and plays three streams in real time, again and again, until Ctrl-C.
set -eu
cd "$(dirname "$0")"
motet=${{MOTET:-{program}}}
KAFKA=${{KAFKA:-$("$motet" kafka start)}}
export KAFKA
"$motet" topics create {file} --partitions {partitions}

players=
end() {{
    trap '' INT TERM
    kill $players 2>/dev/null || true
    wait
    exit 0
}}
# Ctrl-C reaches the players too: they are given the time to end by themselves.
trap 'sleep 1; end' INT
trap end TERM

# Media of one stream, in records of some length; each file goes to the input that takes it.
play() {{
    stream=$1 chunk=$2
    shift 2
    "$motet" publish --to {file} --stream "$stream" --realtime --loop 0 --chunk "$chunk" "$@" &
    players="$players $!"
}}
{plays}
echo "feeding {streams} until Ctrl-C; in the other terminals first:" >&2
echo "export KAFKA=$KAFKA" >&2
wait
"""

_README = """\
# {name}: the pipeline of `motet demo`, to be changed and run

`{file}` is the pipeline, {own}`media/` what is played (its licences: `media/NOTICE`).

In one terminal, a real Kafka, the topics, and three live streams until Ctrl-C:

    sh {feed}

In a second one, the pipeline on a local Ray (`--local`: in one process, without Ray):

    {program} run {file}

In a third one, what comes out of it:

    {program} tail {file}

`{feed}` prints a line `export KAFKA=...` for the other terminals; without it they go to port 9092,
which is where Kafka starts if that is free. The streams send records of a second, so a result
comes up to a second later than in the demo, which sends shorter ones. While they play, Kafka's
data grows by about 0.6 GB an hour. When you are done:

    {program} kafka stop

What `{feed}` does, in short:

    {program} kafka start
    {program} topics create {file}
    {program} publish --to {file} --stream hall --realtime --loop 0 \\
        media/speech media/frames
"""
_OWN = "`nearest_topic.py` a class of your own that it names, "


def eject(folder: Path, program: str, *, models: bool) -> str:
    """Writes all of it and gives the pipeline's name, which is the folder's as far as it can be.

    ``program`` is how the command ``motet`` is called here; ``models``: the pipeline with
    models. Raises InvalidInput where the folder holds something already or cannot be written.
    """
    name = pipeline_name(folder)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            why = "it is there already and not an empty folder"
            raise InvalidInput(Problem("--eject", str(folder), why, "name a new folder"))
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_written(folder, error.strerror or str(error)) from None
    try:
        shutil.copytree(MEDIA, folder / "media", copy_function=shutil.copyfile)
        (folder / FILE).write_text(pipeline_text(name, models), encoding="utf-8")
        for path in OWN_CLASS if models else ():
            shutil.copyfile(path, folder / path.name)
        (folder / FEED).write_text(feed_text(program), encoding="utf-8")
        (folder / FEED).chmod(0o755)
        (folder / "README.md").write_text(
            _README.format(
                name=name,
                file=FILE,
                feed=FEED,
                program=shlex.quote(program),
                own=_OWN if models else "",
            ),
            encoding="utf-8",
        )
    except OSError as error:
        _empty(folder)  # else the same command would find a folder that holds something
        raise _not_written(folder, _first_reason(error)) from None
    return name


def _empty(folder: Path) -> None:
    """Removes what was written; the folder was empty before."""
    shutil.rmtree(folder / "media", ignore_errors=True)
    for name in (FILE, FEED, "README.md", *(path.name for path in OWN_CLASS)):
        (folder / name).unlink(missing_ok=True)


def _first_reason(error: OSError) -> str:
    """One reason: ``shutil.Error`` holds a list, with one for each file that was not copied."""
    if isinstance(error, shutil.Error):
        source, _target, why = error.args[0][0]
        return f"{Path(source).name}: {str(why).partition(': ')[0]}"
    return error.strerror or str(error)


def _not_written(folder: Path, why: str) -> InvalidInput:
    problem = Problem(
        "--eject", str(folder), f"it cannot be written ({why})", "name another folder"
    )
    return InvalidInput(problem)


def pipeline_name(folder: Path) -> str:
    """The folder's name in the letters that a pipeline's name may have; ``demo`` without any."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower())
    return name[:NAME_LENGTH_MAX].strip("-") or "demo"


def feed_text(program: str) -> str:
    """A shell script that plays the media of every stream to the pipeline's topics."""
    plays = []
    for stream in STREAMS:
        paths = [path.relative_to(HERE) for path in sources(stream)]
        # The folders' files play in sorted order, as `sources` has them.
        other = [path for path in paths if path.suffix != ".jpg"]
        pictures = next(path.parent for path in paths if path.suffix == ".jpg")
        if pictures.name == PHOTOGRAPHS:
            plays += [_play(stream, "1s", other), _play(stream, PHOTOGRAPH, [pictures])]
        else:
            plays.append(_play(stream, "1s", [*other, *[pictures] * FILM_TIMES]))
    return _FEED.format(
        file=FILE,
        program=shlex.quote(program),
        partitions=PARTITIONS,
        plays="\n".join(plays),
        streams=", ".join(STREAMS),
    )


def _play(stream: str, chunk: str, paths: list[Path]) -> str:
    return " \\\n    ".join([f"play {stream} {chunk}", *(path.as_posix() for path in paths)])
