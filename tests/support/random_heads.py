"""Heads with random arrays, of every rule and shape that training can give."""

from __future__ import annotations

import numpy as np

from pipeline.fusion.heads import HeadSpec

STAGES = ("colour", "faces", "sound", "words")
SHAPES = (
    ("concat", "linear"),
    ("concat", "mlp"),
    ("concat", "naive_bayes"),
    ("weighted_sum", "linear"),
    ("weighted_sum", "mlp"),
    ("weighted_sum", "naive_bayes"),
    ("gated", "gated"),
    ("attention", "attention"),
    ("late", "mean"),
    ("late", "product"),
)
HIDDEN, QUERIES = 8, 2


def random_head(
    shape: tuple[str, str],
    rng: np.random.Generator,
    lengths: dict[str, int],
    labels: int = 3,
    normalize: str = "none",
) -> tuple[HeadSpec, dict[str, np.ndarray]]:
    """``shape`` is one of ``SHAPES``; ``lengths`` by stage."""
    rule, kind = shape
    layers: tuple[str, ...] = ()
    squares = rule == "concat" and kind == "naive_bayes"
    width = labels
    if kind == "mlp":
        layers, width = ("relu",), HIDDEN
    elif rule == "weighted_sum" and kind == "naive_bayes":
        layers, width = ("squares",), HIDDEN
    elif rule == "gated":
        layers, width = ("identity",), HIDDEN
    elif rule == "attention":
        layers, width = ("identity", "relu"), HIDDEN
    tensors: dict[str, np.ndarray] = {}
    for stage, length in lengths.items():
        rows = 2 * length if squares else length
        tensors[f"{stage}.matrix"] = rng.standard_normal((rows, width)) / np.sqrt(rows)
        tensors[f"{stage}.offset"] = rng.standard_normal(width)
        if rule != "weighted_sum":
            tensors[f"{stage}.centre"] = rng.standard_normal(length)
            tensors[f"{stage}.scale"] = rng.random(length)
        if rule == "gated":
            tensors[f"{stage}.query"] = rng.standard_normal(width)
            tensors[f"{stage}.context"] = rng.standard_normal(width)
            tensors[f"{stage}.gate"] = rng.standard_normal(1)
    if rule in ("concat", "weighted_sum"):
        tensors["bias"] = rng.standard_normal(width)
    if rule == "late":
        tensors["prior"] = np.log(rng.dirichlet(np.ones(labels)))
    if rule == "attention":
        tensors["values"] = rng.standard_normal((HIDDEN, HIDDEN))
        tensors["queries"] = rng.standard_normal((HIDDEN, QUERIES))
    widths = [width] * len(layers) + [labels]
    for number, activation in enumerate(layers):
        rows = 2 * widths[number] if activation == "squares" else widths[number]
        tensors[f"layer{number}.matrix"] = rng.standard_normal((rows, widths[number + 1]))
        tensors[f"layer{number}.offset"] = rng.standard_normal(widths[number + 1])
    spec = HeadSpec(
        kind=kind if rule in ("concat", "weighted_sum") else rule,
        rule=rule,
        labels=tuple(f"label {number}" for number in range(labels)),
        lengths=dict(lengths),
        weights={stage: float(rng.uniform(0.1, 3)) for stage in lengths},
        normalize=normalize,
        temperature=float(rng.uniform(0.5, 3)),
        layers=layers,
        squares=squares,
        combine=kind if rule == "late" else "mean",
    )
    return spec, tensors
