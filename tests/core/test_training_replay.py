"""Recorded topics read again for training: nothing is missing for being slow."""

from __future__ import annotations

from contextlib import closing

from pipelines import CHAT, SECOND_US, broker_for, connector_for, load, sent

from pipeline.encoders.checking import check_pipeline
from pipeline.tasks.host import RunControl
from pipeline.tasks.starting import check_topics
from pipeline.training.replay import Replayed, replay

WINDOWS = 300


def test_a_backlog_fails_no_stage_by_its_timeout():
    spec = load(CHAT, {"stages.words.timeout": "1ms", "stages.words.batch_max": 1})
    broker = broker_for(spec, 1)
    for second in range(WINDOWS):
        broker.append(sent("in.chat", b"good day", second * SECOND_US))
    connector = connector_for(broker)
    with closing(connector.control()) as control:
        layout = check_topics(spec, control)
    taken: list[Replayed] = []
    replay(spec, connector, layout, check_pipeline(spec), taken.append, RunControl())
    assert len(taken) == WINDOWS
    assert [each.failed for each in taken] == [{}] * WINDOWS
