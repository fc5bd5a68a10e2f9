"""Training that begins with what another head has learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InvalidInput, Problem
from pipeline.spec.head_card import misfit
from pipeline.training.options import NETWORKS, ON_SEQUENCES

if TYPE_CHECKING:
    from pipeline.fusion.head_files import LoadedHead
    from pipeline.spec.models import FusionSpec
    from pipeline.training.networks import Network

Floats = NDArray[np.float64]
KEY = "--init"


def check_start(
    head: LoadedHead,
    named: str,
    kind: str,
    fusion: FusionSpec,
    features: Mapping[str, Any],
    lengths: Mapping[str, int],
) -> None:
    """Raises InvalidInput, with the reason, where a head of this kind cannot begin with that one.

    ``fusion``: with the rule of the new head; ``features``: as ``features_of`` tells them.
    """
    if head.spec.kind != kind:
        why = f"it is {head.spec.kind}, and {kind} is trained"
        raise InvalidInput(Problem(KEY, named, why, f"take --head {head.spec.kind}"))
    if kind not in (*NETWORKS, *ON_SEQUENCES):
        why = f"{kind} is fitted to its one best place, wherever it begins"
        raise InvalidInput(Problem(KEY, named, why, "leave it out"))
    if fusion.rule == "weighted_sum":
        why = "the projections of a weighted_sum are folded into what it has learned"
        raise InvalidInput(Problem(KEY, named, why, "leave it out, or fuse by concat"))
    wrong = misfit(head.card, fusion, features, lengths)
    if wrong is not None:
        remedy = "set them back, or leave it out"
        raise InvalidInput(wrong._replace(key=KEY, value=named, remedy=remedy))


def begin(network: Network, head: LoadedHead, labels: Sequence[str]) -> None:
    """Puts the head's arrays into a network for ``labels``; what both name alike is kept.

    Of the last layer the columns of labels that both have; others begin as the network had them.
    Raises InvalidInput where its layers have other widths.
    """
    fresh, old = network.arrays(), head.spec.labels
    shared = [(labels.index(label), old.index(label)) for label in labels if label in old]
    arrays = {name: np.array(head.tensors[name], np.float64) for name in fresh}
    for name in network.outputs():
        mixed = fresh[name].copy()
        if mixed.shape[:-1] == arrays[name].shape[:-1]:
            for ours, theirs in shared:
                mixed[..., ours] = arrays[name][..., theirs]
            arrays[name] = mixed
    other = [
        f"{name} {' x '.join(map(str, arrays[name].shape))}"
        for name in fresh
        if arrays[name].shape != fresh[name].shape
    ]
    if other:
        why = f"its layers have other widths than are asked for ({', '.join(other)})"
        remedy = "give --hidden and --embedding as it was trained (training in its card.json)"
        raise InvalidInput(Problem(KEY, "", why, remedy))
    network.load(arrays)
