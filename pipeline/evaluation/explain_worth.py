"""What is explained: one number of a window's answer, that any change of its media moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.errors import InvalidInput, Problem
from pipeline.evaluation.explain_gradients import Shares, of_head, of_sum
from pipeline.fusion.head_files import LoadedHead
from pipeline.fusion.head_rule import HeadRule
from pipeline.fusion.heads import HeadSpec
from pipeline.fusion.linear import Fused, Vectors, projection
from pipeline.fusion.products import Rows, normalized
from pipeline.fusion.rules import Fuser, head_in_force
from pipeline.spec import PipelineSpec
from pipeline.spec.catalog import RULES
from pipeline.tasks.results import model_name

LABEL = "--label"


class Worth:
    """The number that is explained, of the vectors of a window.

    With a head: the logit of ``label`` over the temperature, of the winning one where none is
    asked for. Without: ``⟨F(v), F⟩ / ‖F‖²``, how much of the fused vector F is still there, 1 for
    the window as it was and 0 where nothing is left; a stage's attribution is its part of that.
    """

    def __init__(
        self, spec: PipelineSpec, lengths: Mapping[str, int], vectors: Vectors, asked: str | None
    ) -> None:
        """Raises InvalidInput where nothing is fused, or there is no such label."""
        self._spec = spec
        self._lengths = lengths
        self._vectors = vectors
        loaded = head_in_force(spec)
        self._fuser = Fuser.under(spec, lengths, loaded)
        self.model = model_name(spec, self._fuser.head_hash)
        self.fused: Fused = self._fuser.fuse(vectors)
        self.label: str | None = None
        self._head: tuple[HeadSpec, Mapping[str, Rows]] | None = None
        if loaded is not None:
            self._open_head(loaded, asked)
        elif asked is not None:
            remedy = "leave it out: the fused vector is explained"
            raise InvalidInput(Problem(LABEL, asked, "the pipeline has no head", remedy))
        if self.fused.failure is not None or not (self.fused.weights or self.fused.scores):
            why = self.fused.failure or "no stage in fusion.of gives a vector for this window"
            raise InvalidInput(Problem("RESULT_ID", "", why, "name a result that has an output"))

    def _open_head(self, loaded: LoadedHead, asked: str | None) -> None:
        """As ``Fuser`` does, which has checked that the head fits the file."""
        head = loaded.under(self._spec.fusion.of)
        if asked is not None and asked not in head.labels:
            remedy = f"name one of {', '.join(head.labels)}"
            raise InvalidInput(Problem(LABEL, asked, "the head has no such label", remedy))
        self._head = head, loaded.tensors
        self._rule = HeadRule(head, loaded.tensors)
        scores = self.fused.scores or {}
        self.label = asked or max(head.labels, key=lambda label: scores.get(label, 0.0))

    @property
    def kind(self) -> str:
        return "share" if self._head is None else "logit"

    @property
    def score(self) -> float | None:
        """The label's probability."""
        return None if self.label is None else (self.fused.scores or {}).get(self.label)

    def of(self, windows: Sequence[Vectors]) -> list[float]:
        """One number for each window's vectors, any of which may be missing."""
        if self._head is None:
            return [self._share(fused) for fused in self._fuser.fuse_many(windows)]
        head, _ = self._head
        masks = {s: np.array([s in window for window in windows]) for s in head.lengths}
        rows = {
            stage: np.stack([w.get(stage, np.zeros(length)) for w in windows]).astype(np.float64)
            for stage, length in head.lengths.items()
        }
        column = head.labels.index(str(self.label))
        logits: list[float] = self._rule.logits(rows, masks)[:, column].tolist()
        return logits

    def _share(self, fused: Fused) -> float:
        whole = self.fused.vector
        if whole is None or fused.vector is None:
            return 0.0
        square = float(whole @ whole)
        return float(fused.vector @ whole) / square if square > 0 else 0.0

    def shares(self) -> Shares | None:
        """By number of each stage's vector; None where there is no gradient to tell them by.

        That is a rule of the user's, and a head that reads steps in time.
        """
        fusion = self._spec.fusion
        there = {stage: self._vectors[stage] for stage in fusion.of if stage in self._vectors}
        if self._head is not None:
            head, tensors = self._head
            if head.sequences:
                return None
            return of_head(head, tensors, there, head.labels.index(str(self.label)))
        whole = self.fused.vector
        if fusion.rule not in RULES or whole is None:
            return None
        terms: dict[str, tuple[Rows, Rows]] = {}
        first = 0
        for stage in fusion.of:
            length = self._lengths[stage]
            if stage in there:
                row = np.asarray(there[stage], np.float64)[None, :]
                row = (normalized(row) if fusion.normalize == "l2" else row)[0]
                terms[stage] = row, self._along(stage, whole, first)
            first += length
        return of_sum(terms, whole)

    def _along(self, stage: str, whole: Rows, first: int) -> Rows:
        """Aᵀ F of a stage's term (``pipeline.fusion.linear``)."""
        fusion, length = self._spec.fusion, self._lengths[stage]
        if fusion.rule == "concat":
            return whole[first : first + length]
        along: Rows = whole if fusion.dim is None else projection(
            stage, fusion.dim, length).T @ whole  # fmt: skip
        return self.fused.weights[stage] * along

    def answer(self) -> dict[str, Any]:
        """The fields of a result that say what was answered, as the results topic has them."""
        fused = self.fused
        output: dict[str, Any] = (
            {"vector": None if fused.vector is None else fused.vector.tolist()}
            if fused.scores is None
            else {"label": fused.label, "scores": fused.scores}
        )
        return {"output": output, "weights": fused.weights, "attribution": fused.attribution}
