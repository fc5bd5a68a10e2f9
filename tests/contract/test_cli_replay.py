"""``motet replay``: the same windows again, and what a change of the file changes in them."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from kafka_user import BEGIN_US, LOCAL, STREAMS, noise, rfc3339, windows_of

pytestmark = pytest.mark.kafka

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "replay.schema.json"
SECONDS = 6
S = 1_000_000
TALKING = (1, 3, 4)  # seconds in which there is text


def at(second: int) -> str:
    return rfc3339(BEGIN_US + second * S)


@pytest.fixture
def file(user, motet, prefix, make_file):
    """A run of six seconds of five streams, with words in three of them."""
    file = make_file(prefix)
    for second in range(SECONDS):
        for stream in STREAMS:
            user.send(f"{prefix}.audio", stream, noise(second), BEGIN_US + second * S)
            if second in TALKING:
                user.send(f"{prefix}.text", stream, b"hello", BEGIN_US + second * S + 1000)
    user.producer.flush()
    assert windows_of(motet("run", file, *LOCAL)) == SECONDS * len(STREAMS)
    return file


def test_the_same_file_gives_the_same_answers_and_leaves_nothing_behind(user, motet, prefix, file):
    topics, committed = {*user.admin.list_topics()}, user.committed(prefix)
    groups = {group["group_id"] for group in user.admin.list_groups()}
    span = ("--from", at(0), "--to", at(SECONDS))
    code, out, err = motet("replay", file, *span, "--diff")
    assert code == 0, err
    assert out == f"{SECONDS * len(STREAMS)} windows: 0 changed\n"
    assert {*user.admin.list_topics()} == topics
    assert {group["group_id"] for group in user.admin.list_groups()} == groups
    assert user.committed(prefix) == committed


def test_a_changed_weight_changes_the_windows_that_have_the_stage(motet, file):
    span = ("--from", at(1), "--to", at(5))
    changed = ("--set", "fusion.of.words=2")
    code, out, err = motet("replay", file, *span, *changed, "--diff", "--json")
    assert code == 0, err
    found = json.loads(out)
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    assert found["windows"] == 4 * len(STREAMS)
    assert (found["only_before"], found["only_after"]) == ([], [])
    assert [one["result_id"] for one in found["changed"]] == [
        f"{stream}/{BEGIN_US + second * S}" for second in TALKING for stream in STREAMS_IN_ORDER
    ]
    for one in found["changed"]:
        assert one["fields"] == {"weights.words": {"before": 1.0, "after": 2.0}}
    code, out, _ = motet("replay", file, *span, *changed, "--diff")
    lines = out.splitlines()
    assert lines[0] == f"s0/{BEGIN_US + S}  weights.words: 1.0 -> 2.0"
    assert lines[-1] == f"{4 * len(STREAMS)} windows: {len(TALKING) * len(STREAMS)} changed"


STREAMS_IN_ORDER = sorted(STREAMS)


def test_windows_of_another_size_are_only_before_and_only_now(motet, file):
    span = ("--from", at(0), "--to", at(2))
    code, out, err = motet("replay", file, *span, "--set", "windows.size=2s", "--diff", "--json")
    assert code == 0, err
    found = json.loads(out)
    starts = {int(result_id.rpartition("/")[2]) - BEGIN_US for result_id in found["only_before"]}
    assert starts == {S}
    assert found["only_after"] == []
    assert {path for one in found["changed"] for path in one["fields"]} >= {"present"}


def test_without_diff_the_answers_stay_in_topics_of_their_own(user, motet, prefix, file):
    code, out, err = motet("replay", file, "--from", at(2), "--to", at(4))
    assert code == 0, err
    summary = json.loads(out)
    assert summary["windows"] == 2 * len(STREAMS)
    values = [json.loads(record.value) for record in user.read(summary["results"])]
    assert {value["window"]["start_us"] for value in values} == {BEGIN_US + 2 * S, BEGIN_US + 3 * S}
    assert summary["results"] != f"{prefix}.results"


def test_a_span_without_a_window_and_a_topic_that_is_missing_make_nothing(
    user, motet, prefix, file, make_file
):
    topics = {*user.admin.list_topics()}
    code, out, err = motet("replay", file, "--from", at(2), "--to", at(2))
    assert (code, out) == (2, "")
    assert "--from, --to" in err
    other = make_file(
        f"{prefix}-x",
        create=False,
        inputs={"mic": {"topic": f"{prefix}.none", "type": "audio/wav"}},
        stages={"sound": {"encoder": "log_mel", "of": "mic"}},
        fusion={"rule": "concat", "of": {"sound": 1}},
    )
    code, out, err = motet("replay", other, "--from", at(0), "--to", at(2))
    assert (code, out) == (2, "")
    assert f"{prefix}.none: it is not there" in err
    assert {*user.admin.list_topics()} == topics
