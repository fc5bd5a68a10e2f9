"""``motet dlq replay``: the originals again, for a repair run that gives what was missed."""

from __future__ import annotations

import json

import pytest
from kafka_user import BEGIN_US, LOCAL, PARTITIONS, noise

from pipeline.connectors.kafka import KafkaConnector

pytestmark = pytest.mark.kafka


@pytest.fixture
def late_file(user, motet, prefix, make_file):
    """A run in which the second of a stream came late, and a text without a stream id."""
    file = make_file(prefix)
    for second in (0, 2, 3):
        user.send(f"{prefix}.audio", "s5", noise(second), BEGIN_US + second * 1_000_000)
    user.send(f"{prefix}.audio", "s5", noise(1), BEGIN_US + 1_000_000, ("ce_id", b"second"))
    user.send(f"{prefix}.text", None, b"no key", BEGIN_US, partition=1)
    user.producer.flush()
    answer = motet("run", file, *LOCAL)
    assert answer.code == 0, answer.err
    return file


def repair(kafka: str, name: str, partitions: int = PARTITIONS) -> str:
    control = KafkaConnector(kafka).control()
    control.create_topic(name, partitions, 1, {})
    control.close()
    return name


def windows(user, topic: str) -> set[int]:
    values = [json.loads(record.value) for record in user.read(topic)]
    return {(value["window"]["start_us"] - BEGIN_US) // 1_000_000 for value in values}


def test_a_late_record_is_fused_by_a_repair_run(user, motet, prefix, make_file, late_file, kafka):
    assert windows(user, f"{prefix}.results") == {0, 2, 3}
    topic = repair(kafka, f"{prefix}.repair")
    code, out, err = motet("dlq", "replay", late_file, "--to", topic, "--reason", "late", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"topic": topic, "records": 1, "missing": 0}
    [copy] = user.read(topic)
    [late] = user.read(f"{prefix}.late")
    assert (copy.key, copy.value, copy.partition) == (b"s5", noise(1), late.partition)
    assert dict(copy.headers)["ce_id"] == b"second"
    assert not any(name.startswith("motet-") for name, _ in copy.headers)

    again = make_file(
        f"{prefix}-again",
        inputs={
            "mic": {"topic": topic, "type": "audio/L16;rate=16000;channels=1"},
            "chat": {"topic": f"{prefix}.other", "type": "text/plain", "gating": False},
        },
    )
    assert motet("run", again, *LOCAL).code == 0
    assert windows(user, f"{prefix}-again.results") == {1}


def test_what_a_failed_window_had_read_is_copied_once_with_its_time(
    user, motet, prefix, make_file, kafka, tmp_path
):
    (tmp_path / "failing.py").write_text(
        "class Failing:\n"
        "    takes, gives, length = 'audio', 'vector', 2\n"
        "    def __init__(self, device): ...\n"
        "    def encode(self, batch):\n"
        "        if any(clip.stream for clip in batch):\n"
        "            raise ValueError('never')\n"
        "        return [[0.0, 0.0] for _ in batch]\n"
    )
    stages = {
        "sound": {"encoder": "failing:Failing", "of": "mic"},
        "words": {"encoder": "hash_text", "of": "chat", "options": {"dim": 4}},
    }
    file = make_file(prefix, stages=stages, limits={"dead_letter_rate": "100%"})
    user.producer.send(
        f"{prefix}.audio", noise(0, seconds=2.0), key=b"s5", timestamp_ms=BEGIN_US // 1000
    )
    user.producer.flush()
    answer = motet("run", file, *LOCAL)
    assert answer.code == 0, answer.err
    [original] = user.read(f"{prefix}.audio")
    topic = repair(kafka, f"{prefix}.repair")
    code, out, err = motet("dlq", "replay", file, "--to", topic)
    assert (code, err) == (0, "")
    assert out == f"1 record copied to {topic}\n"
    [copy] = user.read(topic)
    assert copy.value == noise(0, seconds=2.0)
    assert dict(copy.headers)["ce_time"].startswith(b"20")
    assert (copy.partition, copy.key) == (original.partition, original.key)


def test_an_original_that_is_gone_is_taken_from_its_letter(user, motet, prefix, late_file, kafka):
    user.truncate(f"{prefix}.audio")
    topic = repair(kafka, f"{prefix}.repair")
    code, _, err = motet("dlq", "replay", late_file, "--to", topic, "--input", "mic")
    assert (code, err) == (0, "")
    [copy] = user.read(topic)
    assert (copy.key, copy.value) == (b"s5", noise(1))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--to", "{prefix}.audio"), "reads it: there they would be late; name a topic for a"),
        (("--to", "{prefix}.results"), "writes it; name a topic for a repair run"),
        (("--to", "{prefix}.none"), "the entries are of chat and mic, and a topic takes one kind"),
        (("--to", "{prefix}.none", "--input", "mic"), "it is not there; make it with as many"),
        (("--to", "{prefix}.none", "--input", "cam"), "no such input; name one of mic, chat"),
        (("--to", "{prefix}.none", "--reason", "odd"), "no entry has such a reason"),
    ],
)
def test_what_cannot_be_copied_says_why(motet, prefix, late_file, flags, said):
    given = [flag.format(prefix=prefix) for flag in flags]
    code, out, err = motet("dlq", "replay", late_file, *given)
    assert (code, out) == (2, "")
    assert said in err


def test_a_topic_with_too_few_partitions_is_refused(user, motet, prefix, late_file, kafka):
    [late] = user.read(f"{prefix}.late")
    topic = repair(kafka, f"{prefix}.repair", late.partition)
    code, out, err = motet("dlq", "replay", late_file, "--to", topic, "--input", "mic")
    assert (code, out) == (2, "")
    assert f"has {late.partition} partitions, and the records lie in {late.partition + 1}" in err
