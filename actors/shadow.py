"""Ends the process where ``import pipeline`` would find another file than motet's own package.

Imported for that alone, and first, by the entry point: ``python -m`` and PYTHONPATH put folders
before the installed packages, and a user may well have a ``pipeline.py``. It is not run.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path


def hiding(package: str = "pipeline") -> str | None:
    """The file that is found for the package, where that is not the one beside this package."""
    own = Path(__file__).resolve().parents[1] / package / "__init__.py"
    spec = find_spec(package)
    if spec is None:
        return "nothing"
    found = spec.origin or next(iter(spec.submodule_search_locations or ()), "nothing")
    return None if Path(found).resolve() == own else found


_found = hiding()
if _found is not None:
    sys.stderr.write(
        f"motet: error: import pipeline = {_found}: it hides the package of motet, since its "
        "folder comes first on the import path; call the `motet` command without PYTHONPATH "
        "(or `python -P -m actors`), or rename it\n"
    )
    raise SystemExit(2)
