"""The helpers stand in tests/support."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "support"))


@pytest.fixture
def tf32_allowed():
    """As if some other encoder of the process had let float32 products be TF32 ones."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)
