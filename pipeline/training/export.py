"""A training set from recorded topics: replayed, joined with labels, one row a labelled window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import __version__
from pipeline.errors import InvalidInput, Problem
from pipeline.spec.head_card import differences, features_of
from pipeline.spec.span import Span, spanned
from pipeline.training.feature_set import Row
from pipeline.training.labels import KEY, LabelIndex
from pipeline.training.replay import Replayed, replay

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector
    from pipeline.spec import PipelineSpec
    from pipeline.spec.sequence import SequenceShape
    from pipeline.tasks.host import RunControl
    from pipeline.tasks.starting import Layout


@dataclass(slots=True)
class Exported:
    """What an export has seen: ``failed`` counts windows by the stage that failed in them.

    ``windows`` are all that closed; those without a label were not encoded.
    """

    windows: int = 0
    rows: int = 0
    unlabelled: int = 0
    empty: int = 0  # labelled, and no stage gave a vector
    failed: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    records: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "records": self.records,
            "windows": self.windows,
            "rows": self.rows,
            "unlabelled": self.unlabelled,
            "empty": self.empty,
            "failed": dict(sorted(self.failed.items())),
            "labels": dict(sorted(self.labels.items())),
        }


def export(
    spec: PipelineSpec,
    connector: Connector,
    layout: Layout,
    lengths: Mapping[str, int],
    index: LabelIndex,
    add: Callable[[Row], None],
    control: RunControl,
    media: Callable[[Replayed], str] | None = None,
    progress: Callable[[float], None] = lambda _share: None,
) -> Exported:
    """Rows of the windows that have a label, in the order of their lane; lanes side by side.

    ``media`` writes what a labelled window holds, and gives the folder that its row names.

    Only windows with a label are encoded; where the spec's span is open, nothing is read that no
    label can reach. Raises InvalidInput where not one window has a label.
    """
    spec = _labelled_span(spec, index)
    seen = Exported()
    fused = [stage for stage in spec.fusion.of if stage in lengths]

    def wanted(stream: str, start_us: int, end_us: int) -> bool:
        seen.windows += 1
        found = index.of(stream, start_us, end_us) is not None
        seen.unlabelled += not found
        return found

    def take(replayed: Replayed) -> None:
        window = replayed.window
        seen.failed.update(replayed.failed.keys())
        label = index.of(window.stream, window.start_us, window.end_us)
        assert label is not None, "only windows with a label are wanted"
        vectors = {s: np.asarray(replayed.outputs[s]) for s in fused if s in replayed.outputs}
        if not vectors:
            seen.empty += 1
            return
        seen.rows += 1
        if label.label is not None:
            seen.labels[label.label] += 1
        named = window.stream, window.start_us, window.end_us
        folder = None if media is None else media(replayed)
        add(Row(*named, label.label, label.text, vectors, folder))

    keep = media is not None
    seen.records = replay(spec, connector, layout, lengths, take, control, keep, progress, wanted)
    if not seen.rows and not control.stop.is_set():
        why = (
            f"none of the {seen.windows} windows read again has a label and a vector "
            f"({seen.unlabelled} without a label)"
        )
        remedy = "labels need the stream ids and the event times of the windows (motet tail FILE)"
        raise InvalidInput(Problem(KEY, "", why, remedy))
    return seen


def _labelled_span(spec: PipelineSpec, index: LabelIndex) -> PipelineSpec:
    """Whole windows around the labels, so that no window that one overlaps is left out."""
    first_us, last_us = index.span_us
    size_us, given = spec.windows.size_us, spec.span
    begin_us = first_us - size_us if given.from_us is None else given.from_us
    end_us = last_us + size_us if given.to_us is None else given.to_us
    if begin_us >= end_us:
        why = "no label lies in the time that --from and --to leave"
        raise InvalidInput(Problem(KEY, "", why, "widen them, or leave them out"))
    return spanned(spec, Span(begin_us, end_us), start_given=False)


def manifest(
    spec: PipelineSpec,
    lengths: Mapping[str, int],
    seen: Exported,
    sequences: Mapping[str, SequenceShape] | None = None,
) -> dict[str, Any]:
    """``set.json``: which pipeline it was, what its features follow from, and what was seen."""
    return {
        "pipeline": spec.name,
        "motet": __version__,
        "windows": {"size_us": spec.windows.size_us, "hop_us": spec.windows.hop_us},
        "features": features_of(spec),
        "lengths": {stage: lengths[stage] for stage in spec.fusion.of},
        "sequences": {
            stage: shape._asdict()
            for stage, shape in (sequences or {}).items()
            if stage in spec.fusion.of
        },
        "export": seen.as_json(),
    }


def check_features(told: Mapping[str, Any], spec: PipelineSpec, named: str) -> None:
    """Raises InvalidInput where a set was made of other features than the file's."""
    other = differences(told["features"], features_of(spec))
    if other:
        why = f"it was made with other features: {'; '.join(other)}"
        remedy = "export it again, or set them back"
        raise InvalidInput(Problem("--features", named, why, remedy))
