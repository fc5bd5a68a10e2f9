"""What ``motet train`` can be told, and which head suits which rule."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.errors import InvalidInput, Problem
from pipeline.spec.catalog import RULES_WITH_HEAD
from pipeline.spec.problems import suggestion

# Heads that read F(X), of ``weighted_sum`` and ``concat``; the others are rules of their own.
ON_F = ("linear", "mlp", "logistic", "svm", "naive_bayes")
KINDS = (*ON_F, *RULES_WITH_HEAD)
ON_SEQUENCES = ("lstm", "cnn")  # of ``concat``; some stage has to give a sequence
NETWORKS = ("linear", "mlp", "gated", "attention")  # trained by gradients, the others fitted
COMBINES = ("mean", "product")
KERNELS = ("linear", "rbf")  # of svm


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """``modality_dropout``: chance that a stage is hidden from a training row.

    ``combine`` None: what does better on the validation rows. ``train_weights``: those of a
    ``weighted_sum`` are learned too. ``embedding``: numbers of a token.
    """

    kind: str
    seed: int = 0
    epochs: int = 200
    patience: int = 20
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.3
    hidden: int = 64
    embedding: int = 32
    modality_dropout: float = 0.2
    balanced: bool = False
    combine: str | None = None
    kernel: str = "linear"
    train_weights: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def rule_of(kind: str, declared: str) -> str:
    """The rule that a head of this kind is for, where the file declares another or a class."""
    if kind in RULES_WITH_HEAD:
        return kind
    if kind in ON_SEQUENCES:
        return "concat"
    return declared if declared in ("weighted_sum", "concat") else "concat"


def kinds_for(declared: str, sequences: bool = False) -> list[str]:
    """The kinds of heads that a file takes as it is, whatever its rule's other keys say.

    None where the rule is a class. ``sequences``: whether a stage gives one that can be read.
    """
    kinds = (*KINDS, *(ON_SEQUENCES if sequences else ()))
    return [kind for kind in kinds if rule_of(kind, declared) == declared]


def no_head_for(declared: str) -> Problem:
    """Said where the file's rule is a class, which no head can stand behind."""
    why = "it is a class of yours, and a head takes the place of the rule"
    return Problem("fusion.rule", declared, why, "write rule: concat or rule: weighted_sum")


def kind_for(given: str | None, declared: str) -> str:
    """The kind that was asked for, else the one that suits the rule; raises InvalidInput."""
    if given is None:
        return declared if declared in RULES_WITH_HEAD else "linear"
    known = (*KINDS, *ON_SEQUENCES)
    if given not in known:
        remedy = suggestion(given, known, f"take one of {', '.join(known)}, or auto")
        raise InvalidInput(Problem("--head", given, "it is no kind of head", remedy))
    return given
