"""Why a committed result says what it says: its stages, their numbers, and the media behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.evaluation.explain_gradients import TOLERANCE as SHARES_TOLERANCE
from pipeline.evaluation.explain_graph import Part, Ran, StageGraph, window_of
from pipeline.evaluation.explain_occlusion import (
    BANDS,
    SLICES,
    Cell,
    Cut,
    Tile,
    Words,
    band_edges_hz,
    grid_cells,
    tiles,
    time_cells,
    words,
)
from pipeline.evaluation.explain_worth import Worth
from pipeline.record import MediaRecord
from pipeline.spec import PipelineSpec
from pipeline.tasks.result_diff import TOLERANCE, changed_fields

_ANSWER = ("output", "weights", "attribution")
_CHANGES_TOLD = 5


class Explained(NamedTuple):
    """``found`` is what explain.json holds; ``parts`` the media, in the order of its ``media``."""

    found: dict[str, Any]
    parts: list[Part]


def explain(
    spec: PipelineSpec,
    value: Mapping[str, Any],
    records: Mapping[str, Sequence[MediaRecord]],
    label: str | None = None,
    done: Callable[[float], None] = lambda _share: None,
) -> Explained:
    """``value``: of the result; ``records``: by input, in log order, contexts included.

    Runs the stages again, whole and with every part of the media left out once. ``label``: the
    one whose logit is explained, by default the winning one. ``done`` is told the share of the
    work. Raises InvalidInput.
    """
    stream, window = value["stream"], value["window"]
    start_us, end_us = window["start_us"], window["end_us"]
    graph = StageGraph(spec, window_of(stream, start_us, end_us, records))
    fused = list(spec.fusion.of)
    worth = Worth(spec, graph.lengths, graph.base.vectors(fused), label)
    parts = graph.parts()
    cuts = [_cuts(part) for part in parts]
    variants = [
        dict.fromkeys(part.stages, cut)
        for part, of_part in zip(parts, cuts, strict=True)
        for cut in of_part
    ]
    rans = graph.run(variants, lambda count: done(count / len(variants)))
    [whole] = worth.of([graph.base.vectors(fused)])
    losses = (
        [whole - left for left in worth.of([ran.vectors(fused) for ran in rans])] if rans else []
    )
    media, first = [], 0
    for part, of_part in zip(parts, cuts, strict=True):
        taken = slice(first, first + len(of_part))
        media.append(_told(part, of_part, losses[taken], rans[taken]))
        first = taken.stop
    shares = worth.shares()
    found = {
        "result_id": f"{stream}/{start_us}",
        "pipeline": spec.name,
        "window": dict(window),
        "explained": {
            "kind": worth.kind,
            "label": worth.label,
            "score": worth.score,
            "worth": whole,
        },
        "check": _check(value, worth),
        "stages": [
            {
                "stage": stage,
                "weight": worth.fused.weights.get(stage),
                "attribution": worth.fused.attribution.get(stage),
                "failed": graph.base.failed.get(stage),
                "baseline": None if shares is None else shares.baselines.get(stage),
                "names": _names(graph, stage),
                "features": _features(shares and shares.by_stage.get(stage)),
            }
            for stage in fused
        ],
        "features": None
        if shares is None
        else {
            "method": "integrated gradients" if shares.panels else "exact",
            "panels": shares.panels,
            "sum": shares.total,
            "difference": shares.difference,
            "tolerance": SHARES_TOLERANCE,
            "complete": shares.complete,
        },
        "media": media,
    }
    return Explained(found, parts)


def _cuts(part: Part) -> Sequence[Cut]:
    """Of sound first its slices of time, then the cells of the grid."""
    clip = part.clip
    if part.kind == "audio":
        assert clip.rate is not None
        grid = grid_cells(clip.start_us, clip.end_us, clip.rate)
        return [*time_cells(clip.start_us, clip.end_us), *grid]
    return tiles(clip) if part.kind == "image" else words(clip.text or "")


def _told(
    part: Part, cuts: Sequence[Cut], losses: Sequence[float], rans: Sequence[Ran]
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": part.name,
        "kind": part.kind,
        "sources": list(part.sources),
        "stages": list(part.stages),
        "picture": None,
        "parts": [],
        "grid": None,
        "failed": dict(sorted((s, why) for ran in rans for s, why in ran.failed.items())),
    }
    for cut, loss in zip(cuts, losses, strict=True):
        if isinstance(cut, Cell):
            if len(told["parts"]) == SLICES:
                break
            told["parts"].append({"start_us": cut.start_us, "end_us": cut.end_us, "loss": loss})
        elif isinstance(cut, Tile):
            place = {"at_us": cut.at_us, "row": cut.row, "column": cut.column}
            told["parts"].append({**place, "loss": loss})
        elif isinstance(cut, Words):
            text = (part.clip.text or "")[cut.first : cut.last]
            told["parts"].append({"first": cut.first, "last": cut.last, "text": text, "loss": loss})
    if part.kind == "audio":
        edges = band_edges_hz(part.clip.rate or 0)
        edges[-1] = (part.clip.rate or 0) / 2
        cells = np.reshape(losses[SLICES:], (SLICES, BANDS))
        told["grid"] = {"edges_hz": edges, "loss": cells.tolist()}
    return told


def _check(value: Mapping[str, Any], worth: Worth) -> dict[str, Any]:
    """Whether the answer of now is the committed one; which numbers of it are not."""
    committed = {name: value.get(name) for name in _ANSWER}
    changed = changed_fields(committed, worth.answer())
    return {
        "same": not changed,
        "same_model": _hash(value["model"]) == _hash(worth.model),
        "tolerance": TOLERANCE,
        "changed": sorted(changed)[:_CHANGES_TOLD],
    }


def _hash(model: str) -> str:
    """A ``--name`` of another run changes what stands before it."""
    return model.rpartition("@")[2]


def _names(graph: StageGraph, stage: str) -> list[str] | None:
    """Of the numbers of a stage's vector, where its encoder has names for them."""
    names = getattr(graph.encoders.get(stage), "names", None)
    return list(names) if names is not None and len(names) == graph.lengths[stage] else None


def _features(shares: Any) -> list[float] | None:
    return None if shares is None else shares.tolist()
