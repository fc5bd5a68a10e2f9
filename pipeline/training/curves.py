"""Learning curves: a picture beside the head, and TensorBoard's events (``motet[train]``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.training.fitting import Curve

PICTURE = "curves.png"
INSTALL = "pip install 'motet[train]'"


def draw(
    curve: Curve, path: Path, title: str, learned: str = "training loss (stages hidden)"
) -> bool:
    """Writes the loss by epoch as a PNG; False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    epochs = range(1, len(curve.train_loss) + 1)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(epochs, curve.train_loss, label=learned)
    axes.plot(epochs, curve.validation_loss, label="validation loss")
    axes.axvline(curve.best + 1, color="grey", linestyle=":", label="kept")
    axes.set(xlabel="epoch", ylabel="cross-entropy", title=title)
    axes.set_ylim(bottom=0)
    right = axes.twinx()
    right.plot(epochs, curve.validation_accuracy, color="tab:green", label="validation accuracy")
    right.set(ylabel="accuracy", ylim=(0, 1.02))
    figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    figure.savefig(path, dpi=120)
    return True


def write_events(curve: Curve, folder: Path) -> None:
    """Scalars by epoch, as TensorBoard reads them. Raises InvalidInput where it is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        why = f"tensorboard is not installed ({error})"
        raise InvalidInput(Problem("--tensorboard", str(folder), why, INSTALL)) from None
    with SummaryWriter(str(folder)) as writer:
        rows = zip(curve.train_loss, curve.validation_loss, curve.validation_accuracy, strict=True)
        for epoch, (train, held, accuracy) in enumerate(rows, start=1):
            writer.add_scalar("loss/train", train, epoch)
            writer.add_scalar("loss/validation", held, epoch)
            writer.add_scalar("accuracy/validation", accuracy, epoch)
