"""Training one head from a set: split, fit, calibrate, measure, and write the card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.clock import monotonic_us, wall_us
from pipeline.errors import InvalidInput, Problem
from pipeline.fusion.head_files import save_head
from pipeline.spec.units import format_rfc3339
from pipeline.training.metrics import scored, standard_error
from pipeline.training.options import ON_SEQUENCES, TrainOptions
from pipeline.training.prepared import Examples, examples_of, usable
from pipeline.training.recipe import fit
from pipeline.training.reference import reference
from pipeline.training.spent import Spent, versions
from pipeline.training.split import PARTS, Split, split
from pipeline.training.task import Fitted, Task, fusion_for

if TYPE_CHECKING:
    from pipeline.fusion.head_files import LoadedHead
    from pipeline.spec.models import FusionSpec
    from pipeline.spec.sequence import SequenceShape
    from pipeline.training.feature_set import FeatureSet

GAP_WARNED = 0.05  # of accuracy, and more than two standard errors: it has learned by heart
_TIMED_WINDOWS = 50


@dataclass(frozen=True, eq=False)
class Trained:
    """A head with all that its card tells. ``warnings`` are for the user to read."""

    fitted: Fitted
    told: dict[str, Any]
    warnings: list[str]

    def save(self, folder: Path, features: Mapping[str, Any]) -> str:
        """Writes it; gives its hash."""
        told = {"trained": format_rfc3339(wall_us(), "seconds"), **self.told}
        return save_head(folder, self.fitted.spec, self.fitted.tensors, features, told)


def train(
    fusion: FusionSpec,
    data: FeatureSet,
    options: TrainOptions,
    *,
    key: str = "--features",
    device: str = "cpu",
    start: LoadedHead | None = None,
    progress: Callable[[float], None] = lambda _share: None,
) -> Trained:
    """Raises InvalidInput, by ``key``, where the set is no good for training.

    ``start``: a head that ``check_start`` let pass, which training begins with.

    The same set, options and seed give the same arrays, to the bit, on one CPU; figures of cost
    differ.
    """
    data = usable(data, key)
    labels = tuple(sorted({str(label) for label in data.labels}))
    examples = examples_of(data, labels)
    parted = parted_rows(data, examples, options.seed, key)
    parts = {part: examples.taken(getattr(parted, part)) for part in PARTS}
    lengths = {stage: data.lengths[stage] for stage in fusion.of}
    joined = fusion_for(fusion, options.kind)
    task = Task(
        joined,
        lengths,
        labels,
        parts["train"],
        parts["validation"],
        options,
        _sequences(joined, data, options),
        start,
        device,
        progress,
    )
    spent = Spent()
    fitted = fit(task)
    rows = len(parts["train"]) * (len(fitted.curve.train_loss) if fitted.curve else 1)
    taken = spent.told(rows)
    measured = measure(fitted, parts)
    told = {
        "data": _data(data, parted),
        "metrics": measured,
        "training": _training(fitted, options) | ({"init": start.sha256} if start else {}),
        "cost": {
            **cost(fitted),
            "ms_per_window": ms_per_window(fitted, parts["test"]),
            **taken,
        },
        "reference": reference(joined, examples, parted, data.streams, data.sequences),
        "versions": versions("numpy", "scikit-learn", "torch"),
        "seed": options.seed,
    }
    return Trained(fitted, told, warnings_of(parted, measured))


def _sequences(
    fusion: FusionSpec, data: FeatureSet, options: TrainOptions
) -> Mapping[str, SequenceShape]:
    """What a head reads step by step; raises InvalidInput where one that has to finds nothing."""
    if options.kind not in ON_SEQUENCES:
        return {}
    if fusion.normalize != "none":
        why = f"{options.kind} reads sequences as they are"
        raise InvalidInput(Problem("fusion.normalize", fusion.normalize, why, "write none"))
    found = {stage: shape for stage, shape in data.sequences.items() if stage in fusion.of}
    if not found:
        why = "no stage in fusion.of gives a sequence"
        remedy = "give log_mel or mfcc pooling: frames, take text_tokens, or take another head"
        raise InvalidInput(Problem("--head", options.kind, why, remedy))
    return found


def parted_rows(data: FeatureSet, examples: Examples, seed: int, key: str) -> Split:
    """``split``; raises InvalidInput, by ``key``, where it leaves nothing to hold out."""
    parted = split(data.streams, examples.truth, seed)
    if not (len(parted.validation) and len(parted.test)):
        why = f"{len(data)} rows of {len(set(data.streams))} streams leave none to hold out"
        raise InvalidInput(Problem(key, "", why, "label more windows of each stream"))
    return parted


# -- figures ---------------------------------------------------------------------------------


def measure(fitted: Fitted, parts: Mapping[str, Examples]) -> dict[str, Any]:
    """By part, how good it is; and on the held-out rows with one stage alone, or without one.

    The head that is measured is the one that a pipeline runs.
    """
    found: dict[str, Any] = {
        p: scored(each.truth, fitted.scores(each)) for p, each in parts.items()
    }
    test = parts["test"]
    counts = np.bincount(parts["train"].truth, minlength=len(fitted.spec.labels))
    found["majority"] = float((test.truth == counts.argmax()).mean())
    found["gap"] = found["train"]["accuracy"] - found["test"]["accuracy"]
    stages = list(fitted.spec.lengths)
    found["alone"] = {s: _accuracy(fitted, test, [o for o in stages if o != s]) for s in stages}
    found["without"] = {stage: _accuracy(fitted, test, [stage]) for stage in stages}
    return found


def _accuracy(fitted: Fitted, examples: Examples, hidden: list[str]) -> float:
    everywhere = np.ones(len(examples), np.bool_)
    seen = examples.masked(dict.fromkeys(hidden, everywhere))
    return float((fitted.scores(seen).argmax(axis=1) == seen.truth).mean())


def cost(fitted: Fitted) -> dict[str, int]:
    """Parameters, and floating-point operations of one window without attribution.

    An operation is a multiplication or an addition of a matrix product; what is done element by
    element is left out. The reader of a sequence is counted at every one of its steps.
    """
    sizes = {name: int(array.size) for name, array in fitted.tensors.items()}
    stages = len(fitted.spec.lengths)
    once = sum(
        size * (fitted.spec.sequences[stage].steps if "." in part else 1)
        for name, size in sizes.items()
        if name.endswith(".matrix")
        for stage, _, part in [name.partition(".")]
    )
    tokens = sum(sizes.get(name, 0) for name in ("values", "queries"))
    gates = sum(size for name, size in sizes.items() if name.endswith((".query", ".context")))
    return {"parameters": sum(sizes.values()), "flops": 2 * (once + stages * tokens + gates)}


def ms_per_window(fitted: Fitted, examples: Examples) -> float:
    """The median time of one window alone, with all of its attribution, on this machine."""
    from pipeline.fusion.head_rule import HeadRule

    rule = HeadRule(fitted.spec, fitted.tensors)
    rows = np.resize(np.arange(len(examples)), _TIMED_WINDOWS)
    times_us = []
    for row in rows:
        there = [stage for stage, mask in examples.masks.items() if mask[row]]
        vectors = {stage: examples.vectors[stage][row] for stage in there}
        began_us = monotonic_us()
        rule.fuse_many([vectors])
        times_us.append(monotonic_us() - began_us)
    return float(np.median(times_us) / 1e3)


def warnings_of(parted: Split, measured: Mapping[str, Any]) -> list[str]:
    found = []
    if parted.by == "time":
        found.append(
            "too few streams to hold whole ones out: the split is by time, and the held-out "
            "figures say little about streams that were never seen"
        )
    test, gap = measured["test"], measured["gap"]
    spread = standard_error(test["accuracy"], test["rows"])
    if gap > max(GAP_WARNED, 2 * spread):
        found.append(
            f"over-fitting: {measured['train']['accuracy']:.3f} right in training and "
            f"{test['accuracy']:.3f} held out; label more streams, hide more "
            "(--modality-dropout), or take a smaller head"
        )
    if test["accuracy"] <= measured["majority"] + spread:
        found.append(
            f"it is no better than always saying the commonest label "
            f"({test['accuracy']:.3f} against {measured['majority']:.3f})"
        )
    return found


# -- the card --------------------------------------------------------------------------------


def _data(data: FeatureSet, parted: Split) -> dict[str, Any]:
    counts = Counter(str(label) for label in data.labels)
    return {
        "rows": len(data),
        "streams": len(set(data.streams)),
        "labels": dict(sorted(counts.items())),
        "present": {stage: int(mask.sum()) for stage, mask in sorted(data.there.items())},
        "split": {"by": parted.by, **{part: len(getattr(parted, part)) for part in PARTS}},
        "windows": data.manifest.get("windows"),
        "pipeline": data.manifest.get("pipeline"),
        "sha256": data.sha256(),
    }


def _training(fitted: Fitted, options: TrainOptions) -> dict[str, Any]:
    told = options.as_json() | {f"chosen_{name}": value for name, value in fitted.tried.items()}
    if fitted.curve is None:
        return told
    return told | {"epochs_run": len(fitted.curve.train_loss), "best_epoch": fitted.curve.best}
