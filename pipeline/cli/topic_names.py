"""Topics as a user names them on the command line: what Kafka takes, and which may be meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from pipeline.errors import InvalidInput, Problem
from pipeline.spec.fields import TOPIC
from pipeline.spec.secret import shown

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector

_NEAR_MAX = 3
_RULE = "use 1 to 249 letters, digits, dots, underscores and hyphens"


def check_names(key: str, topics: Sequence[str], remedy: str = _RULE) -> None:
    """Raises InvalidInput for what no topic can be called."""
    odd = [topic for topic in topics if re.fullmatch(TOPIC, topic) is None]
    if odd:
        why = "is not a topic name that Kafka takes"
        raise InvalidInput(*(Problem(key, shown(topic), why, remedy) for topic in odd))


def known_topics(connector: Connector) -> list[str]:
    """All topics of the broker that this user may see; none of a log that is no Kafka."""
    from pipeline.connectors.kafka import KafkaConnector
    from pipeline.connectors.kafka.names import topic_names

    return topic_names(connector) if isinstance(connector, KafkaConnector) else []


def meant(topic: str, known: Sequence[str], hint: str = "") -> str:
    """The remedy for a topic that is not there: those of the ``known`` ones that are near."""
    if not known:
        return "the broker has no topics that you may see; correct --bootstrap"
    near = get_close_matches(topic, known, n=_NEAR_MAX, cutoff=0.5)
    near += [name for name in known if topic.lower() in name.lower() and name not in near]
    if near:
        return f"did you mean {' or '.join(near[:_NEAR_MAX])}?"
    listed = ", ".join(known[:_NEAR_MAX])
    more = f" and {len(known) - _NEAR_MAX} more" if len(known) > _NEAR_MAX else ""
    return f"there are {listed}{more}{hint}"
