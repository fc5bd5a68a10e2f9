"""The part of a pipeline that decides about event time, frozen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InputRule:
    """How one input takes part in a lane's event time.

    ``bound_us`` is B: the input's out-of-orderness plus the largest ``after`` of all stages
    (it is read for gating inputs only).
    """

    name: str
    gating: bool
    bound_us: int


@dataclass(frozen=True, slots=True)
class LaneSpec:
    """What all lanes of a pipeline share (contract section 3).

    ``before_us`` and ``after_us`` are the largest context of all stages.
    Refused by the pipeline file already: hop > size, no gating input.
    """

    inputs: tuple[InputRule, ...]
    size_us: int
    hop_us: int
    idle_us: int
    before_us: int = 0
    after_us: int = 0
    align_wait_us: int = 30_000_000
    open_bytes: int = 1 << 30

    @property
    def hold_us(self) -> int:
        """A: how long the lane waits, in event time, for what has fallen silent."""
        return max(rule.bound_us for rule in self.inputs if rule.gating) + self.idle_us
