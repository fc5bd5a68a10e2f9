"""Where ``motet run`` begins, and when it does not go on: never a silent jump."""

from __future__ import annotations

import pytest
from kafka_user import (
    BEGIN_US,
    LOCAL,
    PARTITIONS,
    KafkaUser,
    await_that,
    noise,
    rfc3339,
    windows_of,
)

from pipeline.clock import wall_us

pytestmark = pytest.mark.kafka

STREAMS = [f"s{number}" for number in range(6)]  # every lane has one


def send(user: KafkaUser, prefix: str, seconds: range) -> None:
    for second in seconds:
        for stream in STREAMS:
            at_us = BEGIN_US + second * 1_000_000
            user.send(f"{prefix}.audio", stream, noise(second), at_us)
    user.send(f"{prefix}.text", "s0", b"words", BEGIN_US + seconds[0] * 1_000_000)
    user.producer.flush()


def refused(answer) -> str:
    """The one line of an error with which nothing was done, and its remedy."""
    assert (answer.code, answer.out) == (2, ""), answer
    [line] = answer.err.splitlines()
    assert line.startswith("motet: error: ")
    assert "`motet reset FILE`" in line
    assert "take a new name" in line
    return str(line)


def test_a_file_that_decides_otherwise_does_not_continue_and_one_that_does_not_does(
    user, motet, prefix, make_file
):
    file = make_file(prefix)
    send(user, prefix, range(3))
    assert windows_of(motet("run", file, *LOCAL)) == 3 * len(STREAMS)
    before = user.results(prefix)
    for change in ("windows.size=2s", "limits.record_span=2s"):
        assert "pipeline file" in refused(motet("run", file, *LOCAL, "--set", change))
    assert user.results(prefix) == before
    send(user, prefix, range(3, 5))
    for_weights = ("fusion.of.sound=0.5", "stages.words.options.dim=8", "slots=2")
    changes = [part for change in for_weights for part in ("--set", change)]
    assert windows_of(motet("run", file, *LOCAL, *changes)) == 2 * len(STREAMS)


@pytest.mark.parametrize("loss", ["offsets", "input"])
def test_what_is_deleted_is_said_and_never_jumped_over(user, motet, prefix, make_file, loss):
    file = make_file(prefix)
    send(user, prefix, range(2))
    assert windows_of(motet("run", file, *LOCAL)) == 2 * len(STREAMS)
    if loss == "offsets":
        user.admin.delete_groups([prefix])
    else:
        user.admin.delete_topics([f"{prefix}.audio"])
        await_that("deleted", lambda: f"{prefix}.audio" not in user.admin.list_topics())
        assert motet("topics", "create", file, "--partitions", PARTITIONS).code == 0
    send(user, prefix, range(4))
    line = refused(motet("run", file, *LOCAL))
    assert {"offsets": f"group {prefix}", "input": f"{prefix}.audio"}[loss] in line
    assert len(user.read(f"{prefix}.results")) == 2 * len(STREAMS)


def test_a_log_that_open_windows_need_and_that_is_gone_is_said(
    user, motet, run_until, prefix, make_file
):
    file = make_file(prefix)
    send(user, prefix, range(3))
    run_until(file, 2 * len(STREAMS))  # the last windows stay open
    user.truncate(f"{prefix}.audio")
    line = refused(motet("run", file, *LOCAL))
    assert f"topic {prefix}.audio" in line
    assert "open windows need offset" in line
    assert len(user.read(f"{prefix}.results")) == 2 * len(STREAMS)


def test_a_pipeline_that_never_ran_begins_where_it_is_told(user, motet, prefix, make_file):
    """Times go by Kafka's timestamps; event times here lie elsewhere."""
    later, latest = (make_file(f"{prefix}-{name}") for name in ("a", "b"))
    send(user, prefix, range(3))
    sent = user.read(f"{prefix}.audio") + user.read(f"{prefix}.text")
    newest = max(record.timestamp for record in sent)
    time = rfc3339((newest + 1) * 1000)
    await_that("a later timestamp", lambda: wall_us() > (newest + 1) * 1000)
    send(user, prefix, range(3, 7))
    assert windows_of(motet("run", latest, *LOCAL, "--start", "latest")) == 0
    claims = user.committed(f"{prefix}-b")
    assert {at: claim.offset for at, claim in claims.items()} == {
        **user.ends(f"{prefix}.audio"), **user.ends(f"{prefix}.text"),
    }  # fmt: skip
    assert windows_of(motet("run", later, *LOCAL, "--start", time)) == 4 * len(STREAMS)
    send(user, prefix, range(7, 9))
    for file in (latest, later):  # and goes on from there, whatever it is told now
        assert windows_of(motet("run", file, *LOCAL, "--start", "earliest")) == 2 * len(STREAMS)
