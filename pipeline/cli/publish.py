"""``motet publish``: files and live sources to topics, merged by time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from pipeline.cli import publish_flags as flag
from pipeline.cli.arguments import (
    JsonOption,
    WaitOption,
    duration_us,
    expanded,
    load_spec,
    time_us,
)
from pipeline.cli.client_option import ClientOption, client_settings, connect_without_file
from pipeline.cli.terminal import counted, emit, stopping
from pipeline.errors import InvalidInput, MotetError, Problem, Transient

if TYPE_CHECKING:
    from pipeline.cli.publish_live import Live
    from pipeline.cli.publish_play import Play
    from pipeline.cli.publish_target import To
    from pipeline.connectors.publish import Published
    from pipeline.slot.ports import Connector
    from pipeline.spec import PipelineSpec

CREATE_ANY = "create it first: `motet topics create FILE` makes what a pipeline file names"


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet publish --to lobby.yaml --stream cam-7 film.mp4 notes.txt")(
        publish
    )


def publish(
    sources: flag.SourcesArgument,
    topic: flag.TopicOption = None,
    stream: flag.StreamOption = None,
    to: flag.ToOption = None,
    only: flag.InputOption = None,
    media: flag.TypeOption = None,
    bootstrap: flag.BootstrapOption = None,
    client: ClientOption = None,
    realtime: flag.RealtimeOption = False,
    loop: flag.LoopOption = 1,
    start: flag.StartOption = None,
    resume: flag.ResumeOption = False,
    chunk: flag.ChunkOption = "1s",
    fps: flag.FpsOption = None,
    scale: flag.ScaleOption = None,
    kind: flag.KindOption = None,
    source_option: flag.SourceOption = None,
    reconnect: flag.ReconnectOption = "5m",
    buffer: flag.BufferOption = "64MiB",
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Send media to topics as records, all streams and kinds merged by time.

    Audio is cut to records of --chunk; an image, and a line of a txt file, is one record.
    Files of one kind and stream play one after another; all streams and kinds begin together
    at --start. By default the longest of them ends now; with --realtime they begin now.

    A film gives its sound and its pictures, at the film's own times; so do cameras and URLs, which
    are read as they play until Ctrl-C, and tried again where they are lost.
    With --to the media is converted to the type, rate and channels of the input.
    A topic that is missing is an error; none is ever created.
    """
    from pipeline.cli.publish_target import To
    from pipeline.connectors.live import is_live, live_source
    from pipeline.spec.units import parse_duration, parse_size

    live = [source for source in sources if is_live(source)]
    given = flag.Flags(topic, stream, to, only or (), media, realtime, loop, start, resume)
    wanted = flag.check_flags(given, [live_source(source, {}).name for source in live])
    settings = client_settings(client)
    spec = None if to is None else load_spec(to)
    target = To(topic, wanted, spec, only or (), kind and kind.value)
    cut = Cut(
        chunk_us=duration_us("--chunk", chunk),
        fps=fps,
        scale=scale,
        options=source_option or (),
        retry_us=_quantity("--reconnect", reconnect, partial(parse_duration, zero=True)),
        buffer_bytes=_quantity("--buffer", buffer, parse_size),
    )
    airing = _live(live, stream, cut, spec)
    files = [source for source in sources if source not in live]
    play = _play(files, target, given, cut)
    _send(airing, play, target, Broker(bootstrap, settings, wait, to), as_json)


class Cut(NamedTuple):
    """How media become records, and how live sources are read."""

    chunk_us: int
    fps: str | None
    scale: int | None
    options: Sequence[str]
    retry_us: int
    buffer_bytes: int


class Broker(NamedTuple):
    """The way to the broker; ``file`` is the pipeline file of ``--to``."""

    bootstrap: str | None
    settings: Mapping[str, Any]
    wait: bool
    file: Path | None


