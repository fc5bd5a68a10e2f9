"""Which numbers of the stages' vectors an answer rests on: integrated gradients, adding up.

Integrated gradients (Sundararajan, Taly and Yan, Axiomatic Attribution for Deep Networks, 2017):
a number's share is its distance from a baseline times the mean gradient on the straight way
from there. The shares add up to what the answer differs from the baseline's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.fusion.heads import HeadSpec
from pipeline.fusion.linear import Vectors
from pipeline.fusion.products import Rows, normalized

TOLERANCE = 1e-5  # of what the shares add up to, of 1 or of the difference if that is larger
_PANELS, _NODES = 8, 8
_PANEL_TOLERANCE = 1e-8
_HALVED_MAX = 40


@dataclass(frozen=True, slots=True)
class Shares:
    """``by_stage`` (d,) each; ``difference``: the worth less that of the baselines.

    ``baselines``: what each stage's was, ``mean`` (of its training) or ``zeros``. ``panels``:
    of the way, 0 where the integral is known in closed form.
    """

    by_stage: dict[str, Rows]
    difference: float
    baselines: dict[str, str]
    panels: int

    @property
    def total(self) -> float:
        return float(sum(shares.sum() for shares in self.by_stage.values()))

    @property
    def complete(self) -> bool:
        return abs(self.total - self.difference) <= TOLERANCE * max(1.0, abs(self.difference))


def of_head(spec: HeadSpec, tensors: Mapping[str, Rows], vectors: Vectors, label: int) -> Shares:
    """Of a label's logit, over the temperature; ``vectors`` (d,) of the stages that are there.

    The way runs over all stages at once, with all of them there: what being there is worth by
    itself is in the baseline. That is each stage's training mean where the head standardises,
    else zeros. A vector that the head brings to length 1 goes its way after that.
    """
    stages = [stage for stage in sorted(spec.lengths) if stage in vectors]
    rows = {stage: np.asarray(vectors[stage], np.float64)[None, :] for stage in stages}
    if spec.normalize == "l2":
        rows = {stage: normalized(row) for stage, row in rows.items()}
        spec = replace(spec, normalize="none")
    arrays = {name: torch.from_numpy(np.array(a, np.float64)) for name, a in tensors.items()}
    twin = TorchHead(spec, arrays)
    centres = {stage: arrays.get(f"{stage}.centre") for stage in stages}
    baselines = tuple(
        torch.zeros(1, spec.lengths[stage], dtype=torch.float64) if centre is None
        else centre.reshape(1, -1).clone()
        for stage, centre in centres.items()
    )  # fmt: skip
    given = tuple(torch.from_numpy(rows[stage]) for stage in stages)

    def logit(*inputs: Tensor) -> Tensor:
        return twin.logits(dict(zip(stages, inputs, strict=True)))[:, label]

    found, difference, panels = integrated_gradients(logit, given, baselines)
    by_stage = {stage: shares.numpy() for stage, shares in zip(stages, found, strict=True)}
    told = {stage: "zeros" if c is None else "mean" for stage, c in centres.items()}
    return Shares(by_stage, difference, told, panels)


def integrated_gradients(
    worth: Callable[..., Tensor], given: Sequence[Tensor], baselines: Sequence[Tensor]
) -> tuple[list[Tensor], float, int]:
    """Shares (d,) of each input, ``worth(given) - worth(baselines)``, and how many panels it took.

    ``given`` and ``baselines``: (1, d) each. The way is cut into panels, with Gauss and
    Legendre's rule in each. What the gradients of a panel add up to is compared with what the
    worth gains over it; where they differ (a relu turns there) it is halved. So the shares add
    up, which equal steps would only near: an error falls with their number.
    """
    nodes, weights = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(_NODES))
    ways = [there - base for there, base in zip(given, baselines, strict=True)]

    def at(alphas: Tensor) -> list[Tensor]:
        return [b + alphas[:, None] * w for b, w in zip(baselines, ways, strict=True)]

    found = [torch.zeros_like(way[0]) for way in ways]
    edges = torch.linspace(0, 1, _PANELS + 1, dtype=torch.float64)
    lows, highs, panels = edges[:-1], edges[1:], 0
    ends = worth(*at(edges[[0, -1]]))
    difference = float((ends[1] - ends[0]).detach())
    enough = _PANEL_TOLERANCE * max(1.0, abs(difference))
    for halved in range(_HALVED_MAX + 1):
        half = (highs - lows) / 2
        alphas = ((lows + highs) / 2)[:, None] + half[:, None] * nodes
        inputs = [each.detach().requires_grad_() for each in at(alphas.reshape(-1))]
        slopes = torch.autograd.grad(worth(*inputs).sum(), inputs)
        scale = (half[:, None] * weights)[:, :, None]
        shares = [
            (scale * slope.reshape(*alphas.shape, -1)).sum(dim=1) * way
            for slope, way in zip(slopes, ways, strict=True)
        ]
        with torch.no_grad():
            gains = worth(*at(highs)) - worth(*at(lows))
        wrong = (sum(each.sum(dim=1) for each in shares) - gains).abs() > enough
        if halved == _HALVED_MAX:
            wrong[:] = False
        for total, each in zip(found, shares, strict=True):
            total += each[~wrong].sum(dim=0)
        panels += int((~wrong).sum())
        middle = (lows + highs)[wrong] / 2
        lows, highs = torch.cat([lows[wrong], middle]), torch.cat([middle, highs[wrong]])
        if not len(lows):
            break
    return found, difference, panels


class TorchHead:
    """The arithmetic of ``pipeline.fusion.heads`` with all given stages there, in torch.

    Its gradients are wanted; what is served is the other, and a test holds the two together.
    """

    def __init__(self, spec: HeadSpec, tensors: Mapping[str, Tensor]) -> None:
        self._spec = spec
        self._tensors = tensors

    def logits(self, vectors: Mapping[str, Tensor]) -> Tensor:
        """Over the temperature, shape (n, labels), of vectors (n, d) by stage."""
        how = {"gated": self._gated, "attention": self._attention, "late": self._late}
        made = how.get(self._spec.rule, self._sum)(vectors)
        return made / self._spec.temperature

    def _affine(self, stage: str, rows: Tensor) -> Tensor:
        centre = self._tensors.get(f"{stage}.centre")
        if centre is not None:
            rows = (rows - centre) * self._tensors[f"{stage}.scale"]
        if self._spec.squares:
            rows = torch.cat([rows, rows * rows], dim=1)
        return rows @ self._tensors[f"{stage}.matrix"]

    def _with_offset(self, stage: str, rows: Tensor) -> Tensor:
        return self._affine(stage, rows) + self._tensors[f"{stage}.offset"]

    def _layers(self, rows: Tensor) -> Tensor:
        for number, activation in enumerate(self._spec.layers):
            if activation == "relu":
                rows = torch.relu(rows)
            elif activation == "squares":
                rows = torch.cat([rows, rows * rows], dim=1)
            elif activation == "cosine":
                rows = torch.cos(rows)
            matrix, offset = (self._tensors[f"layer{number}.{n}"] for n in ("matrix", "offset"))
            rows = rows @ matrix + offset
        return rows

    def _weights(self, stages: Any) -> dict[str, float]:
        given = self._spec.weights
        factor = sum(given.values()) / sum(given[stage] for stage in stages)
        return {stage: given[stage] * factor for stage in stages}

    def _sum(self, vectors: Mapping[str, Tensor]) -> Tensor:
        plain = self._spec.rule == "concat"
        factors = dict.fromkeys(vectors, 1.0) if plain else self._weights(vectors)
        z = self._tensors["bias"]
        for stage, rows in vectors.items():
            z = z + factors[stage] * self._affine(stage, rows) + self._tensors[f"{stage}.offset"]
        return self._layers(z)

    def _gated(self, vectors: Mapping[str, Tensor]) -> Tensor:
        t = [torch.tanh(self._with_offset(stage, rows)) for stage, rows in vectors.items()]
        mean = torch.stack(t).mean(dim=0)
        scores = [
            each @ self._tensors[f"{stage}.query"]
            + mean @ self._tensors[f"{stage}.context"]
            + self._tensors[f"{stage}.gate"][0]
            for stage, each in zip(vectors, t, strict=True)
        ]
        gates = torch.softmax(torch.stack(scores), dim=0)
        return self._layers((gates[:, :, None] * torch.stack(t)).sum(dim=0))

    def _attention(self, vectors: Mapping[str, Tensor]) -> Tensor:
        tokens = torch.stack(
            [torch.tanh(self._with_offset(stage, rows)) for stage, rows in vectors.items()], dim=1
        )
        queries = self._tensors["queries"]
        attention = torch.softmax(tokens @ queries, dim=1)  # (n, stages, queries)
        values = tokens @ self._tensors["values"]
        split = values.reshape(*values.shape[:2], queries.shape[1], -1)
        return self._layers((attention[:, :, :, None] * split).sum(dim=1).flatten(1))

    def _late(self, vectors: Mapping[str, Tensor]) -> Tensor:
        terms = {
            stage: torch.log_softmax(self._with_offset(stage, rows), dim=1)
            for stage, rows in vectors.items()
        }
        if self._spec.combine == "product":
            prior = self._tensors["prior"]
            logits = prior
            for stage, term in terms.items():
                logits = logits + self._spec.weights[stage] * (term - prior)
            return torch.log_softmax(logits, dim=1)
        weights = self._weights(vectors)
        total = sum(weights.values())
        mixed = torch.stack([weights[s] / total * term.exp() for s, term in terms.items()])
        return torch.log(mixed.sum(dim=0).clamp_min(torch.finfo(torch.float64).tiny))


def of_sum(terms: Mapping[str, tuple[Rows, Rows]], fused: Rows) -> Shares:
    """Of ``⟨F, F⟩ / ‖F‖²`` where F is a sum: exact, and a stage's shares add up to its attribution.

    ``terms`` by stage: n(f), and how far one unit of each of its numbers moves F along F, that is
    Aᵀ F for a term A n(f); both of shape (d,). The share of number j is n(f)ⱼ (Aᵀ F)ⱼ / ‖F‖². The
    baseline is zeros after the normalising, of which F is 0. Where F = 0 all shares are 0.
    """
    square = float(fused @ fused)
    by_stage = {
        stage: row * along / square if square > 0 else np.zeros(len(row))
        for stage, (row, along) in terms.items()
    }
    return Shares(by_stage, float(square > 0), dict.fromkeys(terms, "zeros"), 0)
