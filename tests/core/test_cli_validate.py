"""``motet validate`` and ``motet schema``, and what is said about topics that are there."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from pipeline.cli import main
from pipeline.cli.topic_plan import problems_of, wanted_topics
from pipeline.slot.ports import TopicInfo
from pipeline.spec import load

LOBBY = Path(__file__).parent / "spec" / "lobby.yaml"  # the contract's example
SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text(LOBBY.read_text().replace("hop: 1s", "hop: 2s").replace("slots: 4", "slot: 4"))
    return path


def check_against_schema(name: str, answer: object) -> None:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    jsonschema.validate(answer, schema)
    assert isinstance(answer, dict)
    assert set(answer) == set(schema["properties"])


def test_a_sound_file_is_told_so_on_stdout(capsys):
    assert main(["validate", str(LOBBY)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{LOBBY}: pipeline 'lobby' is valid (3 inputs, 3 stages)\n"
    assert err == ""


def test_every_error_of_a_file_is_one_line_with_key_value_reason_and_remedy(capsys, broken):
    assert main(["validate", str(broken)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, second = sorted(err.splitlines())
    assert first.startswith("motet: error: slot")
    assert second.startswith("motet: error: windows.hop = 2s: ")
    assert "; " in first
    assert "; " in second


def test_with_json_the_answer_is_one_object_of_its_schema(capsys, broken):
    assert main(["validate", str(LOBBY), "--json"]) == 0
    sound = json.loads(capsys.readouterr().out)
    check_against_schema("validate", sound)
    assert (sound["valid"], sound["name"], sound["errors"]) == (True, "lobby", [])
    assert main(["validate", str(broken), "--json"]) == 2
    out, err = capsys.readouterr()
    wrong = json.loads(out)
    check_against_schema("validate", wrong)
    assert (wrong["valid"], wrong["name"]) == (False, None)
    assert {e["key"] for e in wrong["errors"]} >= {"windows.hop"}
    assert [f"motet: error: {e['message']}" for e in wrong["errors"]] == err.splitlines()


def test_the_schema_is_a_json_schema(capsys):
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.validators.validator_for(schema).check_schema(schema)


GOOD = TopicInfo(4, "id", append_time=True, compacted=False, max_message_bytes=64 << 20)


def told(**changed: TopicInfo | None) -> tuple[list[str], list[str]]:
    """Errors and warnings where all topics are good but those that are changed, by key."""
    wanted = wanted_topics(load(LOBBY))
    there = {topic.name: changed.get(topic.key.replace(".", "_"), GOOD) for topic in wanted}
    errors, warnings = problems_of(wanted, there, "make it")
    return [str(p) for p in errors], [str(p) for p in warnings]


def test_topics_that_are_as_they_should_be_are_passed_over_in_silence():
    assert told() == ([], [])


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        (
            {"outputs_late": None},
            "outputs.late = lobby.late: it is not there; make it",
        ),
        (
            {"inputs_mic_topic": GOOD._replace(partitions=1)},
            "inputs.mic.topic = lobby.audio: it has 1 partition where the inputs have up to 4",
        ),
        (
            {"outputs_results": GOOD._replace(partitions=3)},
            "outputs.results = lobby.results: it has 3 partitions where the inputs have up to 4",
        ),
        (
            {"inputs_chat_topic": GOOD._replace(compacted=True)},
            "inputs.chat.topic = lobby.text: it is compacted",
        ),
    ],
)
def test_topics_that_a_run_would_refuse_are_errors(changed, error):
    [said], warnings = told(**changed)
    assert said.startswith(error)
    assert warnings == []


def test_an_output_may_have_more_partitions_and_be_compacted():
    assert told(outputs_results=GOOD._replace(partitions=8, compacted=True)) == ([], [])


@pytest.mark.parametrize(
    ("changed", "warning"),
    [
        (
            {"inputs_mic_topic": GOOD._replace(append_time=False)},
            "inputs.mic.topic = lobby.audio: its timestamps are the producers'",
        ),
        (
            {"outputs_late": GOOD._replace(max_message_bytes=1 << 20)},
            "outputs.late = lobby.late: it takes records up to 1048576 bytes; set max.message",
        ),
    ],
)
def test_topics_that_work_less_well_are_warned_of(changed, warning):
    errors, [said] = told(**changed)
    assert said.startswith(warning)
    assert errors == []


def test_late_and_dead_letter_topics_take_what_an_input_takes_with_motets_headers():
    by_key = {topic.key: topic for topic in wanted_topics(load(LOBBY))}
    largest = by_key["inputs.mic.topic"].message_bytes
    assert largest > 32 << 20  # limits.record_bytes
    assert by_key["outputs.late"].message_bytes > largest
    assert by_key["outputs.dead_letter"].message_bytes > largest
    assert by_key["inputs.mic.topic"].config["message.timestamp.type"] == "LogAppendTime"
    assert "message.timestamp.type" not in by_key["outputs.results"].config
