"""``motet dlq``: the dead-letter and late topics of a real run, by reason and one by one."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from kafka_user import BEGIN_US, LOCAL, noise

pytestmark = pytest.mark.kafka

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
ESCAPE = b"\x1b]0;owned\x07\x1b[31m"


def conforms(name: str, found: object) -> None:
    jsonschema.validate(found, json.loads((SCHEMAS / f"{name}.schema.json").read_text()))


@pytest.fixture
def run_with_letters(user, motet, prefix, make_file):
    """A run with one late record, three without a stream id and two empty ones."""
    file = make_file(prefix)
    for second in (0, 1, 2):
        user.send(f"{prefix}.audio", "s0", noise(second), BEGIN_US + second * 1_000_000)
    user.send(f"{prefix}.audio", "s0", noise(9), BEGIN_US, ("ce_id", b"late-one"))
    for number in range(3):
        value = ESCAPE + b"%d" % number
        user.send(f"{prefix}.text", None, value, BEGIN_US + number, partition=1)
    user.producer.flush()
    user.send(f"{prefix}.audio", "s0", b"", BEGIN_US + 3_000_000)
    user.producer.flush()
    user.send(f"{prefix}.audio", "s0" + ESCAPE.decode(), b"", BEGIN_US + 3_000_000)
    user.producer.flush()
    answer = motet("run", file, *LOCAL)
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["dead_letter"] == 5
    return file


def test_entries_are_counted_by_reason_and_input(motet, prefix, run_with_letters):
    code, out, err = motet("dlq", "list", run_with_letters, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    conforms("dlq", found)
    assert (found["name"], found["entries"]) == (prefix, 6)
    assert [(k["reason"], k["input"], k["stage"], k["count"]) for k in found["kinds"]] == [
        ("bad-record", "chat", None, 3),
        ("late", "mic", None, 1),
        ("undecodable", "mic", None, 2),
    ]
    for kind in found["kinds"]:
        assert kind["first"] <= kind["newest"] == kind["example"]["time"]
        assert kind["example"]["error"]
    late = found["kinds"][1]["example"]
    assert late["topic"] == f"{prefix}.late"
    assert late["source"].startswith(f"{prefix}.audio[")
    assert late["headers"]["ce_id"] == "late-one"
    assert (late["key"], late["size_bytes"]) == ("s0", 32_000)

    code, out, err = motet("dlq", "list", run_with_letters)
    head, *rows, total = out.splitlines()
    assert head.split()[:4] == ["reason", "input", "stage", "count"]
    assert [row.split()[:4] for row in rows] == [
        ["bad-record", "chat", "-", "3"],
        ["late", "mic", "-", "1"],
        ["undecodable", "mic", "-", "2"],
    ]
    assert total == f"6 entries; `motet dlq show {run_with_letters} --reason R` shows them"


def test_single_entries_are_shown_and_reach_no_terminal_as_they_came(
    motet, prefix, run_with_letters
):
    code, out, err = motet("dlq", "show", run_with_letters)
    assert (code, err) == (0, "")
    assert out.count("  error    ") == 6
    assert all(c.isprintable() or c == "\n" for c in out)
    assert r"\u001b]0;owned" in out  # the preview of a text, escaped
    [place] = [line for line in out.splitlines() if line.startswith(f"{prefix}.late[")]
    assert place.endswith("Z  late")


def test_show_can_be_narrowed_to_a_reason_and_the_newest(motet, prefix, run_with_letters):
    command = ("dlq", "show", run_with_letters, "--json")
    code, out, err = motet(*command, "--reason", "bad-record", "--max", 2)
    assert (code, err) == (0, "")
    found = [json.loads(line) for line in out.splitlines()]
    for entry in found:
        conforms("dlq-show", entry)
    assert [(e["reason"], e["source"], e["key"]) for e in found] == [
        ("bad-record", f"{prefix}.text[1]@{offset}", None) for offset in (1, 2)
    ]
    assert found[0]["time"] <= found[1]["time"]
    assert motet(*command, "--reason", "future").out == ""
    code, out, err = motet(*command, "--reason", "Late")
    assert (code, out) == (2, "")
    assert err.startswith("motet: error: --reason = Late: no entry has such a reason; give one of")


def test_a_window_that_a_stage_failed_on_is_shown_with_its_stage(
    user, motet, prefix, make_file, tmp_path
):
    (tmp_path / f"{prefix}_broken.py").write_text(
        "import numpy as np\n"
        "class Broken:\n"
        "    takes, gives, length = 'audio', 'vector', 2\n"
        "    def __init__(self, device): ...\n"
        "    def encode(self, batch):\n"
        "        raise RuntimeError('no such \\x1b[2J model')\n"
    )
    stages = {
        "sound": {"encoder": f"{prefix}_broken:Broken", "of": "mic"},
        "words": {"encoder": "hash_text", "of": "chat", "options": {"dim": 4}},
    }
    file = make_file(prefix, stages=stages)
    user.send(f"{prefix}.audio", "s0", noise(0), BEGIN_US)
    user.producer.flush()
    answer = motet("run", file, *LOCAL)
    assert answer.code == 0, answer.err
    [kind] = json.loads(motet("dlq", "list", file, "--json").out)["kinds"]
    assert (kind["reason"], kind["input"], kind["stage"]) == ("encode-failed", None, "sound")
    assert kind["example"]["source"] is None
    out = motet("dlq", "show", file).out
    assert "encode-failed  stage sound" in out
    assert "\x1b" not in out
    assert "from     a window  key s0" in out


def test_topics_without_an_entry_are_empty_and_missing_ones_are_said(motet, prefix, make_file):
    file = make_file(prefix)
    assert motet("dlq", "list", file).out == f"{prefix}.dead and {prefix}.late are empty\n"
    assert motet("dlq", "show", file) == (0, "", "")
    other = make_file(f"{prefix}-other", create=False)
    code, out, err = motet("dlq", "list", other)
    assert (code, out) == (2, "")
    assert f"outputs.dead_letter = {prefix}-other.dead: it is not there; `motet topics" in err
    assert f"`motet topics create {other}` makes it" in err
