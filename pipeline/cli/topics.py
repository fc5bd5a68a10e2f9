"""``motet topics``: the topics of a pipeline file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, WaitOption, load_spec
from pipeline.cli.terminal import counted, emit, warn
from pipeline.errors import MotetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.cli.topic_plan import WantedTopic
    from pipeline.slot.ports import TopicInfo

PARTITIONS_DEFAULT = 4

app = typer.Typer(
    help="The topics of a pipeline file.",
    epilog="Example: motet topics create lobby.yaml",
    rich_markup_mode=None,
)


@app.callback()
def topics() -> None:
    """The topics of a pipeline file."""


@app.command(epilog="Example: motet topics create lobby.yaml --partitions 8")
def create(
    file: FileArgument,
    partitions: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Partitions of every topic: the number of lanes (default: {PARTITIONS_DEFAULT}; "
            "with --name, those of the inputs).",
        ),
    ] = None,
    replication: Annotated[
        int | None, typer.Option(min=1, help="Replicas of every partition (default: the broker's).")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="For `motet run --name NAME`: .NAME at what it writes."),
    ] = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Create the topics that the file names: inputs, outputs and the stages' own.

    Inputs get LogAppendTime, all get a size limit that fits limits.record_bytes. A topic that
    is there with the same number of partitions is kept as it is. Where one differs, nothing is
    created and the exit code is 1.
    """
    from pipeline.cli.connect import connect_for, topics_of
    from pipeline.cli.topic_plan import wanted_topics, warnings_of
    from pipeline.spec import beside

    spec = load_spec(file) if name is None else beside(load_spec(file), name)
    wanted = wanted_topics(spec)
    control = connect_for(spec, wait=wait).control()
    try:
        there = topics_of(control, [topic.name for topic in wanted])
        if partitions is None:
            partitions = _partitions(wanted, there, backfill=name is not None)
        _refuse_differing(wanted, there, partitions)
        done = []
        for topic in wanted:
            info = there.get(topic.name)
            if info is None:
                control.create_topic(topic.name, partitions, replication, topic.config)
            else:
                for problem in warnings_of(topic, info):
                    warn(str(problem))
            count = partitions if info is None else info.partitions
            done.append({"topic": topic.name, "partitions": count, "created": info is None})
    finally:
        control.close()
    if as_json:
        emit(json.dumps({"topics": done}))
        return
    for entry in done:
        emit(f"{'created' if entry['created'] else 'is there'}  {entry['topic']}  "
             f"({entry['partitions']})")  # fmt: skip


def _partitions(
    wanted: list[WantedTopic], there: Mapping[str, TopicInfo | None], *, backfill: bool
) -> int:
    """A backfill reads what is there already, so its outputs follow that."""
    counts = [info.partitions for w in wanted if w.is_input and (info := there.get(w.name))]
    return max(counts) if backfill and counts else PARTITIONS_DEFAULT


def _refuse_differing(
    wanted: list[WantedTopic], there: Mapping[str, TopicInfo | None], partitions: int
) -> None:
    differing = [
        f"{topic.key} = {topic.name}: it is there with "
        f"{counted(info.partitions, 'partition')}, not {partitions}; nothing was created: "
        f"pass --partitions {info.partitions}, or name another topic"
        for topic in wanted
        if (info := there.get(topic.name)) is not None
        and topic.in_lanes
        and info.partitions != partitions
    ]
    if differing:
        raise MotetError("\n".join(differing))
