"""The models and checks in tests/support are library code for these tests: it is on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "support"))
pytest.register_assert_rewrite("lane_checks")
