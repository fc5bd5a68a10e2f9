"""What a run counts, to new numbers of replicas; and what is told of it."""

from __future__ import annotations

import pytest
from pipelines import LOBBY, load

from pipeline.tasks.figures import Figures
from pipeline.tasks.stage_scaling import Numbers, StageScaling

ONE = Numbers(1, 0, 0, 0, 0.0)
STAGE = "colour"


class Counting:
    """Figures of a run in which each window of one stage takes ``window_s``."""

    def __init__(self, window_s: float = 0.1) -> None:
        self._window_s = window_s
        self.figures = Figures()
        self.scaling = StageScaling(load(LOBBY, {f"stages.{STAGE}.replicas": {"min": 1, "max": 4}}))
        self.stages = [view.stage for view in self.scaling.views()]
        self.now_s = 0.0

    def second(self, windows: int, waiting: int, numbers: Numbers = ONE, lag: int = 0):
        """A second in which so many windows ran and as many wait at its end."""
        self.now_s += 1
        for _ in range(windows // 2):
            self.figures.observe("motet_stage_batch_size", 2, STAGE)
            self.figures.observe("motet_stage_compute_seconds", 2 * self._window_s, STAGE)
        self.figures.count("motet_records_total", 2 * windows, "cam")
        self.figures.gauge("motet_stage_queue_windows", waiting, STAGE)
        self.figures.gauge("motet_consumer_lag_records", lag, "in.cam", "0")
        all_ = {stage: numbers if stage == STAGE else ONE for stage in self.stages}
        return self.scaling.look(self.now_s, self.figures, all_, lambda _: None)


def test_a_backlog_is_answered_in_seconds_and_told_with_its_reason():
    run = Counting()
    for _ in range(5):
        assert run.second(10, 0) == []
    changes = [change for second in range(5) for change in run.second(10, 100 * (second + 1))]
    [first, *_] = changes
    assert (first.stage, first.before, first.after) == (STAGE, 1, 4)
    assert str(first).startswith("stages.colour: 1 -> 4 replicas: 1")
    assert "arrive and 10 windows a second are done" in first.why
    [view] = [view for view in run.scaling.views() if view.stage == STAGE]
    assert (view.replicas_min, view.replicas_max, view.wanted) == (1, 4, 4)
    assert view.why == str(changes[-1])


def test_what_the_logs_hold_is_a_backlog_only_where_the_replicas_are_busy():
    held_up = Counting()
    idle = Counting()
    for second in range(6):
        found = held_up.second(10, 10, lag=1000 * second)
        assert idle.second(4, 0, lag=1000 * second) == []
    assert found or held_up.scaling.views()[1].wanted > 1


def test_a_limit_is_said_once_in_ten_minutes():
    run = Counting()
    four = Numbers(4, 0, 0, 0, 0.0)
    lines = []
    for second in range(900):
        run.second(40, 500 + second, four)
        lines += run.scaling.limits(run.now_s)
    assert lines == ["stages.colour: replicas.max = 4"] * 2


def test_it_looks_once_a_second():
    run = Counting()
    assert run.scaling.due(0.0)
    run.second(0, 0)
    assert not run.scaling.due(1.5)
    assert run.scaling.due(2.0)


@pytest.mark.parametrize("failed", [1, 3])
def test_replicas_that_do_not_start_are_waited_for(failed):
    run = Counting()
    for second in range(12):
        changes = run.second(10, 100 * second, ONE._replace(failed=failed))
    assert changes == []
    [view] = [view for view in run.scaling.views() if view.stage == STAGE]
    assert view.limit == "replicas that were added did not start"
