"""The run's last hour: numbered points, bounded, in columns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from pipelines import LOBBY, broker_for, connector_for, load
from shown import Shown, ask, monitor_of, snapshot
from states import figures, lane

from pipeline.monitor.history import MARKS_MAX, POINTS_MAX, STEP_US, History

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "schemas" / "history.schema.json").read_text("utf-8")
)


def run_of(minute: int):
    return snapshot(figures=figures(minute), lanes=(lane(0), lane(1)), taken_us=minute * 60_000_000)


def told(history: History, points: int, first: int = 0) -> None:
    """A run that grows by one minute's figures a point, looked at more often than there are."""
    for number in range(first, first + points + 1):
        for early_us in (0, STEP_US // 2):
            history.take(number * STEP_US + early_us, run_of(number + 1))


def test_a_point_is_what_happened_since_the_one_before():
    history = History()
    told(history, 3)
    found = history.since(0)
    jsonschema.validate(found, SCHEMA)
    assert (found["last"], len(found["at_ms"])) == (3, 3)
    seconds = STEP_US / 1e6
    assert found["rates"]["records"] == [pytest.approx(1800 / seconds)] * 3
    assert found["rates"]["windows"] == [pytest.approx(120 / seconds)] * 3
    assert found["rates"]["commits"] == [pytest.approx(240 / seconds)] * 3
    assert found["rates"]["late"] == found["rates"]["dead_letters"] == [0, 0, 0]
    assert 0.25 < found["latency"]["p50"][0] < 0.5
    assert found["busy"].keys() == {"sound", "colour", "words"}
    assert all(shares == [pytest.approx(0.1)] * 3 for shares in found["busy"].values())
    assert found["lag"] == {"mic": [0] * 3, "cam": [0] * 3, "chat": [0] * 3}
    assert history.since(2)["at_ms"] == found["at_ms"][2:]
    assert history.since(3)["at_ms"] == []


def test_the_oldest_points_are_let_go_and_numbers_go_on():
    history = History()
    told(history, POINTS_MAX + 5)
    found = history.since(0)
    assert (found["last"], len(found["at_ms"])) == (POINTS_MAX + 5, POINTS_MAX)
    assert history.since(POINTS_MAX + 4)["at_ms"] == found["at_ms"][-1:]
    history.begin()  # another run
    assert (history.since(0)["at_ms"], history.since(0)["last"]) == ([], POINTS_MAX + 5)
    told(history, 1, first=9_000)
    assert history.since(POINTS_MAX + 5)["last"] == POINTS_MAX + 6


def test_restarts_are_marked_where_they_took_place():
    history = History()
    for number in range(MARKS_MAX + 9):
        now = run_of(number + 1)
        now.figures.count("motet_actor_restarts_total", number, "encoder", "died")
        history.take(number * STEP_US, now)
    marks = history.since(0)["marks"]
    assert len(marks) == MARKS_MAX
    assert marks[-1] == {
        "at_ms": (MARKS_MAX + 9) * 60_000,
        "words": "encoder was started anew: died",
    }
    assert len(history.since(MARKS_MAX + 7)["marks"]) == 1


def test_an_input_whose_end_is_not_known_has_a_gap():
    history = History()
    told(history, 1)
    unknown = replace(lane(0), ends={"mic": None, "cam": 700, "chat": None})
    history.take(9 * STEP_US, replace(run_of(9), lanes=(unknown,)))
    assert history.since(0)["lag"] == {"mic": [0, None], "cam": [0, 100], "chat": [0, None]}


def test_it_is_asked_over_http():
    spec = load(LOBBY)
    with monitor_of(spec, connector_for(broker_for(spec)), Shown()) as monitor:
        jsonschema.validate(json.loads(ask(monitor, "/api/history").content), SCHEMA)
        assert ask(monitor, "/api/history?after=9999999").status == 200
        answer = ask(monitor, "/api/history?after=x")
        assert (answer.status, answer.text) == (
            400,
            "after = x: not a number; write the last one that you have\n",
        )
        assert json.loads(ask(monitor, "/api/streams?find=a").content) == {
            "streams": [],
            "count": 0,
        }
