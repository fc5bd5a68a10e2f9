"""How this installation's ``motet`` is called, for commands that a user will copy."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def program() -> str:
    """``motet`` where that is this installation's, else its path, relative where it lies below."""
    ours = Path(sys.executable).with_name("motet")
    found = shutil.which("motet")
    if not ours.exists() or (found is not None and Path(found).resolve() == ours.resolve()):
        return "motet"
    try:
        return str(ours.relative_to(Path.cwd()))
    except ValueError:
        return str(ours)
