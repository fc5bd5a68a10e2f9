"""Where training rows come from: labels and recorded topics, for export, train and evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.terminal import counted, progress, say, stopping
from pipeline.errors import InvalidInput, MotetError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.slot.ports import Connector
    from pipeline.spec import PipelineSpec
    from pipeline.training.export import Exported
    from pipeline.training.feature_set import Row
    from pipeline.training.labels import LabelIndex
    from pipeline.training.replay import Replayed

LabelsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|TOPIC",
        help="CSV or JSON lines with stream,start_us,end_us,label (or text), or a topic of such.",
    ),
]
FromOption = Annotated[
    str | None,
    typer.Option("--from", metavar="TIME", help="Only windows that begin at or after."),
]
ToOption = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="Only windows that end at or before.")
]


def labels_of(given: str, spec: PipelineSpec, wait: bool) -> tuple[LabelIndex, Connector]:
    """The labels, a file before a topic, and the connector that the topics are read by."""
    from pipeline.cli.connect import connect_for
    from pipeline.training.labels import LabelIndex, read_labels, topic_labels

    path = Path(given)
    rows = read_labels(path) if path.exists() else None
    connector = connect_for(spec, wait=wait)
    if rows is None:
        rows = topic_labels(connector, given)
    streams = counted(len({row.stream for row in rows}), "stream")
    say(f"motet: {counted(len(rows), 'label')} of {streams}")
    return LabelIndex(rows), connector


def replayed(
    spec: PipelineSpec,
    lengths: dict[str, int],
    index: LabelIndex,
    connector: Connector,
    create: str,
    add: Callable[[Row], None],
    media: Callable[[Replayed], str] | None = None,
) -> Exported:
    """Replays what the topics hold into ``add``, and says what came of it; Ctrl-C is an error."""
    from pipeline.cli.connect import demand_topics
    from pipeline.tasks.host import RunControl
    from pipeline.training.export import export

    layout = demand_topics(connector, spec, create)
    with stopping() as stop:
        control = RunControl(stop=stop, say=say)
        with progress("replaying", 1.0) as shown:
            seen = export(spec, connector, layout, lengths, index, add, control, media, shown)
        if stop.is_set():
            raise MotetError(
                "stopped before the topics were replayed to their end: nothing is kept"
            )
    line = f"motet: {counted(seen.windows, 'window')} read again, {seen.rows} with a label"
    if seen.unlabelled:
        line += f", {seen.unlabelled} without (not encoded)"
    if seen.empty:
        line += f", {seen.empty} with a label and no vector"
    say(line)
    for stage, count in sorted(seen.failed.items()):
        say(f"motet: warning: stage {stage} failed in {counted(count, 'window')}")
    return seen


def demand(given: str | None, flag: str, remedy: str) -> str:
    if given is None:
        raise InvalidInput(Problem(flag, "", "it is not given", remedy))
    return given
