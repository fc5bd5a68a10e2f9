"""What ``motet train`` says of the heads that it trained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.table import table
from pipeline.cli.terminal import say, warn

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec
    from pipeline.training.train import Trained


def told_of(trained: Trained) -> dict[str, Any]:
    """What ``--json`` prints of a head, but for its folder and its hash.

    What drift is seen by is some hundred numbers, and stands in the card alone.
    """
    spec = trained.fitted.spec
    told = {part: what for part, what in trained.told.items() if part != "reference"}
    return {"kind": spec.kind, "rule": spec.rule, "warnings": trained.warnings, **told}


def candidate_of(trained: Trained) -> dict[str, Any]:
    """A head that ``auto`` has tried, in short."""
    measured, cost = trained.told["metrics"], trained.told["cost"]
    return {
        "kind": trained.fitted.spec.kind,
        "validation": measured["validation"]["accuracy"],
        "test": measured["test"]["accuracy"],
        "gap": measured["gap"],
        "parameters": cost["parameters"],
        "flops": cost["flops"],
        "ms_per_window": cost["ms_per_window"],
    }


def say_candidates(found: Sequence[Trained], best: Trained, why: str) -> None:
    """All that were trained, side by side, and why one won."""
    head = ["head", "validation", "held out", "gap", "parameters", "flops", "ms a window", ""]
    rows = [[*_row(each), "<-" if each is best else ""] for each in found]
    for line in table(head, rows):
        say(line)
    say(f"motet: {best.fitted.spec.kind} wins: {why}")


def _row(trained: Trained) -> list[object]:
    found = candidate_of(trained)
    return [
        found["kind"],
        f"{found['validation']:.3f}",
        f"{found['test']:.3f}",
        f"{found['gap']:+.3f}",
        found["parameters"],
        found["flops"],
        f"{found['ms_per_window']:.3f}",
    ]


def say_trained(trained: Trained, folder: Path, sha256: str, spec: PipelineSpec) -> None:
    measured, data, cost = (trained.told[part] for part in ("metrics", "data", "cost"))
    say(
        f"motet: {trained.fitted.spec.kind} for {trained.fitted.spec.rule}: {data['rows']} rows of "
        f"{data['streams']} streams, {len(data['labels'])} labels, split by {data['split']['by']}"
    )
    head = ["part", "rows", "accuracy", "balanced", "macro F1", "log loss", "calibration"]
    names = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "calibration_error")
    rows = [
        [part, measured[part]["rows"], *(f"{measured[part][name]:.3f}" for name in names)]
        for part in ("train", "validation", "test")
    ]
    for line in table(head, rows):
        say(line)
    alone = ", ".join(f"{stage} {share:.3f}" for stage, share in measured["alone"].items())
    say(f"motet: held out, one stage alone: {alone}; commonest label {measured['majority']:.3f}")
    say(
        f"motet: gap between training and held out {measured['gap']:+.3f}; {cost['parameters']} "
        f"parameters, {cost['ms_per_window']:.2f} ms a window; {cost['wall_s']:.1f} s, "
        f"{cost['samples_per_s']:.0f} samples/s, peak memory {cost['peak_memory_bytes'] >> 20} MiB"
    )
    for line in trained.warnings:
        warn(line)
    say(f"motet: {folder} holds head {sha256[:12]}; {_next(trained, spec, folder)}")


def _next(trained: Trained, spec: PipelineSpec, folder: Path) -> str:
    """What makes the pipeline run it: a change of the file, a deployment, or its next start."""
    from pipeline.spec.head_store import HeadStore

    rule = trained.fitted.spec.rule
    wanted = [] if rule == spec.fusion.rule else [f"rule: {rule}"]
    if spec.fusion.head is None:
        wanted.append(f"head: {os.path.relpath(folder, spec.folder)}")
    if wanted:
        return f"in the file: fusion: {{{', '.join(wanted)}}}"
    store = HeadStore.of(spec)
    if store is None or store.path.exists() or folder.resolve() != store.folder.resolve():
        return f"`motet heads deploy FILE {folder}` puts it in force, in a run too"
    return "the next start runs it"
