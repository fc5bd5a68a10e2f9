"""Event time: a pure state machine for one lane. Standard library only; it is told, never asks."""

from pipeline.lane.lane import Lane
from pipeline.lane.merge import Merge, Waiting
from pipeline.lane.record import Applied, ClosedWindow, Holding, LaneCut, LaneRecord
from pipeline.lane.spec import InputRule, LaneSpec

__all__ = [
    "Applied",
    "ClosedWindow",
    "Holding",
    "InputRule",
    "Lane",
    "LaneCut",
    "LaneRecord",
    "LaneSpec",
    "Merge",
    "Waiting",
]
