"""Flags of ``motet train`` that would change nothing: refused, never ignored in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from pipeline.cli.train_flags import AUTO
from pipeline.errors import InvalidInput, Problem
from pipeline.training.options import (
    KINDS,
    NETWORKS,
    ON_SEQUENCES,
    kinds_for,
    no_head_for,
    rule_of,
)

TRANSLATE, BLOCKS = "--task translate", "--fine-tune"
_HEADS = {*KINDS, *ON_SEQUENCES, AUTO}
_BY_GRADIENTS = {*NETWORKS, *ON_SEQUENCES, AUTO}
_SUMS = {"linear", "mlp", AUTO}
# By parameter, what it acts on. What is not here acts on everything.
_ACTS_ON: dict[str, set[str]] = {
    "labels": _HEADS | {BLOCKS},
    "features": _HEADS | {BLOCKS},
    "files": _HEADS | {BLOCKS},
    "stream": _HEADS | {BLOCKS},
    "files_memory": _HEADS | {BLOCKS},
    "begin": _HEADS | {BLOCKS},
    "end": _HEADS | {BLOCKS},
    "pairs": {TRANSLATE},
    "head": _HEADS,
    "init": _HEADS,
    "fine_tune": {BLOCKS},
    "blocks": {BLOCKS},
    "budget_ms": {AUTO},
    "epochs": _BY_GRADIENTS | {BLOCKS, TRANSLATE},
    "patience": _BY_GRADIENTS | {BLOCKS, TRANSLATE},
    "learning_rate": _BY_GRADIENTS | {BLOCKS, TRANSLATE},
    "weight_decay": _BY_GRADIENTS | {BLOCKS},
    "tensorboard": _BY_GRADIENTS | {BLOCKS, TRANSLATE},
    "hidden": _BY_GRADIENTS - {"linear"} | {TRANSLATE},
    "embedding": {*ON_SEQUENCES, AUTO},
    "modality_dropout": _HEADS - {"naive_bayes", "late"},
    "balanced": _HEADS | {BLOCKS},
    "combine": {"late", AUTO},
    "kernel": {"svm", AUTO},
    "train_weights": _SUMS,
    "keep_rule": _HEADS,
}


def flags_given(context: typer.Context) -> dict[str, tuple[str, Any]]:
    """By parameter, the flag and its value, of those that the command line has."""
    found = {}
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE" and parameter.opts[0] != name:
            found[name] = (parameter.opts[0], context.params[name])
    return found


def demand_effect(given: Mapping[str, tuple[str, Any]], trained: str) -> None:
    """Raises InvalidInput, with every flag that has no effect on what is ``trained``.

    That is ``TRANSLATE``, ``BLOCKS``, a kind of head, or auto.
    """
    idle = [
        Problem(flag, _shown(value), f"it does nothing for {_named(trained)}", _remedy(name))
        for name, (flag, value) in given.items()
        if trained not in _ACTS_ON.get(name, {trained})
    ]
    if idle:
        raise InvalidInput(*idle)


def demand_weighted_sum(given: Mapping[str, tuple[str, Any]], kind: str, declared: str) -> None:
    """Raises InvalidInput where weights are to be learned and the head's rule has none."""
    if "train_weights" in given and (rule := rule_of(kind, declared)) != "weighted_sum":
        why = f"the head's rule is {rule}, which has no weights to learn"
        remedy = "set fusion.rule to weighted_sum, or leave it out"
        raise InvalidInput(Problem(given["train_weights"][0], "", why, remedy))


def demand_rule(kind: str | None, declared: str) -> None:
    """Raises InvalidInput where the file would not take a head of this kind as it is.

    ``kind`` None: of any kind.
    """
    takes = kinds_for(declared, sequences=True)
    if not takes:
        raise InvalidInput(no_head_for(declared))
    if kind is not None and kind not in takes:
        why = f"it is for the rule {rule_of(kind, declared)}, and fusion.rule is {declared}"
        remedy = f"take --head {' or '.join(takes)}, or leave --keep-rule out and change the rule"
        raise InvalidInput(Problem("--head", kind, why, remedy))


def _shown(value: Any) -> str:
    return "" if isinstance(value, bool) else str(value)


def _named(trained: str) -> str:
    return trained if trained in (TRANSLATE, BLOCKS) else f"--head {trained}"


def _remedy(name: str) -> str:
    """The kinds that it is for, where they are few."""
    acts = _ACTS_ON[name]
    for way in (BLOCKS, TRANSLATE):
        if acts == {way}:
            return f"leave it out, or add {way}"
    kinds = sorted((acts & _HEADS) - {AUTO}) or sorted(acts & {AUTO})
    if len(kinds) > 2 or not kinds:
        return "leave it out"
    return f"leave it out, or take --head {' or '.join(kinds)}"
