"""``motet export``: a training set from recorded topics and labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, SetOption, WaitOption, load_spec
from pipeline.cli.files_option import (
    MEMORY,
    FilesOption,
    MemoryOption,
    StreamOption,
    files_of,
    labels_with_files,
)
from pipeline.cli.labels_option import (
    FromOption,
    LabelsOption,
    ToOption,
    demand,
    labels_of,
    replayed,
)
from pipeline.cli.terminal import emit, say
from pipeline.errors import InvalidInput, Problem


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet export lobby.yaml --labels labels.csv -o lobby-set")(export)


def export(
    file: FileArgument,
    labels: LabelsOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="The folder to write.")
    ] = None,
    media: Annotated[
        bool, typer.Option("--media/--no-media", help="Write the media of each row too.")
    ] = True,
    files: FilesOption = None,
    stream: StreamOption = None,
    files_memory: MemoryOption = MEMORY,
    begin: FromOption = None,
    end: ToOption = None,
    sets: SetOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a training set: one row a labelled window, with the vectors of its stages.

    The recorded topics are replayed through the lanes and encoders of the file, up to what they
    hold now; offsets are neither read nor moved, and nothing is written to the broker. DIR gets
    features.parquet, set.json, and media/STREAM/START_US with the sound, pictures and texts of
    each row. A window has the label that overlaps it the longest, if that covers half of the
    shorter of the two. With --files they are read in place of the topics.
    """
    from pipeline.cli.run import create_command, demand_gpus
    from pipeline.cli.run_span import restricted

    file_spec = load_spec(file, sets or ())
    named = demand(labels, "--labels", "name a file or a topic of labels")
    folder = Path(demand(None if out is None else str(out), "--out", "name a folder to write"))
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(Problem("--out", str(folder), "it is no folder", "name a folder"))
    spec = restricted(file_spec, begin, end, None, start_given=False)
    given = files_of(files, stream, files_memory)
    if given is None:
        index, connector = labels_of(named, spec, wait)
    else:
        index, connector = labels_with_files(named, spec, given)
    demand_gpus(spec)
    from pipeline.cli.export_media import MediaWriter
    from pipeline.encoders.checking import check_encoders
    from pipeline.training.export import manifest
    from pipeline.training.feature_set import writing

    lengths, sequences = check_encoders(spec)
    fused = {stage: lengths[stage] for stage in spec.fusion.of}
    with writing(folder, fused) as writer:
        create = create_command(file, spec, file_spec)
        written = MediaWriter(folder, spec) if media else None
        seen = replayed(spec, lengths, index, connector, create, writer.add, written)
        writer.close(manifest(spec, lengths, seen, sequences))
    if written is not None:
        written.say()
    say(f"motet: {folder} holds {writer.count} rows; train: motet train {file} --features {folder}")
    if as_json:
        emit(json.dumps({"out": str(folder), **seen.as_json()}))
