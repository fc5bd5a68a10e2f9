"""What is committed beside an offset: read back as it was written, and nothing else is taken."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import PositionLost
from pipeline.slot.metadata import FORMAT_VERSION, METADATA_CHARS_MAX, CutMetadata, load
from pipeline.slot.ports import Committed, TopicPartition

MIC = TopicPartition("lobby.audio", 3)
KNOWN = CutMetadata(
    cut=7,
    owner="run-a",
    start=41,
    floor_us=1_000_000,
    top_us=None,
    slots=4,
    rules="0123456789abcdef",
    topic_id="id-1",
)
TIMES = st.none() | st.integers(-(1 << 62), 1 << 62)


@settings(deadline=None)
@given(
    cut=st.integers(0, 1 << 62),
    owner=st.text(max_size=40),
    start=st.integers(0, 1 << 62),
    floor_us=TIMES,
    top_us=TIMES,
    slots=st.integers(1, 10_000),
    rules=st.text(max_size=64),
    topic_id=st.text(max_size=40),
)
def test_reading_gives_what_was_written(**fields):
    written = CutMetadata(**fields)
    assert load(MIC, Committed(0, written.dump())) == written


def test_the_string_holds_what_the_design_names():
    assert json.loads(KNOWN.dump()) == {
        "v": FORMAT_VERSION,
        "cut": 7,
        "owner": "run-a",
        "from": 41,
        "floor": 1_000_000,
        "top": None,
        "slots": 4,
        "hash": "0123456789abcdef",
        "topic": "id-1",
    }


@pytest.mark.parametrize(
    "foreign",
    [
        "",
        "no json",
        "{}",
        "[]",
        "null",
        "7",
        '"text"',
        '{"v":',
        '{"v":1}',
        KNOWN.dump().replace('"cut":7', '"cut":"7"'),
        KNOWN.dump().replace('"slots":4', '"slots":true'),
        KNOWN.dump().replace('"floor":1000000', '"floor":1.5'),
        KNOWN.dump().replace('"owner":"run-a"', '"owner":null'),
    ],
)
def test_what_motet_did_not_write_is_a_lost_position_that_names_the_way_out(foreign):
    with pytest.raises(PositionLost) as caught:
        load(MIC, Committed(12, foreign))
    said = str(caught.value)
    assert "lobby.audio[3] = 12" in said
    assert "motet reset FILE" in said
    assert "\n" not in said
    assert caught.value.exit_code == 2


def test_another_version_of_the_format_is_not_guessed_at():
    newer = KNOWN.dump().replace('"v":1', '"v":2')
    with pytest.raises(PositionLost, match="commit format 2 is not 1") as caught:
        load(MIC, Committed(12, newer))
    assert "lobby.audio[3]" in str(caught.value)


def test_a_string_over_the_brokers_limit_is_refused_before_it_is_sent():
    room = METADATA_CHARS_MAX - len(KNOWN.dump()) + len(KNOWN.owner)
    assert len(replace(KNOWN, owner="x" * room).dump()) == METADATA_CHARS_MAX
    with pytest.raises(ValueError, match="4096"):
        replace(KNOWN, owner="x" * (room + 1)).dump()
