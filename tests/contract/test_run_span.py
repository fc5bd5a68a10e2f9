"""``motet run --from --to --name`` on a real Kafka: a part of event time, a backfill beside."""

from __future__ import annotations

import json

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

pytestmark = pytest.mark.kafka

STREAMS = [f"s{number}" for number in range(6)]
SECONDS = 8
S = 1_000_000


def send(user: KafkaUser, prefix: str, seconds: range) -> None:
    for second in seconds:
        for stream in STREAMS:
            at_us = BEGIN_US + second * S
            user.send(f"{prefix}.audio", stream, noise(second), at_us)
            user.send(f"{prefix}.text", stream, b"words %d" % second, at_us)
    user.producer.flush()


def at(second: float) -> str:
    return rfc3339(BEGIN_US + round(second * S))


def windows(lines: list[str]) -> set[int]:
    """Seconds at which the windows of results begin."""
    return {
        (json.loads(line.partition(" ")[2])["window"]["start_us"] - BEGIN_US) // S for line in lines
    }


def test_a_backfill_beside_the_live_run_gives_what_that_gave_in_the_span(
    user, motet, prefix, make_file
):
    words = {"encoder": "hash_text", "of": "chat", "options": {"dim": 4}, "out": f"{prefix}.words"}
    sound = {"encoder": "log_mel", "of": "mic", "options": {"n_mels": 8}}
    file = make_file(prefix, stages={"sound": sound, "words": words})
    send(user, prefix, range(SECONDS))
    assert windows_of(motet("run", file, *LOCAL)) == SECONDS * len(STREAMS)
    live, claims = user.results(prefix), user.committed(prefix)
    fix = ("run", file, *LOCAL, "--name", "fix", "--from", at(2), "--to", at(5.5))
    answer = motet(*fix)
    assert (answer.code, answer.out) == (2, "")
    missing = [f"{prefix}.{name}.fix" for name in ("results", "late", "dead", "words")]
    errors = [line for line in answer.err.splitlines() if line.startswith("motet: error: ")]
    for line, topic in zip(errors, missing, strict=True):
        assert topic in line
        assert line.endswith(f"`motet topics create {file} --name fix` makes it")
    assert not {*missing} & {*user.admin.list_topics()}
    created = motet("topics", "create", file, "--name", "fix", "--json")
    assert created.code == 0, created.err
    made = {t["topic"]: t["partitions"] for t in json.loads(created.out)["topics"] if t["created"]}
    assert made == dict.fromkeys(missing, PARTITIONS)
    answer = motet(*fix)
    assert windows_of(answer) == 3 * len(STREAMS)
    assert f"motet: backfill fix beside {prefix}: windows from " in answer.err
    found = user.results(prefix, topic="results.fix")
    assert found == [line for line in live if windows([line]) <= {2, 3, 4}]
    assert windows(found) == {2, 3, 4}
    assert len(user.read(f"{prefix}.words.fix")) > 0
    assert {dict(r.headers)["ce_source"] for r in user.read(f"{prefix}.results.fix")} == {
        b"motet/fix"
    }
    assert user.results(prefix) == live, "the live run's are untouched"
    assert user.committed(prefix) == claims
    assert windows_of(motet(*fix)) == 0  # it has all that it was asked for
    answer = motet(*fix[:-1], at(7))
    assert answer.code == 2
    assert "decides otherwise about records" in answer.err


def test_a_live_pipeline_does_not_become_a_restricted_one(user, motet, prefix, make_file):
    file = make_file(prefix)
    send(user, prefix, range(2))
    assert windows_of(motet("run", file, *LOCAL)) == 2 * len(STREAMS)
    answer = motet("run", file, *LOCAL, "--from", at(1))
    assert (answer.code, answer.out) == (2, "")
    assert "decides otherwise about records" in answer.err


def test_a_backfill_runs_while_the_live_run_goes_on(user, motet, start, prefix, make_file):
    file = make_file(prefix)
    assert motet("topics", "create", file, "--name", "fix").code == 0
    send(user, prefix, range(SECONDS))
    live = start("run", file, "--local")
    await_that("live results", lambda: user.count(prefix) > 0)
    fix = ("run", file, *LOCAL, "--name", "fix", "--from", at(3), "--set", "metrics.port=0")
    assert windows_of(motet(*fix)) == (SECONDS - 3) * len(STREAMS)
    assert not live.ended, live.err
    live.kill()
