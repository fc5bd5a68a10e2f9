"""Which head a card means."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.fusion.heads import AttentionHead, GatedHead, Head, HeadSpec, LateHead, SumHead
from pipeline.fusion.products import Rows
from pipeline.fusion.sequence_heads import CnnHead, LstmHead

_BY_RULE: dict[str, type[Head]] = {
    "weighted_sum": SumHead,
    "concat": SumHead,
    "gated": GatedHead,
    "attention": AttentionHead,
    "late": LateHead,
}
_BY_KIND: dict[str, type[Head]] = {"lstm": LstmHead, "cnn": CnnHead}


def build_head(spec: HeadSpec, tensors: Mapping[str, Rows]) -> Head:
    """The head of a card with its arrays, made float64."""
    wide = {name: np.ascontiguousarray(array, np.float64) for name, array in tensors.items()}
    return _BY_KIND.get(spec.kind, _BY_RULE[spec.rule])(spec, wide)
