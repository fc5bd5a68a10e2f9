"""Functions of tensors that run as one operation."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


def one_call(function: Callable[P, T]) -> Callable[P, T]:
    """The function in TorchScript: it gives up the interpreter once, not at every step.

    Step by step a batch takes the interpreter back some 500 times and waits each time for
    whatever thread has it; with everything else of a pipeline in the same process that halves
    its speed (docs/BENCHMARKS.md). The same kernels run in the same order, so the bits are the
    same. Torch advises ``torch.compile`` instead, which needs a C++ compiler where it runs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # that advice
        scripted: Callable[P, T] = torch.jit.script(function)
    return scripted
