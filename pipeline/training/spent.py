"""What training has taken, for the card."""

from __future__ import annotations

import platform
import resource
import time
from importlib import metadata
from typing import Any

from pipeline import __version__
from pipeline.clock import monotonic_us


class Spent:
    """Wall and CPU seconds from its making on; the peak of memory is that of the whole process."""

    def __init__(self) -> None:
        self._wall_us, self._cpu_s = monotonic_us(), time.process_time()

    def told(self, samples: int) -> dict[str, Any]:
        """Up to now, in which so many samples were learned from."""
        wall_s = (monotonic_us() - self._wall_us) / 1e6
        return {
            "wall_s": round(wall_s, 3),
            "cpu_s": round(time.process_time() - self._cpu_s, 3),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "samples_per_s": round(samples / wall_s, 1) if wall_s > 0 else 0.0,
        }


def versions(*packages: str) -> dict[str, str]:
    """Of motet, Python, and what a model was trained with."""
    found = {name: metadata.version(name) for name in packages}
    return {"motet": __version__, "python": platform.python_version(), **found}
