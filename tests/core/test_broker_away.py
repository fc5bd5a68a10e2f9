"""A run whose broker is away waits for it; told to stop, it ends in time and says what is left."""

from __future__ import annotations

import queue
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
from pipelines import CHAT, LOBBY, SECOND_US, broker_for, connector_for, load, sent, values

from actors.fusion import FusionActor
from pipeline.errors import Fenced, MotetError, Transient, Unreachable
from pipeline.local import run_local
from pipeline.tasks import ending, fusion_runner
from pipeline.tasks.ending import await_readable
from pipeline.tasks.host import RunControl
from pipeline.tasks.retry import Retry
from pipeline.tasks.starting import SlotOwner, check_topics

PATIENCE_S = 30.0  # far above what anything here takes; reached only where a test fails


class Away:
    """A broker that answers no step of these names, from when it is told to."""

    def __init__(self, *steps: str, error: type[MotetError] = Transient) -> None:
        self.steps, self._error = steps, error
        self.asked = threading.Event()

    def __call__(self, step: str, _port: object) -> None:
        if step in self.steps:
            self.asked.set()
            raise self._error("the broker is away")


@pytest.fixture
def running():
    """A run of one window so far, told to stop at the end; its broker, control, result, words."""
    spec = load(CHAT, {"commit_interval": "1ms"})
    broker = broker_for(spec, lanes=1)
    broker.append(sent("in.chat", b"a", 0))
    broker.append(sent("in.chat", b"b", 10 * SECOND_US))
    with ThreadPoolExecutor(1) as pool:
        said: queue.SimpleQueue[str] = queue.SimpleQueue()
        control = RunControl(say=said.put)
        run = pool.submit(run_local, spec, connector_for(broker), control)
        with broker.changed:
            assert broker.changed.wait_for(lambda: values(broker, "out.results"), PATIENCE_S)
        yield broker, control, run, said
        control.stop.set()


def test_what_could_not_be_committed_is_told_and_made_again(running):
    broker, control, run, _said = running
    control.drain_s = 0.2
    broker.hook = away = Away("commit")
    broker.append(sent("in.chat", b"c", 20 * SECOND_US))
    assert away.asked.wait(PATIENCE_S)
    control.stop.set()
    with pytest.raises(MotetError, match="results that are not committed") as caught:
        run.result(PATIENCE_S)
    assert caught.value.exit_code == 1
    assert "made again after the next start" in str(caught.value)
    broker.hook = None
    spec = load(CHAT, {"commit_interval": "1ms"})
    run_local(spec, connector_for(broker), RunControl(until_end=True))
    starts = [value["window"]["start_us"] for value in values(broker, "out.results")]
    assert starts == [0, 10 * SECOND_US, 20 * SECOND_US]


def test_a_commit_that_fails_again_and_again_is_told_and_the_run_is_not_ready(running, monkeypatch):
    monkeypatch.setattr(fusion_runner, "FAILING_US", 1)
    broker, _control, _run, said = running
    broker.hook = away = Away("produce")
    broker.append(sent("in.chat", b"c", 20 * SECOND_US))
    told = r"motet: slot 0 has tried to commit for \d s: the broker is away"
    while re.fullmatch(told, said.get(timeout=PATIENCE_S)) is None:
        pass
    away.steps = ()
    with broker.changed:
        assert broker.changed.wait_for(lambda: len(values(broker, "out.results")) == 2, PATIENCE_S)


def test_where_nothing_is_in_flight_a_broker_that_is_away_is_no_failure(running, monkeypatch):
    broker, control, run, _said = running
    broker.hook = away = Away("poll", "stable_ends", "log_ends")
    assert away.asked.wait(PATIENCE_S)
    control.stop.set()
    totals, _ = run.result(PATIENCE_S)
    assert totals.windows == 1


def test_a_broker_that_never_answers_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(ending, "READABLE_S_MAX", 0.05)
    spec = load(LOBBY)
    control = connector_for(broker_for(spec)).control()
    layout = check_topics(spec, control)
    never, said = threading.Event(), []
    monkeypatch.setattr(control, "log_ends", lambda _partitions: never.wait(PATIENCE_S))
    await_readable(spec, layout, control, said.append)
    never.set()
    assert said == [
        "motet: warning: readers may see the last results a little later: "
        "the broker gave no answer within 0.05 s"
    ]


def test_a_fusion_half_tries_a_transaction_no_more_once_its_time_is_over():
    spec = load(CHAT)
    broker = broker_for(spec, 1)
    connector = connector_for(broker)
    with closing(connector.control()) as control:
        layout = check_topics(spec, control)
    actor = FusionActor(spec, connector, layout, [0], "run", {"words": 8}, None, False)
    actor.fence()
    broker.hook = away = Away("commit")
    with ThreadPoolExecutor(1) as pool:
        claim = pool.submit(actor.recover)  # its first transaction
        assert away.asked.wait(PATIENCE_S)
        actor.stop(0.1)
        assert "stopped before a transaction was finished" in claim.result(PATIENCE_S).text


def test_one_that_stands_in_for_a_dead_owner_waits_for_the_broker():
    """A first contact that fails ends a start; a run that goes on waits."""
    spec = load(LOBBY, {"slots": 1})
    broker = broker_for(spec, lanes=1)
    connector = connector_for(broker)
    with closing(connector.control()) as control:
        identity = check_topics(spec, control).identity(spec, 0, "run")
    pause = Retry(threading.Event())
    first = SlotOwner(identity, connector, pause)
    first.fence()
    first.recover(spec)
    broker.hook = Away("open", "committed", error=Unreachable)
    with pytest.raises(Unreachable):
        SlotOwner(identity, connector, pause).fence()
    again = SlotOwner(identity, connector, pause, again=True)
    with pytest.raises(Transient, match="away"):
        again.fence()
    with pytest.raises(Transient, match="away"):
        again.recover(spec)
    assert not again.is_ours()
    broker.hook = None
    assert again.is_ours()
    other = SlotOwner(replace(identity, owner="other"), connector, pause)
    other.fence()
    assert again.is_ours()  # it has not claimed it yet
    other.recover(spec)
    with pytest.raises(Fenced, match="took over"):
        again.is_ours()
