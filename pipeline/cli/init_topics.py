"""The topics that ``motet init`` looks at: read on the broker, or said to be missing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from pipeline.cli.connect import topics_of
from pipeline.cli.terminal import counted, say
from pipeline.cli.topic_names import known_topics, meant
from pipeline.connectors.sampling import sample_topic
from pipeline.errors import InvalidInput, Problem
from pipeline.media.probe import TopicGuess, probe_topic

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector, TopicInfo

KEY = "--from-topics"
_HINT = f" (DIR goes before {KEY})"


def probed(connector: Connector, topics: list[str]) -> list[TopicGuess]:
    """A guess for each topic, in their order; raises InvalidInput where one is not there."""
    guesses = []
    with closing(connector.control()) as control:
        infos = _demand(connector, topics_of(control, topics))
        with closing(connector.source()) as source:
            for topic, info in infos.items():
                say(f"motet: looking at {topic} ({counted(info.partitions, 'partition')})")
                guesses.append(probe_topic(sample_topic(control, source, topic, info)))
    return guesses


def _demand(connector: Connector, there: Mapping[str, TopicInfo | None]) -> dict[str, TopicInfo]:
    """The topics, all there; raises InvalidInput that names those that may be meant."""
    missing = [topic for topic, info in there.items() if info is None]
    if missing:
        known = known_topics(connector)
        raise InvalidInput(
            *(
                Problem(KEY, topic, "there is no such topic", meant(topic, known, _HINT))
                for topic in missing
            )
        )
    return {topic: info for topic, info in there.items() if info is not None}
