"""Whole pipelines in one process on the in-memory log: what the contract says, end to end."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pipelines import (
    CHAT,
    LOBBY,
    RATE,
    SECOND_US,
    broken_jpeg,
    broker_for,
    committed,
    connector_for,
    header,
    jpeg,
    load,
    sent,
    tone,
    values,
)

from pipeline.errors import InvalidInput
from pipeline.local import run_local
from pipeline.slot.ports import TopicPartition
from pipeline.tasks.host import RunControl, summary

SUPPORT = Path(__file__).parents[1] / "support"
RED, BLUE = jpeg((255, 0, 0)), jpeg((0, 0, 255), size=8)


def run_to_end(spec, broker):
    totals, _ = run_local(spec, connector_for(broker), RunControl(until_end=True))
    return totals


def results(broker, stream=None) -> dict[int, dict]:
    """Results by the start of their window, of one stream; no window twice."""
    found = [v for v in values(broker, "out.results") if stream in (None, v["stream"])]
    by_start = {v["window"]["start_us"]: v for v in found}
    assert len(by_start) == len(found)
    return by_start


def chat(changes=None):
    return load(CHAT, changes, SUPPORT)


# -- contents, presence, coverage, weights --------------------------------------------------


@pytest.fixture
def lobby():
    spec = load(LOBBY)
    return spec, broker_for(spec)


def test_inputs_meet_in_their_windows(lobby):
    spec, broker = lobby
    broker.append(sent("in.mic", tone(440, 1.5), 0))
    broker.append(sent("in.cam", RED, 100))
    broker.append(sent("in.chat", b"good day", 1_900_000))
    broker.append(sent("in.cam", RED, 2_000_000, stream="other", lane=1))
    totals = run_to_end(spec, broker)
    found = results(broker, "s")
    assert {start: (r["present"], r["missing"], r["coverage"]) for start, r in found.items()} == {
        0: (["cam", "mic"], ["chat"], {"mic": 1.0}),
        SECOND_US: (["chat", "mic"], ["cam"], {"mic": 0.5}),
    }
    first = found[0]
    assert first["window"] == {"start_us": 0, "end_us": SECOND_US}
    assert first["failed"] == {}
    assert set(first["weights"]) == {"sound", "colour"}
    vector = first["output"]["vector"]
    assert len(vector) == 8 + 24 + 8
    assert vector[8:16] == [0] * 7 + [pytest.approx(1 / 3)]  # all of red is bright
    assert vector[-8:] == [0] * 8  # zeros where a stage gave none
    [other] = results(broker, "other").values()
    assert other["present"] == ["cam"]
    assert other["coverage"] == {}
    assert summary(totals, 2.0) == {
        "records": 4,
        "windows": 3,
        "late": 0,
        "dead_letter": 0,
        "seconds": 2.0,
        "windows_per_second": 1.5,
    }


def test_a_result_lies_on_its_lane_with_the_contracts_headers(lobby):
    spec, broker = lobby
    broker.append(sent("in.cam", RED, 0, stream="kä", lane=1))
    run_to_end(spec, broker)
    [record] = committed(broker, "out.results")
    assert (record.partition, record.key) == (1, "kä".encode())
    assert header(record, "ce_id") == "kä/0"
    assert header(record, "ce_source") == "motet/lobby"
    assert header(record, "ce_type") == "motet.result.v1"
    assert header(record, "ce_time") == "1970-01-01T00:00:01.000Z"


def test_weights_are_rescaled_to_keep_their_sum_over_the_stages_that_are_there():
    rule = {"rule": "weighted_sum", "of": {"sound": 0.3, "colour": 0.4, "words": 0.3}, "dim": 16}
    spec = load(LOBBY, {"fusion": rule})
    broker = broker_for(spec)
    broker.append(sent("in.mic", tone(440, 1), 0))
    broker.append(sent("in.cam", RED, 0))
    broker.append(sent("in.cam", RED, SECOND_US))
    run_to_end(spec, broker)
    found = results(broker)
    assert found[0]["weights"] == pytest.approx({"sound": 3 / 7, "colour": 4 / 7})
    assert sum(found[0]["attribution"].values()) == pytest.approx(1)
    assert len(found[0]["output"]["vector"]) == 16
    assert found[SECOND_US]["weights"] == pytest.approx({"colour": 1})


def test_a_window_is_cut_to_the_sample_and_where_nothing_is_there_are_zeros():
    half = {"encoder": "user_encoders:Heard", "of": "mic", "out": "out.half"}
    spec = load(LOBBY, {"stages.half": half}, SUPPORT)
    broker = broker_for(spec)
    whole = np.frombuffer(tone(440, 1.5), ">i2")
    broker.append(sent("in.mic", whole[: RATE // 2].tobytes(), 250_000))
    broker.append(sent("in.mic", whole[RATE // 2 :].tobytes(), 750_000))
    run_to_end(spec, broker)
    first, second = (np.frombuffer(r.value, ">i2") for r in committed(broker, "out.half"))
    assert len(first) == len(second) == RATE
    line = np.zeros(2 * RATE, np.int16)
    line[RATE // 4 : RATE // 4 + len(whole)] = whole
    for found, expected in ((first, line[:RATE]), (second, line[RATE:])):
        assert np.abs(found - expected / 2).max() <= 1
    assert results(broker)[0]["coverage"] == {"mic": 0.75}


def test_windows_that_overlap_hold_a_record_each():
    spec = chat({"windows.hop": "250ms", "stages.echo": ECHO})
    broker = broker_for(spec)
    broker.append(sent("in.chat", b"a", 1_000_000, length_us=250_000))
    broker.append(sent("in.chat", b"b", 1_600_000))
    run_to_end(spec, broker)
    assert {start: r["text"]["echo"] for start, r in results(broker).items()} == {
        250_000: "A!",
        500_000: "A!",
        750_000: "A\nB!",
        1_000_000: "A\nB!",
        1_250_000: "B!",
        1_500_000: "B!",
    }


ECHO = {"encoder": "user_encoders:Upper", "of": "chat", "out": "out.echo"}


def test_context_reaches_around_the_window_and_makes_nothing_present():
    spec = chat({"stages.echo": {**ECHO, "context": {"before": "1s", "after": "500ms"}}})
    broker = broker_for(spec)
    for ts_us, text in ((2_900_000, b"a"), (4_100_000, b"b"), (5_300_000, b"c"), (7_800_000, b"d")):
        broker.append(sent("in.chat", text, ts_us))
    run_to_end(spec, broker)
    found = {start: r["text"]["echo"] for start, r in results(broker).items()}
    assert found == {2_000_000: "A!", 4_000_000: "B\nC!", 5_000_000: "B\nC!", 7_000_000: "D!"}


# -- fates ----------------------------------------------------------------------------------


def test_late_records_go_to_the_late_topic_with_the_windows_that_they_missed():
    spec = chat({"windows.hop": "500ms", "stages.echo": ECHO})
    broker = broker_for(spec)
    broker.append(sent("in.chat", b"on time", 1_000_000))
    broker.append(sent("in.chat", b"moves the clock", 1_950_000))
    broker.append(sent("in.chat", b"late", 1_200_000, length_us=400_000, headers=[("x", b"y")]))
    broker.append(sent("in.chat", b"wholly late", 600_000))
    totals = run_to_end(spec, broker)
    first, second = committed(broker, "out.late")
    assert (first.key, first.value) == (b"s", b"late")
    # [500 ms, 1500 ms) closed at the clock of 1 950 001 - 200 000
    assert header(first, "motet-reason") == "late"
    assert header(first, "motet-clock-us") == "1750001"
    assert header(first, "motet-windows") == "500000"
    assert header(first, "motet-topic") == "in.chat"
    assert header(first, "motet-partition") == "0"
    assert header(first, "motet-offset") == "2"
    assert header(first, "x") == "y"
    assert header(first, "ce_mediadur") == "400000"
    assert header(second, "motet-windows") == "0,500000"
    texts = {start: r["text"]["echo"] for start, r in results(broker).items()}
    assert texts == {
        500_000: "ON TIME!",
        1_000_000: "ON TIME\nLATE\nMOVES THE CLOCK!",
        1_500_000: "LATE\nMOVES THE CLOCK!",
    }
    assert totals.late == 2
    assert totals.fates[("chat", "late")] == 3
    assert totals.fates[("chat", "fused")] == 2 + 2 + 2
    assert committed(broker, "out.dead") == []


UNSOUND = {
    "bad-record": [
        sent("in.chat", b"no key", 0, stream=None),
        sent("in.chat", b"empty key", 0, stream=""),
        sent("in.chat", b"long key", 0, stream="k" * 257),
        sent("in.chat", b"time", None, append_us=0, headers=[("ce_time", b"yesterday")]),
        sent("in.chat", b"mediadur", 0, headers=[("ce_mediadur", b"1.5")]),
        sent("in.chat", b"mediadur", 0, headers=[("ce_mediadur", b"0")]),
        sent("in.chat", b"timestamp", 0, append_us=-5_000),
    ],
    "too-large": [sent("in.chat", b"x" * 1025, 0)],
    "future": [sent("in.chat", b"f", 70 * SECOND_US, append_us=0)],
    "undecodable": [
        sent("in.chat", b"", 0),
        sent("in.chat", b"\xff", 0),
        sent("in.chat", b"too long", 0, length_us=60_000_001, append_us=2 * SECOND_US),
        sent("in.chat", b"type", 0, headers=[("content-type", b"image/png")]),
    ],
}


@pytest.mark.parametrize("reason", UNSOUND)
def test_unsound_records_are_dead_lettered_and_move_no_clock(reason):
    spec = chat({"limits.record_bytes": "1KiB", "limits.dead_letter_rate": "100%"})
    broker = broker_for(spec)
    broker.append(sent("in.chat", b"before", 0))
    for record in UNSOUND[reason]:
        broker.append(record)
    broker.append(sent("in.chat", b"after", 500_000))
    totals = run_to_end(spec, broker)
    found = committed(broker, "out.dead")
    assert [header(r, "motet-reason") for r in found] == [reason] * len(UNSOUND[reason])
    for offset, (letter, original) in enumerate(zip(found, UNSOUND[reason], strict=True), 1):
        assert letter.key == original.key
        assert letter.partition == 0
        assert header(letter, "motet-offset") == str(offset)
        assert header(letter, "motet-error")
        own = [h for h in letter.headers if not h[0].startswith("motet-")]
        assert own == list(original.headers)
        if reason == "too-large":
            assert (letter.value, header(letter, "motet-original-bytes")) == (b"", "1025")
        else:
            assert letter.value == original.value
    assert list(results(broker)) == [0]
    assert committed(broker, "out.late") == []
    assert totals.dead_letter == totals.fates[("chat", "dead_letter")] == len(found)
    assert sum(totals.records.values()) == len(found) + 2


@pytest.mark.parametrize("hop", ["1s", "500ms", "250ms"])
def test_a_picture_that_cannot_be_decoded_is_dead_lettered_once(hop):
    """It overlaps several windows, and two stages read it; only its windows without more fail."""
    spec = load(
        LOBBY,
        {
            "windows.hop": hop,
            "stages.sizes": {"encoder": "user_encoders:Sizes", "of": "cam", "out": "out.sizes"},
        },
        SUPPORT,
    )
    broker = broker_for(spec)
    bad = broken_jpeg()
    broker.append(sent("in.cam", bad, 900_000, length_us=250_000))
    broker.append(sent("in.cam", RED, 1_600_000))
    totals = run_to_end(spec, broker)
    found = committed(broker, "out.dead")
    [letter] = [r for r in found if header(r, "motet-reason") == "undecodable"]
    assert letter.value == bad
    assert header(letter, "motet-stage") == "colour"
    assert header(letter, "motet-offset") == "0"
    assert header(letter, "ce_mediadur") == "250000"
    by_start = results(broker)
    alone = [s for s in by_start if s + SECOND_US <= 1_600_000]
    assert alone
    for start, result in by_start.items():
        failed = {"colour": "undecodable", "sizes": "undecodable"} if start in alone else {}
        assert result["failed"] == failed
        assert result["present"] == ["cam"]
        assert result["text"] == ({} if failed else {"sizes": "1600000:16x16"})
    entries = [json.loads(r.value) for r in found if r is not letter]
    assert sorted((v["window"]["start_us"], v["stage"]) for v in entries) == sorted(
        (start, stage) for start in alone for stage in ("colour", "sizes")
    )
    assert all(v["records"] == [["in.cam", 0, 0]] for v in entries)
    assert totals.dead_letter == len(found)
    assert totals.fates[("cam", "dead_letter")] == 1


def test_a_window_that_a_stage_fails_on_fails_alone():
    spec = chat({"stages.echo": {**ECHO, "batch_max": 64}})
    broker = broker_for(spec)
    for second in range(6):
        text = b"some poison" if second == 3 else b"fine"
        broker.append(sent("in.chat", text, second * SECOND_US))
        broker.append(sent("in.chat", b"more", second * SECOND_US + 5))
    totals = run_to_end(spec, broker)
    by_start = results(broker)
    error = r"ValueError: poison: half a pair \ud800"
    assert {s: r["failed"] for s, r in by_start.items() if r["failed"]} == {
        3 * SECOND_US: {"echo": error}
    }
    assert by_start[2 * SECOND_US]["text"] == {"echo": "FINE\nMORE!"}
    assert by_start[3 * SECOND_US]["text"] == {}
    assert by_start[3 * SECOND_US]["output"]["vector"]  # words gave its vector all the same
    [letter] = committed(broker, "out.dead")
    assert letter.key == b"s"
    assert header(letter, "motet-reason") == "encode-failed"
    assert header(letter, "motet-stage") == "echo"
    assert header(letter, "motet-error") == error
    assert values(broker, "out.dead") == [
        {
            "stream": "s",
            "window": {"start_us": 3 * SECOND_US, "end_us": 4 * SECOND_US},
            "stage": "echo",
            "error": error,
            "records": [["in.chat", 0, 6], ["in.chat", 0, 7]],
        }
    ]
    assert totals.dead_letter == 1
    assert totals.windows == 6


def test_a_vector_that_is_not_finite_is_a_failure():
    spec = chat({"stages.broken": {"encoder": "user_encoders:Broken", "of": "chat"},
                 "fusion.of": {"words": 1, "broken": 1}})  # fmt: skip
    broker = broker_for(spec)
    broker.append(sent("in.chat", b"a nan", 0))
    broker.append(sent("in.chat", b"fine", SECOND_US))
    run_to_end(spec, broker)
    found = results(broker)
    assert list(found[0]["failed"]) == ["broken"]
    assert list(found[0]["weights"]) == ["words"]
    assert found[SECOND_US]["failed"] == {}
    assert set(found[SECOND_US]["weights"]) == {"words", "broken"}


def test_a_class_that_is_not_there_is_told_before_anything_is_done():
    spec = chat({"stages.echo": {**ECHO, "encoder": "user_encoders:Uper"}})
    broker = broker_for(spec)
    with pytest.raises(InvalidInput, match=r"did you mean 'Upper'"):
        run_to_end(spec, broker)
    assert broker.committed("chat", TopicPartition("in.chat", 0)) is None


# -- stages behind stages, and their own topics ---------------------------------------------


def test_a_conversion_feeds_another_stage():
    spec = chat(
        {
            "stages.echo": {"encoder": "user_encoders:Upper", "of": "chat"},
            "stages.again": {"encoder": "hash_text", "of": "echo", "options": {"dim": 8}},
            "stages.both": {"encoder": "user_encoders:Lengths", "of": ["echo", "chat"], "out": "d"},
            "fusion.of": {"words": 1, "again": 1},
        }
    )
    broker = broker_for(spec)
    broker.append(sent("in.chat", b"good day", 0))
    broker.append(sent("in.chat", b"poison", SECOND_US))
    run_to_end(spec, broker)
    first, second = results(broker).values()
    assert first["text"] == {"echo": "GOOD DAY!"}
    assert first["data"] == {"both": {"chars": 18, "words": 4}}
    vector = first["output"]["vector"]
    assert vector[:8] == vector[8:]  # the words are the same whatever their case
    assert any(vector)
    assert second["failed"]["again"] == "nothing to read: echo failed"
    assert list(second["failed"]) == ["again", "echo"]
    assert second["data"] == {"both": {"chars": 6, "words": 1}}  # it has its own record
    assert sorted(v["stage"] for v in values(broker, "out.dead")) == ["again", "echo"]


def test_the_failure_of_one_stage_ends_a_window_whose_last_stage_it_is():
    """Nothing else runs in it: echo fails, and with it all that only reads echo."""
    spec = chat(
        {
            "stages": {
                "echo": {"encoder": "user_encoders:Upper", "of": "chat"},
                "again": {"encoder": "hash_text", "of": "echo"},
                "third": {"encoder": "user_encoders:Lengths", "of": "echo", "out": "out.third"},
            },
            "fusion.of": {"again": 1},
        }
    )
    broker = broker_for(spec)
    broker.append(sent("in.chat", b"poison", 0))
    run_to_end(spec, broker)
    [result] = results(broker).values()
    assert list(result["failed"]) == ["again", "echo", "third"]
    assert result["output"] == {"vector": None}


def test_stages_with_a_topic_write_to_it_what_others_could_read():
    spec = load(
        LOBBY,
        {
            "stages.colour.out": "out.colour",
            "stages.echo": ECHO,
            "stages.lengths": {"encoder": "user_encoders:Lengths", "of": "echo", "out": "out.data"},
            "stages.heard": {"encoder": "user_encoders:Heard", "of": "mic", "out": "out.heard"},
            "stages.grey": {"encoder": "user_encoders:Grey", "of": "echo", "out": "out.grey"},
        },
        SUPPORT,
    )
    broker = broker_for(spec)
    for second in range(3):
        for stream, lane in (("s", 0), ("t", 1)):
            at_us = second * SECOND_US
            broker.append(sent("in.mic", tone(300, 1), at_us, stream=stream, lane=lane))
            broker.append(sent("in.chat", b"hello", at_us, stream=stream, lane=lane))
            picture = RED if second else BLUE
            broker.append(sent("in.cam", picture, at_us, stream=stream, lane=lane))
    run_to_end(spec, broker)
    texts = committed(broker, "out.echo")
    assert [(r.partition, r.key, r.value) for r in texts] == [(0, b"s", b"HELLO!")] * 3 + [
        (1, b"t", b"HELLO!")
    ] * 3
    assert [header(r, "ce_id") for r in texts[:2]] == ["s/0/echo", "s/1000000/echo"]
    assert values(broker, "out.data") == [{"chars": 6, "words": 1}] * 6
    assert {len(r.value) for r in committed(broker, "out.heard")} == {2 * RATE}
    assert header(committed(broker, "out.heard")[0], "content-type") == (
        f"audio/L16;rate={RATE};channels=1"
    )
    grey = committed(broker, "out.grey")[0]
    with Image.open(io.BytesIO(grey.value)) as image:
        assert np.asarray(image).tolist() == [[[6] * 3] * 3] * 2
    rows = []
    for record in committed(broker, "out.colour"):
        with pa.ipc.open_stream(record.value) as reader:
            rows += [(record.partition, row) for row in reader.read_all().to_pylist()]
    assert [(p, r["stream"], r["start_us"], r["end_us"]) for p, r in rows] == [
        (p, s, n * SECOND_US, (n + 1) * SECOND_US)
        for p, s in ((0, "s"), (1, "t"))
        for n in range(3)
    ]
    fused = results(broker, "s")
    for _, row in rows[:3]:
        expected = fused[row["start_us"]]["output"]["vector"][8:32]
        assert row["vector"] == pytest.approx(expected)
