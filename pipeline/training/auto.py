"""Choosing a kind of head by the data and the time that a window may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.training.metrics import standard_error
from pipeline.training.options import KINDS, ON_SEQUENCES, TrainOptions
from pipeline.training.train import Trained


def candidates(options: TrainOptions, stages: int, sequences: bool = False) -> list[TrainOptions]:
    """One of each kind; with one stage there is nothing to gate or to attend to.

    ``sequences``: whether a stage gives one, for ``lstm`` and ``cnn`` to read.
    """
    kinds = [k for k in KINDS if stages > 1 or k not in ("gated", "attention", "late")]
    kinds += ON_SEQUENCES if sequences else ()
    return [replace(options, kind=kind) for kind in kinds]


def chosen(found: Sequence[Trained], budget_ms: float | None) -> tuple[Trained, str]:
    """The winner and why: the cheapest of those that are as good as the best.

    Good is accuracy on the validation rows; as good is within one standard error of the best
    (Breiman et al., 1984), cheap is operations a window; of equals the one with the least loss.
    Those over the budget are left out; where all are over it, the fastest is taken.
    """
    within = [
        each
        for each in found
        if budget_ms is None or each.told["cost"]["ms_per_window"] <= budget_ms
    ]
    if not within:
        best = min(found, key=lambda each: each.told["cost"]["ms_per_window"])
        fastest = best.told["cost"]["ms_per_window"]
        return best, f"none is within {budget_ms:g} ms, and it is the fastest ({fastest:.3f} ms)"
    top = max(within, key=lambda each: (_accuracy(each), -_loss(each)))
    rows = top.told["metrics"]["validation"]["rows"]
    margin = standard_error(_accuracy(top), rows)
    alike = [each for each in within if _accuracy(each) >= _accuracy(top) - margin]
    best = min(alike, key=lambda each: (each.told["cost"]["flops"], _loss(each)))
    if best is top:
        why = f"it is the best on {rows} validation rows ({_accuracy(top):.3f})"
        return best, why if len(alike) == 1 else f"{why}, and no head as good is cheaper"
    return best, (
        f"{_accuracy(best):.3f} is within a standard error ({margin:.3f}) of the best, "
        f"{top.fitted.spec.kind} ({_accuracy(top):.3f}), at {best.told['cost']['flops']} "
        f"operations a window against {top.told['cost']['flops']}"
    )


def _accuracy(trained: Trained) -> float:
    found: float = trained.told["metrics"]["validation"]["accuracy"]
    return found


def _loss(trained: Trained) -> float:
    found: float = trained.told["metrics"]["validation"]["log_loss"]
    return found
