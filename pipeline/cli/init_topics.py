"""The topics that ``motet init`` looks at: read on the broker, or said to be missing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from difflib import get_close_matches
from typing import TYPE_CHECKING

from pipeline.cli.connect import topics_of
from pipeline.cli.terminal import counted, say
from pipeline.connectors.sampling import sample_topic
from pipeline.errors import InvalidInput, Problem
from pipeline.media.probe import TopicGuess, probe_topic
from pipeline.media.probe.sample import shown
from pipeline.spec.fields import TOPIC

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector, TopicInfo

KEY = "--from-topics"
_NEAR_MAX = 3


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


def check_names(topics: Sequence[str]) -> None:
    """Raises InvalidInput for what no topic can be called: mostly a DIR in the wrong place."""
    odd = [topic for topic in topics if re.fullmatch(TOPIC, topic) is None]
    if odd:
        why = "is not a topic name that Kafka takes"
        raise InvalidInput(
            *(Problem(KEY, shown(topic), why, f"a DIR goes before {KEY}") for topic in odd)
        )


def _demand(connector: Connector, there: Mapping[str, TopicInfo | None]) -> dict[str, TopicInfo]:
    """The topics, all there; raises InvalidInput that names those that may be meant."""
    missing = [topic for topic, info in there.items() if info is None]
    if missing:
        from pipeline.connectors.kafka import KafkaConnector
        from pipeline.connectors.kafka.names import topic_names

        known = topic_names(connector) if isinstance(connector, KafkaConnector) else []
        raise InvalidInput(
            *(
                Problem(KEY, topic, "there is no such topic", meant(topic, known))
                for topic in missing
            )
        )
    return {topic: info for topic, info in there.items() if info is not None}


def meant(topic: str, known: Sequence[str]) -> str:
    """The remedy for a topic that is not there: those of the ``known`` ones that are near."""
    if not known:
        return "the broker has no topics that you may see; correct --bootstrap"
    near = get_close_matches(topic, known, n=_NEAR_MAX, cutoff=0.5)
    near += [name for name in known if topic.lower() in name.lower() and name not in near]
    if near:
        return f"did you mean {' or '.join(near[:_NEAR_MAX])}?"
    listed = ", ".join(known[:_NEAR_MAX])
    more = f" and {len(known) - _NEAR_MAX} more" if len(known) > _NEAR_MAX else ""
    return f"there are {listed}{more} (DIR goes before {KEY})"
