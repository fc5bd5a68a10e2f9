"""A stage that fails window after window: when it counts as that, and what is said."""

from __future__ import annotations

import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipelines import CHAT, SECOND_US, broker_for, connector_for, load, sent, values
from shown import snapshot

from pipeline.clock import wall_us
from pipeline.local import run_local
from pipeline.monitor.sampler import Recent, Sample
from pipeline.monitor.state import StateWriter
from pipeline.tasks.host import RunControl
from pipeline.tasks.stage_health import (
    ERROR_SHOWN,
    PERIOD_US,
    StageHealth,
    StageTrouble,
    together,
)
from pipeline.tasks.telling import AGAIN_US, FAILING_AGAIN_US_MAX, Telling

SUPPORT = Path(__file__).parents[1] / "support"
SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "schemas" / "state.schema.json").read_text()
)
WALL_US = 1_790_000_000_000_000
BOOM = "KeyError: 'boom'"


def health(outcomes: str, step_us: int = SECOND_US) -> tuple[StageHealth, int]:
    """``x`` a failure, ``.`` an output, one each ``step_us``; and when the last was."""
    made, now_us = StageHealth(), 0
    for now_us, outcome in zip(range(0, len(outcomes) * step_us, step_us), outcomes, strict=True):
        made.settled(BOOM if outcome == "x" else None, now_us)
    return made, now_us


def trouble(outcomes: str, step_us: int = SECOND_US) -> StageTrouble | None:
    made, now_us = health(outcomes, step_us)
    return made.trouble("sound", now_us, WALL_US + now_us)


def test_a_stage_that_fails_from_the_start_is_told_of_at_its_first_window():
    assert trouble("x") == StageTrouble("sound", 1, 1, WALL_US, BOOM)
    assert trouble("xxx") == StageTrouble("sound", 3, 3, WALL_US, BOOM)


@pytest.mark.parametrize("outcomes", ["", ".", "." * 30, ".x..", "....x" * 8, ".x" * 8])
def test_a_poison_record_now_and_then_is_no_trouble(outcomes):
    assert trouble(outcomes) is None


def test_a_stage_that_begins_to_fail_is_told_of_from_its_first_failure_on():
    found = trouble("." * 25 + "x" * 12)
    assert found is not None
    assert (found.windows, found.failed, found.over) == (12, 12, False)
    assert found.since_us == WALL_US + 25 * SECOND_US


def test_one_that_works_again_is_over():
    assert not trouble("x" * 30 + "." * 2).over
    found = trouble("x" * 30 + "." * 21)
    assert found is not None
    assert found.over
    again = trouble("x" * 30 + "." * 21 + "x" * 20)
    assert (again.windows, again.failed, again.over) == (20, 20, False)


def test_it_stays_trouble_while_half_of_the_windows_fail_and_how_many_is_said():
    found = trouble("x." * 30)
    assert (found.windows, found.failed, found.over) == (60, 30, False)


def test_where_windows_are_rare_the_newest_two_are_looked_at():
    rare_us = 3 * PERIOD_US
    assert trouble("..x", rare_us) is None
    assert trouble("..xx", rare_us).failed == 2
    assert trouble("..xx..", rare_us).over


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2 * PERIOD_US)), max_size=60))
def test_it_never_tells_of_more_failures_than_windows_nor_of_a_stage_that_works(steps):
    made, now_us, failures, windows, first_us = StageHealth(), 0, 0, 0, None
    for failed, pause_us in steps:
        now_us += pause_us
        made.settled(BOOM if failed else None, now_us)
        windows, failures = windows + 1, failures + failed
        first_us = now_us if failed and first_us is None else first_us
        found = made.trouble("s", now_us, now_us)
        assert made.failed_total == failures
        if found is None:
            continue
        assert 1 <= found.failed <= min(found.windows, failures)
        assert found.windows <= windows
        assert first_us <= found.since_us <= now_us
        if failures == windows:
            assert found == StageTrouble("s", windows, windows, first_us, BOOM)
    if not failures:
        assert made.trouble("s", now_us, now_us) is None


def test_what_is_told_is_one_line_that_a_terminal_can_show():
    made = StageHealth()
    made.settled("ValueError: \x1b[2J two\nlines " + "x" * 400, 0)
    said = str(made.trouble("sound", 0, WALL_US))
    assert said.startswith(
        "stages.sound: it failed on 1 of 1 window since 2026-09-21T14:13:20Z (the newest: "
        "ValueError: \\x1b[2J two lines xx"
    )
    assert said.endswith("xx...); results go on without it; `motet dlq list FILE` shows each")
    assert len(said) < ERROR_SHOWN + 200


