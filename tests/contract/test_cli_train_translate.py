"""Sentence pairs in a topic, ``motet train --task translate``, and a run that translates."""

from __future__ import annotations

import json

import pytest
from kafka.admin import NewTopic
from kafka_user import BEGIN_US, LOCAL, PARTITIONS
from small_pairs import FLAGS, digit_pairs

pytestmark = pytest.mark.kafka

SAID = ("3 1 4", "1 5\n9", "2 6")
GERMAN = ["drei eins vier", "eins fünf\nneun", "zwei sechs"]
STAGES = {
    "german": {"encoder": "text_to_text", "of": "chat", "options": {"model": "models/digits"}},
    "words": {"encoder": "hash_text", "of": "german", "options": {"dim": 8}},
}


def test_pairs_in_a_topic_become_text_in_results(user, motet, prefix, make_file, tmp_path):
    topic = f"{prefix}.pairs"
    user.admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    pairs = [pair._asdict() for pair in digit_pairs()]
    for number, pair in enumerate(pairs):
        user.send(topic, f"k{number}", json.dumps(pair).encode(), None)
    user.producer.flush()
    stages = {**STAGES, "german": {**STAGES["german"], "out": f"{prefix}.german"}}
    file = make_file(
        prefix,
        inputs={"chat": {"topic": f"{prefix}.text", "type": "text/plain"}},
        stages=stages,
        fusion={"rule": "concat", "of": {"words": 1}},
    )
    answer = motet("run", file, *LOCAL)
    assert answer.code == 2
    assert "stages.german.options.model" in answer.err
    model = tmp_path / "models" / "digits"
    answer = motet("train", file, "--task", "translate", "--pairs", topic, "-o", model, *FLAGS)
    assert answer.code == 0, answer.err
    assert f"{len(pairs)} pairs, {len(pairs)} of them different" in answer.err

    for number, text in enumerate(SAID):
        user.send(f"{prefix}.text", "s", text.encode(), BEGIN_US + number * 1_000_000)
    user.producer.flush()
    answer = motet("run", file, *LOCAL)
    assert answer.code == 0, answer.err
    results = [json.loads(record.value) for record in user.read(f"{prefix}.results")]
    assert [result["text"]["german"] for result in results] == GERMAN
    assert [record.value.decode() for record in user.read(f"{prefix}.german")] == GERMAN


def test_a_topic_that_is_none_and_rows_that_are_no_pairs(user, motet, prefix, make_file, tmp_path):
    file = make_file(prefix)
    flags = ("--task", "translate", "-o", tmp_path / "model")
    answer = motet("train", file, *flags, "--pairs", f"{prefix}.nowhere")
    assert (answer.code, "it is no file and no topic" in answer.err) == (2, True)
    user.send(f"{prefix}.text", "k", b'{"source": "one"}', None)
    user.producer.flush()
    answer = motet("train", file, *flags, "--pairs", f"{prefix}.text")
    assert answer.code == 2
    assert "@0: it has no target" in answer.err
