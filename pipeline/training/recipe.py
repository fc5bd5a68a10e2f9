"""From examples to a head: every fit that its kind allows, and the best of them, calibrated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.errors import InvalidInput
from pipeline.fusion.head_rule import HeadRule
from pipeline.spec.vector_lengths import unequal_lengths
from pipeline.training import classical_heads
from pipeline.training.options import NETWORKS, ON_SEQUENCES
from pipeline.training.task import Fitted, Task, temperature


def fit(task: Task) -> Fitted:
    """The head that does best on the validation rows, and is calibrated on them.

    The same to the bit for the same task. Of fits that differ in regularisation, or in how
    scores are joined, the one with the least validation loss is taken.
    """
    kind, rule = task.options.kind, task.fusion.rule
    if rule == "weighted_sum":
        unequal = unequal_lengths(task.fusion, task.lengths)
        if unequal is not None:
            raise InvalidInput(unequal)
    if kind == "late":
        fits = classical_heads.late(task)
    elif kind in NETWORKS or kind in ON_SEQUENCES:
        from pipeline.training.network_heads import network  # with torch

        fits = [network(task)]
    elif kind == "naive_bayes":
        fits = [classical_heads.naive_bayes(task)]
    else:
        fits = classical_heads.linear(task)
    held, best, best_loss = task.validation, fits[0], np.inf
    for each in fits:
        logits = HeadRule(each.spec, each.tensors).logits(held.vectors, held.masks)
        cooled, loss = temperature(logits, held.truth)
        if loss < best_loss:
            best_loss = loss
            best = replace(each, spec=replace(each.spec, temperature=cooled))
    return best
