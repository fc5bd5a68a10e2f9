"""All questions of one state."""

from __future__ import annotations

from typing import Any

from pipeline.monitor.answers.batch import why_batches_are_small
from pipeline.monitor.answers.bottleneck import where_is_the_bottleneck
from pipeline.monitor.answers.finding import Finding, State
from pipeline.monitor.answers.verdict import verdict
from pipeline.monitor.answers.window import why_no_window

LANES_TOLD = 16


def answers_to(state: State) -> dict[str, Any]:
    """The part ``answers`` of ``/api/state``; ``more`` has a line for each lane, or stage."""
    level, worst, troubles = verdict(state)
    window, lanes = why_no_window(state)
    batch, stages = why_batches_are_small(state)
    told = [{"level": each.level, **each.finding.json()} for each in troubles]
    return {
        "verdict": {"level": level, **worst.json(), "troubles": told},
        "bottleneck": _answer(where_is_the_bottleneck(state), []),
        "window": _answer(window, lanes[:LANES_TOLD]),
        "batch": _answer(batch, stages),
    }


def _answer(main: Finding, more: list[Finding]) -> dict[str, Any]:
    return {**main.json(), "more": [each.json() for each in more]}