def test_owners_that_fail_alike_are_told_of_together():
    one = StageTrouble("a", 10, 9, 50, "E: one")
    two = StageTrouble("a", 4, 4, 20, "E: two")
    gone = StageTrouble("a", 7, 7, 10, "E: gone", over=True)
    other = StageTrouble("b", 1, 1, 30, "E: b")
    assert together([one, gone, two, other]) == (
        StageTrouble("a", 14, 13, 20, "E: two"),
        other,
    )
    assert together([gone, one]) == (one,)
    assert together([gone]) == (gone,)


# -- said -----------------------------------------------------------------------------------


def test_it_is_said_at_once_then_ever_less_often_and_not_after_the_last_failure():
    lines: list[str] = []
    telling = Telling(lines.append)
    said_at = []
    for second in range(2_000):
        windows = min(second, 1_500) + 1
        one = StageTrouble("sound", windows, windows, WALL_US, BOOM)
        telling.look(second * SECOND_US, second, [], [], [one])
        if len(lines) > len(said_at):
            said_at.append(second)
    pauses = [b - a for a, b in itertools.pairwise(said_at)]
    assert said_at[0] == 0
    assert pauses[:5] == [10, 20, 40, 80, 160]
    assert {*pauses[5:]} == {FAILING_AGAIN_US_MAX // SECOND_US}
    assert said_at[-1] <= 1_500 + FAILING_AGAIN_US_MAX // SECOND_US
    assert lines[0] == f"motet: warning: {StageTrouble('sound', 1, 1, WALL_US, BOOM)}"


def test_that_it_works_again_is_said_once_and_a_new_trouble_is_told_at_once():
    lines: list[str] = []
    telling = Telling(lines.append)
    bad = StageTrouble("sound", 3, 3, WALL_US, BOOM)
    over = bad._replace(over=True)
    for now_us, one in enumerate([over, bad, over, over, bad._replace(failed=1, windows=1)]):
        telling.look(now_us, now_us, [], [], [one])
    assert [line.partition(" since")[0] for line in lines] == [
        "motet: warning: stages.sound: it failed on 3 of 3 windows",
        "motet: stages.sound works again",
        "motet: warning: stages.sound: it failed on 1 of 1 window",
    ]
    assert AGAIN_US > 5


def test_the_state_has_it_in_figures_and_in_words():
    shown = snapshot(
        troubles=[
            StageTrouble("words", 12, 11, WALL_US, BOOM),
            StageTrouble("gone", 1, 1, WALL_US, BOOM, over=True),
        ]
    )
    sample = Sample(0, shown)
    state = StateWriter(load(CHAT)).state(Recent(sample, sample, sample), [])
    jsonschema.validate(json.loads(json.dumps(state)), SCHEMA)
    [words] = state["stages"]
    since = "2026-09-21T14:13:20.000Z"
    assert words["failing"] == {"windows": 12, "failed": 11, "since": since, "error": BOOM}
    assert state["warnings"] == [str(shown.troubles[0])]


def test_a_live_run_says_that_a_stage_fails_and_that_it_works_again(monkeypatch):
    monkeypatch.setattr("pipeline.tasks.stage_health.PERIOD_US", 1)  # the newest two windows
    monkeypatch.setattr("pipeline.tasks.ingest_runner.REPORT_US", 10_000)
    changes = {"stages.loud": {"encoder": "user_encoders:Upper", "of": "chat", "out": "out.loud"}}
    spec = load(CHAT, changes, folder=SUPPORT)
    broker = broker_for(spec)
    said: list[str] = []
    heard = threading.Condition()
    views = []

    def say(line: str) -> None:
        with heard:
            said.append(line)
            heard.notify_all()

    def await_line(part: str) -> None:
        with heard:
            assert heard.wait_for(lambda: any(part in line for line in said), 30), said

    control = RunControl(say=say, show=views.append)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(run_local, spec, connector_for(broker), control)
        try:
            assert control.ready.wait(30)
            for second in range(4):  # the fourth closes the third
                broker.append(sent("in.chat", b"poison", second * SECOND_US))
            await_line("stages.loud: it failed on ")
            found = views[0].snapshot()
            assert [one.stage for one in found.troubles] == ["loud"]
            assert wall_us() - 60 * SECOND_US < found.troubles[0].since_us <= wall_us()
            for second in range(4, 9):
                broker.append(sent("in.chat", b"sound", second * SECOND_US))
            await_line("motet: stages.loud works again")
        finally:
            control.stop.set()
        run.result(30)
    [failing] = {line.partition(" since")[0] for line in said if "it failed on" in line} & {
        f"motet: warning: stages.loud: it failed on {n} of {n} window{'s' * (n > 1)}"
        for n in range(1, 4)
    }
    assert failing
    assert any("(the newest: ValueError: poison: half a pair" in line for line in said)
    assert views[0].snapshot().figures.value("motet_stage_failures_total", "loud") == 4
    results = values(broker, "out.results")
    assert sum("loud" in result["failed"] for result in results) == 4
