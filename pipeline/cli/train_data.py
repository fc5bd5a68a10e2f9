"""Where ``motet train`` gets its rows: an exported set, recorded topics, or files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.cli.files_option import Files, labels_with_files
from pipeline.cli.labels_option import demand, labels_of, replayed
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec
    from pipeline.training.feature_set import FeatureSet


class Source(NamedTuple):
    """What the user named; ``begin`` and ``end`` are of ``--from`` and ``--to``."""

    labels: str | None
    features: Path | None
    files: Files | None
    begin: str | None = None
    end: str | None = None
    wait: bool = False


def rows_of(
    file: Path, spec: PipelineSpec, source: Source
) -> tuple[FeatureSet, str, dict[str, Any]]:
    """The rows, what to name in errors about them, and what their features follow from."""
    if (source.labels is None) == (source.features is None):
        why = "neither is given" if source.labels is None else "both are given"
        raise InvalidInput(Problem("--labels, --features", "", why, "give one of the two"))
    if source.features is None:
        return _replayed(file, spec, source)
    if source.files is not None:
        why = "a set holds its vectors already"
        raise InvalidInput(Problem("--files", "", why, "give --labels in place of --features"))
    for flag, time in (("--from", source.begin), ("--to", source.end)):
        if time is not None:
            why = "a set holds all of its windows"
            raise InvalidInput(Problem(flag, time, why, "give --labels in place of --features"))
    from pipeline.training.export import check_features
    from pipeline.training.feature_set import read_set

    data = read_set(source.features)
    check_features(data.manifest, spec, str(source.features))
    return data, "--features", data.manifest["features"]


def _replayed(
    file: Path, spec: PipelineSpec, source: Source
) -> tuple[FeatureSet, str, dict[str, Any]]:
    from pipeline.cli.run import create_command, demand_gpus
    from pipeline.cli.run_span import restricted

    named = demand(source.labels, "--labels", "name a file or a topic of labels")
    spanned = restricted(spec, source.begin, source.end, None, start_given=False)
    if source.files is None:
        index, connector = labels_of(named, spanned, source.wait)
    else:
        index, connector = labels_with_files(named, spanned, source.files)
    demand_gpus(spanned)
    from pipeline.encoders.checking import check_encoders
    from pipeline.training.export import manifest
    from pipeline.training.feature_set import Row, set_of

    lengths, sequences = check_encoders(spanned)
    rows: list[Row] = []
    create = create_command(file, spanned, spec)
    seen = replayed(spanned, lengths, index, connector, create, rows.append)
    told = manifest(spanned, lengths, seen, sequences)
    return set_of(rows, told["lengths"], told), "--labels", told["features"]
