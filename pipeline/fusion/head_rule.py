"""Fusion by a trained head: labels, scores, weights in force and exact attribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.fusion.head_kinds import build_head
from pipeline.fusion.heads import HeadSpec, Masks
from pipeline.fusion.linear import Fused, Vectors
from pipeline.fusion.products import Rows, dots, log_softmax
from pipeline.fusion.shapley import coalitions

_WINDOWS_MAX = 32  # of one call: times 2^M subsets, this bounds the memory


class HeadRule:
    """Runs a head over windows with any of their stages missing.

    Invariant: ``attribution`` adds up to the winning label's logit less that of the empty window
    (both over the temperature). ``label`` is None where the winning probability is below
    ``abstain_below``; scores, weights and attribution stand all the same. A window without any
    vector has no label and no scores.
    """

    def __init__(
        self, spec: HeadSpec, tensors: Mapping[str, Rows], abstain_below: float | None = None
    ) -> None:
        self._labels = spec.labels
        self._head = build_head(spec, tensors)
        self._abstain_below = 0.0 if abstain_below is None else abstain_below

    def fuse_many(self, windows: Sequence[Vectors]) -> list[Fused]:
        """Windows that have the same stages are computed together."""
        alike: dict[tuple[str, ...], list[int]] = {}
        for index, vectors in enumerate(windows):
            there = tuple(stage for stage in self._head.stages if stage in vectors)
            alike.setdefault(there, []).append(index)
        fused: dict[int, Fused] = {}
        for there, indexes in alike.items():
            for first in range(0, len(indexes), _WINDOWS_MAX):
                part = indexes[first : first + _WINDOWS_MAX]
                found = self._fuse_alike(there, [windows[index] for index in part])
                fused |= zip(part, found, strict=True)
        return [fused[index] for index in range(len(windows))]

    def logits(self, vectors: Mapping[str, Rows], masks: Mapping[str, Masks]) -> Rows:
        """Of many windows at once, shape (n, labels); ``masks`` (n,) by stage: what is there.

        ``vectors`` (n, d) by stage; rows that are not there may hold anything finite.
        """
        stages = self._head.stages
        there = np.stack([np.asarray(masks[stage], np.bool_) for stage in stages], axis=1)
        terms = [self._head.term(s, np.asarray(vectors[s], np.float64)) for s in stages]
        return self._head.combine(stages, terms, there).logits

    def _fuse_alike(self, there: tuple[str, ...], windows: Sequence[Vectors]) -> list[Fused]:
        if not there:
            return [Fused(None, scores={}) for _ in windows]
        asked = coalitions(len(there))
        count, subsets = len(windows), len(asked.masks)
        with np.errstate(all="ignore"):  # what overflows is told as a failure
            terms = []
            for stage in there:
                rows = np.stack([vectors[stage] for vectors in windows]).astype(np.float64)
                terms.append(np.repeat(self._head.term(stage, rows), subsets, axis=0))
            joined = self._head.combine(there, terms, np.tile(asked.masks, (count, 1)))
            logits = joined.logits.reshape(count, subsets, -1)
            whole = logits[:, -1]
            scores = np.exp(log_softmax(whole))
        finite = [bool(np.isfinite(each).all()) for each in logits]
        best = whole.argmax(axis=1)
        worths = logits[np.arange(count), :, best]
        shares = [dots(worths, row[None, :]) for row in asked.shares]
        weights = joined.weights.reshape(count, subsets, -1)[:, -1]
        return [
            self._told(there, int(best[at]), scores[at], weights[at], [s[at] for s in shares])
            if finite[at]
            else Fused(None, failure="the head's scores are not finite", scores={})
            for at in range(count)
        ]

    def _told(
        self,
        there: tuple[str, ...],
        best: int,
        scores: Rows,
        weights: Rows,
        shares: Sequence[float],
    ) -> Fused:
        sure = scores[best] >= self._abstain_below
        return Fused(
            None,
            dict(zip(there, weights.tolist(), strict=True)),
            {stage: float(share) for stage, share in zip(there, shares, strict=True)},
            label=self._labels[best] if sure else None,
            scores=dict(zip(self._labels, scores.tolist(), strict=True)),
        )
