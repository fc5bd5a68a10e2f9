"""Heads that read a stage's vector step by step: recurrent, or by convolution over time."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from pipeline.fusion.heads import SumHead
from pipeline.fusion.products import Rows, product

_ROWS_MAX = 64  # read at once: times steps and width, this bounds the memory


class SequenceHead(SumHead):
    """``SumHead`` whose term of a sequence is an affine map of what a reader makes of its steps.

    A step is its numbers, centred and scaled; a token is its row of the ``embedding``. What lies
    behind the last token is not read, and of a text without any the reader makes zeros. Stages
    that are no sequences are joined as they are. A reader runs once a window and stage, whatever
    the number of subsets that attribution asks for.
    """

    def term(self, stage: str, rows: Rows) -> Rows:
        if stage not in self.spec.sequences:
            return super().term(stage, rows)
        matrix = self.tensors[f"{stage}.matrix"]
        parts = [rows[first : first + _ROWS_MAX] for first in range(0, len(rows), _ROWS_MAX)]
        read = [self._read(stage, *self._steps(stage, part)) for part in parts]
        return product(np.concatenate(read) if read else np.zeros((0, len(matrix))), matrix)

    @abstractmethod
    def _read(self, stage: str, steps: Rows, lengths: NDArray[np.intp]) -> Rows:
        """Of ``steps`` (n, steps, d), zeros behind ``lengths`` (n,), the summary (n, h)."""

    def _steps(self, stage: str, rows: Rows) -> tuple[Rows, NDArray[np.intp]]:
        shape = self.spec.sequences[stage]
        if not shape.tokens:
            steps = rows.reshape(len(rows), shape.steps, shape.width)
            steps = (steps - self.tensors[f"{stage}.centre"]) * self.tensors[f"{stage}.scale"]
            return steps, np.full(len(rows), shape.steps)
        tokens = np.clip(np.rint(rows), 0, shape.width - 1).astype(np.intp)
        lengths = ((tokens > 0) * np.arange(1, shape.steps + 1)).max(axis=1)
        there = np.arange(shape.steps) < lengths[:, None]
        return self.tensors[f"{stage}.embedding"][tokens] * there[:, :, None], lengths


class LstmHead(SequenceHead):
    """The last state of a long short-term memory (Hochreiter and Schmidhuber, 1997; Gers, 2000).

    i, f, o = σ(·) and g = tanh(·) of x_t W + h_{t-1} U + b, one after another as i, f, g, o;
    c_t = f c_{t-1} + i g; h_t = o tanh(c_t); h after the last step is read.
    """

    def _read(self, stage: str, steps: Rows, lengths: NDArray[np.intp]) -> Rows:
        states = self.tensors[f"{stage}.states.matrix"]
        count, width = len(steps), len(states)
        h, c = np.zeros((count, width)), np.zeros((count, width))
        flat = steps.reshape(-1, steps.shape[2])
        inputs = product(flat, self.tensors[f"{stage}.inputs.matrix"])
        inputs = (inputs + self.tensors[f"{stage}.states.offset"]).reshape(count, -1, 4 * width)
        for at in range(int(lengths.max(initial=0))):
            gates = inputs[:, at] + product(h, states)
            i, f, o = (_sigmoid(gates[:, n * width : (n + 1) * width]) for n in (0, 1, 3))
            now = f * c + i * np.tanh(gates[:, 2 * width : 3 * width])
            on = (at < lengths)[:, None]
            c = np.where(on, now, c)
            h = np.where(on, o * np.tanh(now), h)
        return h


class CnnHead(SequenceHead):
    """Two convolutions over time, each with a relu, and the largest value of each over all steps.

    Zeros lie around the steps, so that a layer has as many as came in (Kim, Convolutional Neural
    Networks for Sentence Classification, 2014, with a second layer).
    """

    def _read(self, stage: str, steps: Rows, lengths: NDArray[np.intp]) -> Rows:
        there = (np.arange(steps.shape[1]) < lengths[:, None])[:, :, None]
        for layer in (0, 1):
            matrix = self.tensors[f"{stage}.filters{layer}.matrix"]
            kernel = len(matrix) // steps.shape[2]
            padded = np.pad(steps, ((0, 0), (kernel // 2, kernel // 2), (0, 0)))
            views = [padded[:, at : at + steps.shape[1]] for at in range(kernel)]
            rows = np.concatenate(views, axis=2).reshape(-1, len(matrix))
            found = product(rows, matrix) + self.tensors[f"{stage}.filters{layer}.offset"]
            steps = np.maximum(found, 0.0).reshape(*steps.shape[:2], -1) * there
        largest: Rows = steps.max(axis=1)  # a relu is never below the zeros behind the last step
        return largest


def _sigmoid(rows: Rows) -> Rows:
    found: Rows = 0.5 * (1.0 + np.tanh(0.5 * rows))
    return found
