"""The topics that a pipeline file names, how they should be, and what is wrong with those there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from pipeline.cli.terminal import counted
from pipeline.errors import Problem
from pipeline.slot.ports import TopicInfo
from pipeline.spec.teaching import labels_topic

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec

# Keys, headers and the batch frame around a value; late and dead-letter records carry the
# original headers and motet's own besides.
HEADROOM_BYTES = 64 << 10
MESSAGE_BYTES_MAX = 2**31 - 1
LABEL_BYTES = str(1 << 20)


class WantedTopic(NamedTuple):
    """A topic of the file: ``key`` is where the file names it.

    ``in_lanes``: its partitions are lanes, so it has as many as the inputs.
    """

    name: str
    key: str
    is_input: bool
    config: Mapping[str, str]
    in_lanes: bool = True

    @property
    def message_bytes(self) -> int:
        return int(self.config["max.message.bytes"])


def wanted_topics(spec: PipelineSpec) -> list[WantedTopic]:
    """Inputs, outputs, the stages' own topics and that of labels, in the order of the file."""
    largest = min(spec.limits.record_bytes + HEADROOM_BYTES, MESSAGE_BYTES_MAX)
    copied = min(largest + HEADROOM_BYTES, MESSAGE_BYTES_MAX)
    found = [
        WantedTopic(
            given.topic,
            f"inputs.{name}.topic",
            True,
            # The floor of a lane is as true as Kafka's timestamps: the broker shall set them.
            {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(largest)},
        )
        for name, given in spec.inputs.items()
    ]
    outputs = {f"outputs.{name}": getattr(spec.outputs, name) for name in OUTPUTS}
    outputs |= {f"stages.{n}.out": s.out for n, s in spec.stages.items() if s.out is not None}
    found.extend(
        WantedTopic(topic, key, False, {"max.message.bytes": str(copied)})
        for key, topic in outputs.items()
    )
    labels = labels_topic(spec)
    if labels is not None:
        # by the broker's clock, labels and results are told apart in age
        config = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": LABEL_BYTES}
        found.append(WantedTopic(labels, "evaluation.labels", False, config, in_lanes=False))
    return found


OUTPUTS = ("results", "late", "dead_letter")


def problems_of(
    wanted: list[WantedTopic], there: Mapping[str, TopicInfo | None], create: str
) -> tuple[list[Problem], list[Problem]]:
    """Errors and warnings about the topics; ``create`` is the command that makes them."""
    errors: list[Problem] = []
    warnings: list[Problem] = []
    lanes = max(
        (info.partitions for w in wanted if w.is_input and (info := there.get(w.name))), default=0
    )
    for topic in wanted:
        info = there.get(topic.name)
        if info is None:
            errors.append(Problem(topic.key, topic.name, "it is not there", create))
            continue
        differs = (topic.is_input and info.partitions != lanes) or info.partitions < lanes
        if topic.in_lanes and differs:
            has = counted(info.partitions, "partition")
            why = f"it has {has} where the inputs have up to {lanes}"
            remedy = "create the topics with one number of partitions"
            errors.append(Problem(topic.key, topic.name, why, remedy))
        if topic.is_input and info.compacted:
            why = "it is compacted, so records that windows need vanish"
            errors.append(Problem(topic.key, topic.name, why, "set cleanup.policy=delete"))
        warnings.extend(warnings_of(topic, info))
    return errors, warnings


def warnings_of(topic: WantedTopic, info: TopicInfo) -> list[Problem]:
    """What works but not as well as it could."""
    found = []
    if topic.is_input and not info.append_time:
        why = "its timestamps are the producers', so a wrong clock there moves the whole lane"
        remedy = "set message.timestamp.type=LogAppendTime for live topics"
        found.append(Problem(topic.key, topic.name, why, remedy))
    if info.max_message_bytes < topic.message_bytes:
        why = f"it takes records up to {info.max_message_bytes} bytes"
        remedy = f"set max.message.bytes={topic.message_bytes}, or lower limits.record_bytes"
        found.append(Problem(topic.key, topic.name, why, remedy))
    return found
