"""The options of ``motet train``, and what cannot be combined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import InvalidInput, Problem

AUTO, HEAD = "auto", "head"

PipelineArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]", help="The pipeline file (translate: of a topic).", readable=False
    ),
]
TaskOption = Annotated[
    str, typer.Option(metavar="head|translate", help="What is trained (default: head).")
]
PairsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|TOPIC", help="translate: CSV or JSON lines with source,target, or a topic."
    ),
]
FeaturesOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="A set of `motet export`, in place of --labels."),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="The head's folder (default: fusion.head)."),
]
HeadOption = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        help="linear, mlp, logistic, svm, naive_bayes, gated, attention, late, lstm, cnn or "
        "auto (default: by the rule).",
    ),
]
InitOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="A head of the same kind and features to begin with."),
]
BudgetOption = Annotated[
    float | None,
    typer.Option(
        "--budget-ms", min=0.001, metavar="MS", help="With auto: most time a window may take."
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Of the split and of training.")]
EpochsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Most passes over the rows (200; translate: 30; blocks: 8)."),
]
PatienceOption = Annotated[
    int | None,
    typer.Option(min=1, help="Epochs without progress that end it (20; translate: 5; blocks: 4)."),
]
HiddenOption = Annotated[
    int | None,
    typer.Option(min=1, max=65536, help="Width of hidden layers (64; translate: 128, even)."),
]
EmbeddingOption = Annotated[
    int, typer.Option(min=1, max=4096, help="Numbers of a token (lstm, cnn).")
]
LearningRateOption = Annotated[
    float | None,
    typer.Option(min=1e-6, max=1.0, help="Of AdamW (0.003; fine-tuning: 0.0001)."),
]
WeightDecayOption = Annotated[
    float | None,
    typer.Option(
        "--weight-decay", min=0.0, max=10.0, help="Of AdamW; 0 is Adam (0.3; fine-tuning: 0.01)."
    ),
]
FineTuneOption = Annotated[
    str | None,
    typer.Option(
        "--fine-tune", metavar="STAGE", help="Train the last blocks of a stage's encoder instead."
    ),
]
BlocksOption = Annotated[int, typer.Option(min=1, help="With --fine-tune: how many blocks.")]
DropoutOption = Annotated[
    float, typer.Option(min=0.0, max=0.9, help="Chance that a stage is hidden from a row.")
]
BalancedOption = Annotated[
    bool, typer.Option("--balanced", help="Weigh each label alike, however rare it is.")
]
CombineOption = Annotated[
    str | None,
    typer.Option(metavar="mean|product", help="How late joins scores (default: the better)."),
]
KernelOption = Annotated[
    str, typer.Option(metavar="linear|rbf", help="Of svm; rbf by random Fourier features.")
]
TrainWeightsOption = Annotated[
    bool, typer.Option("--train-weights", help="Learn the weights of a weighted_sum too.")
]
KeepRuleOption = Annotated[
    bool,
    typer.Option("--keep-rule", help="Only a head that the file takes with its fusion.rule."),
]
DeviceOption = Annotated[str, typer.Option(help="Where networks are trained: cpu or cuda.")]
TensorboardOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write learning curves for TensorBoard too.")
]


def demand_one_of(flag: str, given: str | None, known: Sequence[str], why: str) -> None:
    if given is not None and given not in known:
        raise InvalidInput(Problem(flag, given, why, f"take {' or '.join(known)}"))


def demand_device(device: str) -> None:
    """Raises InvalidInput where networks cannot be trained there."""
    if device == "cpu":
        return
    if device != "cuda":
        raise InvalidInput(Problem("--device", device, "it is no device", "take cpu or cuda"))
    import torch

    if not torch.cuda.is_available():
        why = "torch sees no CUDA device"
        raise InvalidInput(Problem("--device", device, why, "leave it out: heads are small"))
