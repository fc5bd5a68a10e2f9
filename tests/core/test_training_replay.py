"""Recorded topics read again for training: nothing is missing for being slow, or for others."""

from __future__ import annotations

from contextlib import closing

from pipelines import CHAT, SECOND_US, broker_for, connector_for, load, sent

from pipeline.encoders.checking import check_pipeline
from pipeline.tasks.host import RunControl
from pipeline.tasks.starting import check_topics
from pipeline.training.replay import Replayed, replay

WINDOWS = 300


def test_a_backlog_fails_no_stage_by_its_timeout():
    taken = replayed({"stages.words.timeout": "1ms", "stages.words.batch_max": 1})
    assert len(taken) == WINDOWS
    assert [each.failed for each in taken] == [{}] * WINDOWS


def test_windows_that_are_not_wanted_are_not_encoded_and_change_none_that_are():
    asked: list[int] = []

    def wanted(stream: str, start_us: int, end_us: int) -> bool:
        assert (stream, end_us - start_us) == ("s", SECOND_US)
        asked.append(start_us)
        return start_us % (97 * SECOND_US) == 0

    some, every = replayed({}, wanted), replayed({})
    assert asked == [each.window.start_us for each in every]
    assert len(some) == 4
    by_start = {each.window.start_us: each for each in every}
    for each in some:
        same = by_start[each.window.start_us]
        assert each.outputs["words"].tobytes() == same.outputs["words"].tobytes()
        assert each.window.present == same.window.present


def replayed(changes, wanted=None) -> list[Replayed]:
    spec = load(CHAT, changes)
    broker = broker_for(spec, 1)
    for second in range(WINDOWS):
        broker.append(sent("in.chat", b"good day %d" % second, second * SECOND_US))
    connector = connector_for(broker)
    with closing(connector.control()) as control:
        layout = check_topics(spec, control)
    taken: list[Replayed] = []
    lengths = check_pipeline(spec)
    replay(spec, connector, layout, lengths, taken.append, RunControl(), wanted=wanted)
    return taken
