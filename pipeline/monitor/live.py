"""What a monitor shows of how good the answers are: it is told, and knows nothing of labels."""

from __future__ import annotations

from typing import Any, Protocol

from pipeline.tasks.figures import Figures


class Live(Protocol):
    """May be asked from any thread, and answers at once with what it knew last."""

    def figures(self) -> Figures:
        """For ``/metrics``, beside those of the run."""

    def state(self) -> dict[str, Any]:
        """The part ``evaluation`` of ``/api/state``."""

    def close(self) -> None: ...
