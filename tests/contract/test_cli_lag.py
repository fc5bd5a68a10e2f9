"""``motet lag``: how far a pipeline is behind its topics, and what its next start reads again."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from kafka_user import BEGIN_US, LOCAL, PARTITIONS, STREAMS, rfc3339

from pipeline.spec import load

pytestmark = pytest.mark.kafka

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "lag.schema.json"


@pytest.fixture
def lag(motet):
    def ask(file: Path):
        code, out, err = motet("lag", file, "--json")
        assert (code, err) == (0, "")
        found = json.loads(out)
        jsonschema.validate(found, json.loads(SCHEMA.read_text()))
        return found

    return ask


def test_a_pipeline_that_never_ran_says_so(user, motet, lag, prefix, make_file):
    file = make_file(prefix)
    user.send_sound(prefix, range(2))
    found = lag(file)
    assert (found["name"], found["ran"]) == (prefix, False)
    assert (found["lag_records"], found["replay_records"]) == (2 * len(STREAMS), 0)
    assert [lane["owner"] for lane in found["lanes"]] == [None] * PARTITIONS
    code, out, err = motet("lag", file)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == (
        f"{prefix} never ran: nothing is committed; its topics hold {2 * len(STREAMS)} records, "
        "and `start: earliest` applies"
    )


def test_lag_and_replay_span_are_counted_in_records(user, motet, run_until, lag, prefix, make_file):
    file = make_file(prefix)
    user.send_sound(prefix, range(4))
    run_until(file, 3 * len(STREAMS))  # the last window of each stream stays open
    user.send_sound(prefix, range(4, 9))
    found = lag(file)
    assert found["ran"]
    assert found["lag_records"] == 5 * len(STREAMS)
    # the record of the open window, and the one before it: its clock stands until it is passed
    assert len(STREAMS) <= found["replay_records"] <= 2 * len(STREAMS)
    assert len({lane["owner"] for lane in found["lanes"]}) == 1
    for lane in found["lanes"]:
        assert lane["slot"] == lane["lane"] % load(file).slots
        assert lane["emitted_us"] == BEGIN_US + 3_000_000
        mic, chat = lane["inputs"]
        assert (mic["input"], chat["input"]) == ("mic", "chat")
        assert mic["end"] - mic["committed"] == mic["lag_records"]
        assert mic["committed"] - mic["from"] == mic["replay_records"]
        assert (chat["committed"], chat["lag_records"], chat["replay_records"]) == (0, 0, 0)
    assert motet("run", file, *LOCAL).code == 0
    assert lag(file)["lag_records"] == 0
    code, out, _ = motet("lag", file)
    head, first, *_ = out.splitlines()
    assert code == 0
    assert head.split() == [
        "lane", "input", "committed", "end", "lag", "replay", "floor", "emitted", "up", "to",
    ]  # fmt: skip
    assert first.split()[:2] == ["0", "mic"]
    assert first.endswith(f"{rfc3339(BEGIN_US + 9_000_000)[:-4]}Z")


def test_where_a_run_would_not_go_on_it_is_warned_of(user, motet, prefix, make_file):
    file = make_file(prefix)
    user.send_sound(prefix, range(1))
    assert motet("run", file, *LOCAL).code == 0
    make_file(prefix, create=False, windows={"size": "500ms"})
    code, _, err = motet("lag", file)
    assert code == 0
    assert err.splitlines()[0] == (
        "motet: warning: lane 0: the file decides otherwise about records than the last run; "
        f"`motet reset {file}` shows where it can go on"
    )


def test_without_its_topics_the_command_that_makes_them_is_named(motet, prefix, make_file):
    code, out, err = motet("lag", make_file(prefix, create=False))
    assert (code, out) == (2, "")
    assert "motet topics create" in err
