"""What the linter, the formatter, the import contracts and the types say of the source.

``make lint`` says the same. Here they run beside the other tests, on a core of their own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

pytestmark = [pytest.mark.early, pytest.mark.timeout(400)]


@pytest.mark.parametrize(
    "command", ["mypy", "lint-imports", "ruff check", "ruff format --check"], ids=str
)
def test_nothing_is_found(command: str) -> None:
    program, *arguments = command.split()
    done = subprocess.run(
        [BIN / program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
