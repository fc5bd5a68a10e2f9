"""``motet train``: a head from labelled windows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, SetOption, WaitOption, load_spec
from pipeline.cli.labels_option import FromOption, LabelsOption, ToOption, demand
from pipeline.cli.terminal import emit, progress, say
from pipeline.cli.train_output import candidate_of, say_candidates, say_trained, told_of
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec
    from pipeline.training.feature_set import FeatureSet
    from pipeline.training.options import TrainOptions
    from pipeline.training.train import Trained

AUTO = "auto"


def register(app: typer.Typer) -> None:
    app.command(
        epilog="Example: motet train lobby.yaml --labels labels.csv -o heads/lobby --head mlp"
    )(train)


def train(
    file: FileArgument,
    labels: LabelsOption = None,
    features: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A set of `motet export`, in place of --labels."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="The head's folder (default: fusion.head)."
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="linear, mlp, logistic, svm, naive_bayes, gated, attention, late or auto "
            "(default: by the rule).",
        ),
    ] = None,
    budget_ms: Annotated[
        float | None,
        typer.Option(
            "--budget-ms", min=0.001, metavar="MS", help="With auto: most time a window may take."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the split and of training.")] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes over the rows.")] = 200,
    patience: Annotated[int, typer.Option(min=1, help="Epochs without progress that end it.")] = 20,
    hidden: Annotated[int, typer.Option(min=1, max=65536, help="Width of hidden layers.")] = 64,
    learning_rate: Annotated[float, typer.Option(min=1e-6, max=1.0, help="Of AdamW.")] = 3e-3,
    modality_dropout: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Chance that a stage is hidden from a row.")
    ] = 0.2,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Weigh each label alike, however rare it is.")
    ] = False,
    combine: Annotated[
        str | None,
        typer.Option(metavar="mean|product", help="How late joins scores (default: the better)."),
    ] = None,
    train_weights: Annotated[
        bool, typer.Option("--train-weights", help="Learn the weights of a weighted_sum too.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where networks are trained: cpu or cuda.")] = "cpu",
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write learning curves for TensorBoard too.")
    ] = None,
    begin: FromOption = None,
    end: ToOption = None,
    sets: SetOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a head on recorded topics with labels, or on an exported set.

    Whole streams are held out for validation and for the figures that are printed. The same rows,
    options and seed give the same head, to the bit, on one CPU.
    """
    from pipeline.training.options import COMBINES, TrainOptions, kind_for

    spec = load_spec(file, sets or ())
    folder = _folder(out, spec)
    kind = kind_for(None if head == AUTO else head, spec.fusion.rule)
    if combine is not None and combine not in COMBINES:
        why = "it joins no scores"
        raise InvalidInput(Problem("--combine", combine, why, f"take {' or '.join(COMBINES)}"))
    if budget_ms is not None and head != AUTO:
        why = "it chooses among heads"
        raise InvalidInput(Problem("--budget-ms", f"{budget_ms:g}", why, "add --head auto"))
    _demand_device(device)
    options = TrainOptions(
        kind=kind,
        seed=seed,
        epochs=epochs,
        patience=patience,
        learning_rate=learning_rate,
        hidden=hidden,
        modality_dropout=modality_dropout,
        balanced=balanced,
        combine=combine,
        train_weights=train_weights,
    )
    data, key, described = _data(file, spec, labels, features, begin, end, wait)
    tried: dict[str, Any] = {}
    if head == AUTO:
        trained, tried = _auto(spec, data, options, budget_ms, key, device)
    else:
        trained = _one(spec, data, options, key, device)
    sha256 = trained.save(folder, described)
    _curves(trained, folder, tensorboard)
    say_trained(trained, folder, sha256, spec)
    if as_json:
        emit(json.dumps({"out": str(folder), "sha256": sha256, **told_of(trained), **tried}))


def _demand_device(device: str) -> None:
    """Raises InvalidInput where networks cannot be trained there."""
    if device == "cpu":
        return
    if device != "cuda":
        raise InvalidInput(Problem("--device", device, "it is no device", "take cpu or cuda"))
    import torch

    if not torch.cuda.is_available():
        why = "torch sees no CUDA device"
        raise InvalidInput(Problem("--device", device, why, "leave it out: heads are small"))


def _folder(out: Path | None, spec: PipelineSpec) -> Path:
    """Where the head goes: what was asked for, else what the file names."""
    if out is not None:
        return out
    if spec.fusion.head is not None:
        return spec.folder / spec.fusion.head
    remedy = "name a folder such as heads/lobby, here or as fusion.head"
    raise InvalidInput(Problem("--out", "", "it is not given, and the file names no head", remedy))


def _data(
    file: Path,
    spec: PipelineSpec,
    labels: str | None,
    features: Path | None,
    begin: str | None,
    end: str | None,
    wait: bool,
) -> tuple[FeatureSet, str, dict[str, Any]]:
    """The rows, what to name in errors about them, and what their features follow from."""
    if (labels is None) == (features is None):
        why = "neither is given" if labels is None else "both are given"
        raise InvalidInput(Problem("--labels, --features", "", why, "give one of the two"))
    if features is not None:
        from pipeline.training.export import check_features
        from pipeline.training.feature_set import read_set

        data = read_set(features)
        check_features(data.manifest, spec, str(features))
        return data, "--features", data.manifest["features"]
    from pipeline.cli.labels_option import labels_of, replayed
    from pipeline.cli.run import create_command, demand_gpus
    from pipeline.cli.run_span import restricted

    named = demand(labels, "--labels", "name a file or a topic of labels")
    spanned = restricted(spec, begin, end, None, start_given=False)
    index, connector = labels_of(named, spanned, wait)
    demand_gpus(spanned)
    from pipeline.encoders.checking import check_pipeline
    from pipeline.training.export import manifest
    from pipeline.training.feature_set import Row, set_of

    lengths = check_pipeline(spanned)
    rows: list[Row] = []
    create = create_command(file, spanned, spec)
    seen = replayed(spanned, lengths, index, connector, create, rows.append)
    told = manifest(spanned, lengths, seen)
    return set_of(rows, told["lengths"], told), "--labels", told["features"]


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
    spec: PipelineSpec, data: FeatureSet, options: TrainOptions, key: str, device: str
) -> Trained:
    from pipeline.training.train import train as train_head

    with progress(f"training {options.kind}", 1.0) as shown:
        return train_head(spec.fusion, data, options, key=key, device=device, progress=shown)


def _auto(
    spec: PipelineSpec,
    data: FeatureSet,
    options: TrainOptions,
    budget_ms: float | None,
    key: str,
    device: str,
) -> tuple[Trained, dict[str, Any]]:
    """Trains every candidate, shows them side by side, and says why one won."""
    from pipeline.training.auto import candidates, chosen

    each = candidates(options, len(spec.fusion.of))
    found = [_one(spec, data, candidate, key, device) for candidate in each]
    best, why = chosen(found, budget_ms)
    say_candidates(found, best, why)
    return best, {"why": why, "candidates": [candidate_of(trained) for trained in found]}