def _quantity(name: str, text: str, parse: Callable[[str], int]) -> int:
    """A duration or a size; raises InvalidInput that names the flag."""
    from pipeline.spec.units import Wrong

    try:
        return parse(text)
    except Wrong as wrong:
        raise InvalidInput(Problem(name, text, wrong.why, wrong.remedy)) from None


def _live(
    live: Sequence[str], stream: str | None, cut: Cut, spec: PipelineSpec | None
) -> Live | None:
    """The live sources, not yet opened; None where there are none."""
    from pipeline.connectors.live import live_source, source_options

    options = source_options(cut.options)
    if not live:
        if options:
            why = "files have no options, and no source is live"
            raise InvalidInput(Problem("--source-option", next(iter(options)), why, "leave it out"))
        return None
    from pipeline.cli.publish_live import Live
    from pipeline.cli.publish_target import pictures

    return Live(
        sources=[live_source(source, options) for source in live],
        stream=stream,
        chunk_us=cut.chunk_us,
        pictures=pictures(cut.fps, cut.scale, spec),
        retry_us=cut.retry_us,
        buffer_bytes=cut.buffer_bytes,
    )


def _play(sources: Sequence[str], to: To, given: flag.Flags, cut: Cut) -> Play:
    """The files, checked to their headers, and how they play."""
    from pipeline.cli.publish_play import Play, allow_open_files
    from pipeline.cli.publish_target import pictures, targeted
    from pipeline.cli.topic_names import check_names
    from pipeline.connectors.files import timelines

    if to.topic is not None:
        check_names("--topic", [to.topic])
    start_us = None if given.start is None else time_us("--start", given.start)
    chosen = targeted(expanded(sources), to) if sources else []
    lines = timelines(chosen, cut.chunk_us, given.stream, pictures(cut.fps, cut.scale, to.spec))
    allow_open_files(len(lines))
    period_us = max((line.duration_us() for line in lines), default=0)
    return Play(lines, period_us, given.loop or None, start_us, given.realtime, given.resume)


def _send(live: Live | None, play: Play, to: To, broker: Broker, as_json: bool) -> None:
    """Plays everything to the broker and says what was sent; MotetError for what was lost."""
    remedy = CREATE_ANY if broker.file is None else f"`motet topics create {broker.file}` makes it"
    connector = _connector(to.spec, broker)
    failures: Sequence[str] = ()
    try:
        with stopping() as stop:
            if live is None:
                from pipeline.cli.publish_play import play_to

                published = play_to(connector, play, remedy, stop)
            else:
                from pipeline.cli.publish_live import play_live

                published, failures = play_live(connector, live, play, to, remedy, stop)
    except Transient as away:
        # the client has tried for a minute: a broker that is gone, or whose disk is full
        check = "motet doctor" if broker.file is None else f"motet doctor {broker.file}"
        see = f"see with `{check}` whether it runs and has room on its disk"
        again = "publish again with --resume" if live is None else "publish again"
        raise MotetError(f"{away}; {see}, and {again}") from away
    _summarize(published, as_json)
    if failures:
        raise MotetError("\n".join(f"{why}; publish it again once it plays" for why in failures))


def _connector(spec: PipelineSpec | None, broker: Broker) -> Connector:
    from pipeline.cli.connect import connect_for

    if spec is None:
        return connect_without_file(broker.bootstrap, broker.settings, wait=broker.wait)
    return connect_for(spec, broker.bootstrap, broker.settings, wait=broker.wait)


def _summarize(published: Published, as_json: bool) -> None:
    answer = published.as_json()
    if as_json:
        emit(json.dumps(answer))
    elif published.records == 0:
        emit("0 records")
    else:
        topics = ", ".join(sorted(published.topics))
        live = published.live._asdict() if published.live is not None else {}
        left = [f"; {name}: {number}" for name, number in live.items() if number]
        emit(
            f"{counted(published.records, 'record')}, {published.value_bytes} bytes, "
            f"{counted(len(published.streams), 'stream')} to {topics}, "
            f"{answer['first']} to {answer['last']}" + "".join(left)
        )
