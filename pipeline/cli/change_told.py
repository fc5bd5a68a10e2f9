"""Whether a run has what was changed, for the commands that change it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.cli.run_state import run_address, run_pipeline
from pipeline.cli.terminal import stopping
from pipeline.errors import MotetError, Unreachable

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec

WAIT_S_MAX = 30.0
LOOK_S = 0.2


class Told(NamedTuple):
    """``running``: None where it is not known. ``why``: where no run answers."""

    running: bool | None
    taken: bool
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"running": self.running, "taken": self.taken}


def await_run(
    spec: PipelineSpec, url: str | None, values: Mapping[str, Any], *, wait: bool
) -> Told:
    """Whether the run has all these values; with ``wait`` once it has, 30 s at most.

    Raises MotetError where it does not take them within that time.
    """
    if spec.metrics.port == 0 and url is None and not wait:
        return Told(None, False, "a run takes it over within seconds, else the next start does")
    address = run_address(spec, url)
    try:
        with stopping() as stop:
            for _ in range(round(WAIT_S_MAX / LOOK_S) if wait else 1):
                found = run_pipeline(spec, address, named=url is not None)
                if all(found["values"].get(key) == value for key, value in values.items()):
                    return Told(True, True)
                if found["host"] == "local":
                    return Told(True, False, "the run is in one process: its next start has it")
                if stop.wait(LOOK_S if wait else 0):
                    raise KeyboardInterrupt
    except Unreachable as error:
        return Told(False, False, f"it takes effect at the next start: {error}")
    if wait:
        raise MotetError(
            f"the run at {address} did not take it over within {WAIT_S_MAX:g} s, though it is in "
            "force; see that the run reads the same folder"
        )
    return Told(True, False, f"the run at {address} takes it over within seconds")


def taken_words(told: Told) -> str:
    return "the run has it in force" if told.taken else told.why
