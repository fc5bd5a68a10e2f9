"""``motet train`` of a head: rows, one kind or all of them, and the folder that comes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.cli.terminal import emit, progress, say
from pipeline.cli.train_data import Source, rows_of
from pipeline.cli.train_effect import demand_effect, demand_rule, demand_weighted_sum
from pipeline.cli.train_flags import AUTO, demand_one_of
from pipeline.cli.train_output import candidate_of, say_candidates, say_trained, told_of
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.fusion.head_files import LoadedHead
    from pipeline.spec import PipelineSpec
    from pipeline.training.feature_set import FeatureSet
    from pipeline.training.options import TrainOptions
    from pipeline.training.train import Trained


class Wanted(NamedTuple):
    """The head that the flags ask for; ``options`` are those of ``TrainOptions``.

    ``given``: as ``flags_given`` has them. ``keep_rule``: it has to fit the file's rule.
    """

    out: Path | None
    head: str | None
    init: Path | None
    budget_ms: float | None
    device: str
    tensorboard: Path | None
    options: Mapping[str, Any]
    given: Mapping[str, tuple[str, Any]]
    keep_rule: bool


def train_head(
    file: Path, spec: PipelineSpec, source: Source, wanted: Wanted, as_json: bool
) -> None:
    """Trains it, writes its folder, and says how good it is; raises InvalidInput."""
    from pipeline.training.task import fusion_for
    from pipeline.training.warm_start import check_start

    folder = _folder(wanted.out, spec)
    start = _start(wanted.init, wanted.head)
    options = _options(spec, wanted, start)
    data, key, described = rows_of(file, spec, source)
    if start is not None:
        joined = fusion_for(spec.fusion, options.kind)
        check_start(start, str(wanted.init), options.kind, joined, described, data.lengths)
    tried: dict[str, Any] = {}
    if wanted.head == AUTO:
        trained, tried = _auto(spec, data, options, wanted, key)
    else:
        trained = _one(spec, data, options, key, wanted.device, start)
    sha256 = trained.save(folder, described)
    _curves(trained, folder, wanted.tensorboard)
    say_trained(trained, folder, sha256, spec)
    if as_json:
        emit(json.dumps({"out": str(folder), "sha256": sha256, **told_of(trained), **tried}))


def _options(spec: PipelineSpec, wanted: Wanted, start: LoadedHead | None) -> TrainOptions:
    """Raises InvalidInput where the flags do not go together."""
    from pipeline.training.options import COMBINES, KERNELS, TrainOptions, kind_for

    asked = start.spec.kind if start is not None and wanted.head is None else wanted.head
    kind = kind_for(None if asked == AUTO else asked, spec.fusion.rule)
    made = TrainOptions(kind, **wanted.options)
    demand_one_of("--combine", made.combine, COMBINES, "it joins no scores")
    demand_one_of("--kernel", made.kernel, KERNELS, "it is no kernel")
    demand_effect(wanted.given, AUTO if wanted.head == AUTO else kind)
    demand_weighted_sum(wanted.given, kind, spec.fusion.rule)
    if wanted.keep_rule:
        demand_rule(None if wanted.head == AUTO else kind, spec.fusion.rule)
    return made


def _folder(out: Path | None, spec: PipelineSpec) -> Path:
    """Where the head goes: what was asked for, else what the file names."""
    if out is not None:
        return out
    if spec.fusion.head is not None:
        return spec.folder / spec.fusion.head
    remedy = "name a folder such as heads/lobby, here or as fusion.head"
    raise InvalidInput(Problem("--out", "", "it is not given, and the file names no head", remedy))


def _start(init: Path | None, head: str | None) -> LoadedHead | None:
    """The head that training begins with; raises InvalidInput."""
    if init is None:
        return None
    if head == AUTO:
        why = "it is of one kind, and auto trains all"
        raise InvalidInput(Problem("--init", str(init), why, "leave one of the two out"))
    from pipeline.fusion.head_files import load_head

    return load_head(init, str(init), "--init")


def _curves(trained: Trained, folder: Path, tensorboard: Path | None) -> None:
    """What shows how a network learned; a head that was fitted has no epochs."""
    from pipeline.training.curves import INSTALL, PICTURE, draw, write_events

    curve = trained.fitted.curve
    if curve is None:
        (folder / PICTURE).unlink(missing_ok=True)  # of a head that was here before
        return
    if not draw(curve, folder / PICTURE, f"{trained.fitted.spec.kind}, {folder.name}"):
        say(f"motet: no learning curves: {INSTALL} draws them")
    if tensorboard is not None:
        write_events(curve, tensorboard)


def _one(
    spec: PipelineSpec,
    data: FeatureSet,
    options: TrainOptions,
    key: str,
    device: str,
    start: LoadedHead | None = None,
) -> Trained:
    from pipeline.training.train import train as train_head

    with progress(f"training {options.kind}", 1.0) as shown:
        return train_head(
            spec.fusion, data, options, key=key, device=device, start=start, progress=shown
        )


def _auto(
    spec: PipelineSpec,
    data: FeatureSet,
    options: TrainOptions,
    wanted: Wanted,
    key: str,
) -> tuple[Trained, dict[str, Any]]:
    """Trains every candidate, shows them side by side, and says why one won."""
    from pipeline.training.auto import candidates, chosen
    from pipeline.training.options import ON_SEQUENCES, kinds_for
    from pipeline.training.task import fusion_for

    readable = bool(data.sequences) and fusion_for(spec.fusion, ON_SEQUENCES[0]).normalize == "none"
    each = candidates(options, len(spec.fusion.of), readable)
    if wanted.keep_rule:
        fitting = kinds_for(spec.fusion.rule, readable)
        each = [candidate for candidate in each if candidate.kind in fitting] or [options]
    found = [_one(spec, data, candidate, key, wanted.device) for candidate in each]
    best, why = chosen(found, wanted.budget_ms)
    say_candidates(found, best, why)
    return best, {"why": why, "candidates": [candidate_of(trained) for trained in found]}
