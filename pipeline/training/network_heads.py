"""The heads that are trained by gradients; torch comes with this module."""

from __future__ import annotations

from dataclasses import replace

import torch

from pipeline.training import fitting, networks
from pipeline.training.inputs import Projected, blocks, standard_arrays
from pipeline.training.options import ON_SEQUENCES
from pipeline.training.prepared import normalised_rows
from pipeline.training.sequence_networks import SequenceNetwork
from pipeline.training.task import Fitted, Task
from pipeline.training.warm_start import begin


def network(task: Task) -> Fitted:
    """The network of the task's kind, trained; ``repeatable`` says how far it repeats."""
    device = torch.device(task.device)
    with fitting.repeatable(task.options.seed, device) as generator:
        if task.fusion.rule == "weighted_sum":
            return _weighted_network(task, device, generator)
        standards = task.standards()
        made = _block_network(task)
        if task.start is not None:
            begin(made, task.start, task.labels)
        train, held = (
            fitting.tensors_of(
                blocks(task, each, standards), each.mask_matrix(), each.truth, device
            )
            for each in (task.train, task.validation)
        )
        made.to(device)
        curve = fitting.train_network(made, train, held, task.options, generator, task.progress)
    tensors = made.arrays()
    for stage in task.stages:
        if stage not in task.sequences or not task.sequences[stage].tokens:
            tensors |= standard_arrays(stage, standards[stage])
    return Fitted(task.spec(layers=made.layers), tensors, curve)


def _block_network(task: Task) -> networks.Network:
    sizes = networks.Sizes(task.lengths, len(task.labels), task.options.hidden)
    if task.options.kind in ON_SEQUENCES:
        return SequenceNetwork(task.options.kind, sizes, task.sequences, task.options.embedding)
    if task.options.kind == "gated":
        return networks.GatedNetwork(sizes)
    if task.options.kind == "attention":
        return networks.AttentionNetwork(sizes)
    return networks.BlockNetwork(sizes, deep=task.options.kind == "mlp")


def _weighted_network(task: Task, device: torch.device, generator: torch.Generator) -> Fitted:
    options, projected = task.options, Projected.of(task)
    made = networks.WeightedNetwork(
        networks.Sizes(task.lengths, len(task.labels), options.hidden),
        options.kind == "mlp",
        task.fusion.of,
        options.train_weights,
        projected.standard.centre,
        projected.standard.scale,
    )
    train, held = (
        fitting.tensors_of(
            {
                stage: normalised_rows(each.vectors[stage], task.fusion) @ projected.matrices[stage]
                for stage in task.stages
            },
            each.mask_matrix(),
            each.truth,
            device,
        )
        for each in (task.train, task.validation)
    )
    made.to(device)
    curve = fitting.train_network(made, train, held, options, generator, task.progress)
    tensors = made.arrays()
    tensors |= projected.stage_matrices(tensors.pop("map"))
    spec = task.spec(layers=made.layers)
    if options.train_weights:
        spec = replace(spec, weights=made.trained_weights(), trained_weights=True)
    return Fitted(spec, tensors, curve)
