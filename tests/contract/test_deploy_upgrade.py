"""State of another version of motet: refused untouched, with ways on that go on."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from kafka import KafkaConsumer
from kafka.structs import OffsetAndMetadata
from kafka_user import LOCAL, STREAMS, KafkaUser, windows_of

from pipeline.slot.metadata import FORMAT_VERSION

pytestmark = pytest.mark.kafka


def rewritten(user: KafkaUser, group: str, version: int) -> dict[str, str]:
    """Gives what is committed another version of its format; what stands there by then."""
    found = {
        at: OffsetAndMetadata(
            one.offset, json.dumps({**json.loads(one.metadata), "v": version}), -1
        )
        for at, one in user.committed(group).items()
    }
    with closing(
        KafkaConsumer(bootstrap_servers=user.bootstrap, group_id=group, enable_auto_commit=False)
    ) as consumer:
        consumer.assign(list(found))
        consumer.commit(found)
    return {str(at): one.metadata for at, one in found.items()}


def standing(user: KafkaUser, group: str) -> dict[str, str]:
    return {str(at): one.metadata for at, one in user.committed(group).items()}


def test_state_of_another_version_is_refused_and_each_way_on_goes_on(
    user, motet, prefix, make_file
):
    file = make_file(prefix)
    user.send_sound(prefix, range(2))
    assert windows_of(motet("run", file, *LOCAL)) == 2 * len(STREAMS)
    before = user.results(prefix)
    newer = rewritten(user, prefix, FORMAT_VERSION + 1)
    user.send_sound(prefix, range(2, 4))

    answer = motet("run", file, *LOCAL)
    assert (answer.code, answer.out) == (2, "")
    [line] = answer.err.splitlines()
    assert f"commit format {FORMAT_VERSION + 1} is not {FORMAT_VERSION}" in line
    for way in ("run the motet version that wrote it", "`motet reset FILE`", "take a new name"):
        assert way in line
    # Nothing was done: the version that wrote it finds what it wrote.
    assert standing(user, prefix) == newer
    assert user.results(prefix) == before

    rewritten(user, prefix, FORMAT_VERSION)
    assert windows_of(motet("run", file, *LOCAL)) == 2 * len(STREAMS)

    rewritten(user, prefix, FORMAT_VERSION + 1)
    user.send_sound(prefix, range(4, 6))
    assert motet("reset", file, "--yes").code == 0
    assert windows_of(motet("run", file, *LOCAL)) == 2 * len(STREAMS)
    found = user.results(prefix)
    assert len(found) == len(set(found)) == 6 * len(STREAMS)
