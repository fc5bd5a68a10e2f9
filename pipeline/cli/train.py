"""``motet train``: a head from labelled windows, or a model for ``text_to_text`` from pairs."""

from __future__ import annotations

import typer

from pipeline.cli import train_flags as flag
from pipeline.cli.arguments import JsonOption, SetOption, WaitOption, load_spec
from pipeline.cli.files_option import MEMORY, FilesOption, MemoryOption, StreamOption, files_of
from pipeline.cli.labels_option import FromOption, LabelsOption, ToOption
from pipeline.cli.train_blocks import Asked as Blocks
from pipeline.cli.train_blocks import train_blocks
from pipeline.cli.train_data import Source
from pipeline.cli.train_effect import BLOCKS, TRANSLATE, demand_effect, flags_given
from pipeline.cli.train_head import Wanted, train_head
from pipeline.cli.train_translate import Asked, PairsFrom, demand_translate, train_translate
from pipeline.errors import InvalidInput, Problem

HEADS_RATE, HEADS_DECAY = 3e-3, 0.3


def register(app: typer.Typer) -> None:
    app.command(
        epilog="Example: motet train lobby.yaml --labels labels.csv -o heads/lobby --head mlp"
    )(train)


def train(
    context: typer.Context,
    file: flag.PipelineArgument = None,
    labels: LabelsOption = None,
    task: flag.TaskOption = flag.HEAD,
    pairs: flag.PairsOption = None,
    features: flag.FeaturesOption = None,
    files: FilesOption = None,
    stream: StreamOption = None,
    files_memory: MemoryOption = MEMORY,
    out: flag.OutOption = None,
    head: flag.HeadOption = None,
    init: flag.InitOption = None,
    fine_tune: flag.FineTuneOption = None,
    blocks: flag.BlocksOption = 2,
    budget_ms: flag.BudgetOption = None,
    seed: flag.SeedOption = 0,
    epochs: flag.EpochsOption = None,
    patience: flag.PatienceOption = None,
    hidden: flag.HiddenOption = None,
    embedding: flag.EmbeddingOption = 32,
    learning_rate: flag.LearningRateOption = None,
    weight_decay: flag.WeightDecayOption = None,
    modality_dropout: flag.DropoutOption = 0.2,
    balanced: flag.BalancedOption = False,
    combine: flag.CombineOption = None,
    kernel: flag.KernelOption = "linear",
    train_weights: flag.TrainWeightsOption = False,
    keep_rule: flag.KeepRuleOption = False,
    device: flag.DeviceOption = "cpu",
    tensorboard: flag.TensorboardOption = None,
    begin: FromOption = None,
    end: ToOption = None,
    sets: SetOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a head on recorded topics or files with labels, or on an exported set.

    Whole streams are held out for validation and for the figures that are printed. The same rows,
    options and seed give the same head, to the bit, on one CPU. With --task translate a model for
    text_to_text from sentence pairs: motet train --task translate --pairs pairs.csv -o models/de
    """
    given = flags_given(context)
    if task != flag.HEAD:
        demand_translate(task)
        demand_effect(given, TRANSLATE)
        flag.demand_device(device)
        numbers = Asked(seed, device, learning_rate or HEADS_RATE, epochs, patience, hidden)
        pairs_from = PairsFrom(pairs, file, sets or (), wait)
        return train_translate(pairs_from, out, numbers, tensorboard, as_json)
    if file is None:
        why, remedy = "it is not given", "name the pipeline file (or train with --task translate)"
        raise InvalidInput(Problem("FILE", "", why, remedy))
    if fine_tune is not None:
        demand_effect(given, BLOCKS)
    flag.demand_device(device)
    spec = load_spec(file, sets or ())
    options = {
        "seed": seed,
        "epochs": epochs or 200,
        "patience": patience or 20,
        "learning_rate": learning_rate or HEADS_RATE,
        "hidden": hidden or 64,
        "embedding": embedding,
        "weight_decay": HEADS_DECAY if weight_decay is None else weight_decay,
        "modality_dropout": modality_dropout,
        "balanced": balanced,
        "combine": combine,
        "kernel": kernel,
        "train_weights": train_weights,
    }
    media = files_of(files, stream, files_memory)
    source = Source(labels, features, media, begin, end, wait)
    if fine_tune is not None:
        asked = Blocks(fine_tune, blocks, seed, device, balanced, learning_rate, weight_decay,
                       epochs, patience)  # fmt: skip
        return train_blocks(file, spec, source, out, asked, tensorboard, as_json)
    wanted = Wanted(out, head, init, budget_ms, device, tensorboard, options, given, keep_rule)
    train_head(file, spec, source, wanted, as_json)
