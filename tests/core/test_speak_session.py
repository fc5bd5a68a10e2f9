"""What a visitor of the page sends, as records: where they lie in time, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pipelines import LOBBY, SECOND_US, jpeg, load

from pipeline.media.decode import decode_audio
from pipeline.media.reading import Reader, rules_of
from pipeline.monitor.speak_inputs import spoken_inputs
from pipeline.monitor.speak_session import (
    BURST_BYTES_MAX,
    IDLE_US_MAX,
    SECOND_BYTES_MAX,
    SESSION_US_MAX,
    Now,
    Refusal,
    Sent,
    Session,
)
from pipeline.record import MediaRecord
from pipeline.slot.ports import LogRecord

BEGIN_US = 1_790_000_000_000_000
BROWSER_US = 7_654_321  # what the browser's clock says when the session begins
RATE = 8_000
rng = np.random.default_rng(5)
NOISE = rng.integers(-20_000, 20_000, 4 * RATE).astype("<i2")


def now(after_us: int = 0) -> Now:
    return Now(BEGIN_US + after_us, 50_000_000 + after_us)


def session_of(**changes: object) -> Session:
    return Session("page-a", spoken_inputs(load(LOBBY, changes)), now(), BROWSER_US)


def sound(samples: np.ndarray, after_us: int = 0, rate: int = RATE) -> Sent:
    return Sent("mic", BROWSER_US + after_us, rate, samples.astype("<i2").tobytes())


def us(samples: int, rate: int = RATE) -> int:
    return samples * SECOND_US // rate


def placed(records, begin_us: int = BEGIN_US) -> list[tuple[int, np.ndarray]]:
    """The number of each record's first sample, counted from the beginning, and its samples."""
    return [
        (round((record.ts_us - begin_us) * RATE / SECOND_US), np.frombuffer(record.payload, ">i2"))
        for name, record in records
        if name == "mic"
    ]


def test_sound_lies_where_it_was_said_however_late_it_comes():
    session = session_of()
    records = session.take(sound(NOISE[:4_000]), now(600_000))
    records += session.take(sound(NOISE[4_000:8_000], us(4_000)), now(9_000_000))
    records += session.end()
    assert [first for first, _ in placed(records)] == list(range(0, 8_000, 800))
    assert np.array_equal(np.concatenate([found for _, found in placed(records)]), NOISE[:8_000])
    ends = [record.end_us for _, record in records]
    assert [record.ts_us for _, record in records] == [BEGIN_US, *ends[:-1]]
    assert [record.sequence for _, record in records] == list(range(10))


def test_a_clock_that_is_set_meanwhile_moves_nothing():
    session = session_of()
    records = session.take(sound(NOISE[:1_600]), now(200_000))
    records += session.take(
        sound(NOISE[1_600:3_200], us(1_600)), Now(BEGIN_US - 3600 * SECOND_US, now(400_000)[1])
    )
    assert [record.ts_us - BEGIN_US for _, record in records] == [0, 100_000, 200_000, 300_000]


BLOCKS = st.lists(
    st.tuples(st.integers(20, 900), st.sampled_from(["once", "twice", "lost", "overlapping"])),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(BLOCKS)
@example([(20, "once"), (592, "lost"), (20, "overlapping")])  # eight samples of them come again
@example([(20, "once"), (599, "lost"), (20, "overlapping")])  # one
def test_blocks_that_come_twice_or_never_leave_the_others_where_they_are(blocks):
    """What lies behind all that came before is in one record, within a sample of its place."""
    session = session_of()
    records, at, to, fresh = [], 0, 0, 0
    for length, fate in blocks:
        length = min(length, len(NOISE) - at)
        begin = max(0, at - 600) if fate == "overlapping" else at
        for _ in range({"lost": 0, "twice": 2}.get(fate, 1) if length else 0):
            part = NOISE[begin : at + length]
            records += session.take(sound(part, us(begin)), now(us(at + length)))
            fresh += max(0, at + length - max(begin, to))
            to = max(to, at + length)
        at += length
    records += session.end()
    taken = 0
    for first, samples in placed(records):
        near = range(max(0, first - 1), first + 2)
        assert any(np.array_equal(NOISE[n : n + len(samples)], samples) for n in near)
        taken += len(samples)
    assert abs(taken - fresh) <= len(blocks)
    ends = [record.end_us for _, record in records]
    assert all(end <= record.ts_us for end, (_, record) in zip(ends, records[1:], strict=False))


@pytest.mark.parametrize(
    ("kind", "rate", "channels"),
    [
        ("audio/L16;rate=8000;channels=1", 8_000, 1),
        ("audio/L16;rate=16000;channels=2", 16_000, 2),
        ("audio/x-raw;format=S16LE;rate=44100;channels=1", 44_100, 1),
        ("audio/x-raw;format=F32LE;rate=8000;channels=1", 8_000, 1),
        ("audio/wav", 48_000, 1),
        ("audio/flac;rate=16000", 16_000, 1),
        ("audio/ogg;rate=16000", 16_000, 1),
        ("audio/mpeg;rate=16000", 16_000, 1),
    ],
)
def test_sound_is_written_as_the_input_has_it(kind, rate, channels):
    spec = load(LOBBY, {"inputs.mic.type": kind})
    session = Session("page-a", spoken_inputs(spec), now(), BROWSER_US)
    times = np.arange(48_000) / 48_000
    tone = (12_000 * np.sin(2 * np.pi * 440 * times)).astype("<i2")
    records = session.take(sound(tone, rate=48_000), now(SECOND_US)) + session.end()
    reader, line = Reader(rules_of(spec)), []
    for name, record in records:
        headers = [("content-type", record.content_type.encode())]
        found = reader.read(name, LogRecord("t", 0, 0, BEGIN_US, b"s", record.payload, headers))
        assert isinstance(found, MediaRecord), found
        assert (found.facts.rate, found.facts.channels) == (rate, channels)
        line.append(np.atleast_2d(decode_audio(found.facts, found.payload)).reshape(-1))
    heard = np.concatenate(line)
    assert len(heard) == pytest.approx(rate, abs=rate * 0.002)
    inner = heard[rate // 5 : -rate // 5]
    assert np.sqrt(np.mean(inner**2)) == pytest.approx(12_000 / 32_768 / 2**0.5, rel=0.06)


def test_pictures_and_lines_go_as_they_are():
    session = session_of(**{"inputs.cam.time_offset": "-480ms"})
    picture = jpeg((255, 0, 0))
    [(name, shown)] = session.take(Sent("cam", BROWSER_US + 100, 0, picture), now(50_000))
    assert (name, shown.payload, shown.content_type) == ("cam", picture, "image/jpeg")
    assert shown.mediadur_us == 500_000
    assert shown.ts_us == BEGIN_US + 100 + 480_000  # the offset is about the file's own camera
    assert session.take(Sent("cam", BROWSER_US + 100, 0, picture), now(60_000)) == []
    [(_, line)] = session.take(Sent("chat", BROWSER_US, 0, "grüß Gott".encode()), now(60_000))
    assert (line.payload.decode(), line.mediadur_us, line.ts_us) == ("grüß Gott", None, BEGIN_US)


@pytest.mark.parametrize(
    ("sent", "status", "word"),
    [
        (Sent("smell", BROWSER_US, 0, b"x"), 400, "mic, cam, chat"),
        (Sent("mic", BROWSER_US, 0, b"ab"), 400, "rate = 0"),
        (Sent("mic", BROWSER_US, RATE, b"abc"), 400, "even"),
        (Sent("mic", BROWSER_US, RATE, b""), 400, "nothing"),
        (Sent("mic", BROWSER_US + 4 * SECOND_US, RATE, b"ab"), 400, "future"),
        (Sent("mic", 0, RATE, b"ab"), 400, "back"),
        (Sent("chat", BROWSER_US, 0, b"a" * 5_000), 413, "4096"),
        (Sent("chat", BROWSER_US, 0, b"\xff"), 400, "UTF-8"),
        (Sent("chat", BROWSER_US, 0, b"a\0b"), 400, "zero"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_words(sent, status, word):
    session = session_of()
    with pytest.raises(Refusal, match=word) as refused:
        session.take(sent, now(SECOND_US if sent.at_us else 100 * SECOND_US))
    assert refused.value.status == status
    assert session.end() == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"stream": "partition"}, "mixed"),
        ({"payload": {"json": "a", "base64": True}}, "JSON"),
        ({"type": "audio/aac"}, "audio/aac"),
        ({"type": "video/mp4"}, "films"),
    ],
)
def test_inputs_that_cannot_be_spoken_into_say_why(changes, word):
    changed = {f"inputs.mic.{key}": value for key, value in changes.items()}
    if changes.get("type") == "video/mp4":
        changed["stages.sound"] = {"encoder": "color_histogram", "of": "mic"}
    spec = load(LOBBY, changed)
    assert word in (spoken_inputs(spec)["mic"].why_not or "")
    session = Session("page-a", spoken_inputs(spec), now(), BROWSER_US)
    with pytest.raises(Refusal, match=word):
        session.take(sound(NOISE[:100]), now())


def test_the_stream_of_a_header_goes_there():
    spoken = spoken_inputs(load(LOBBY, {"inputs.mic.stream": "header:who"}))["mic"]
    assert (spoken.target.stream_header, spoken.why_not) == ("who", None)


def test_a_visitor_may_send_so_much_a_second():
    session = session_of()
    picture = b"\xff" * (1 << 20)
    for number in range(BURST_BYTES_MAX >> 20):
        session.take(Sent("cam", BROWSER_US + number, 0, picture), now())
    with pytest.raises(Refusal, match="512 KiB a second") as refused:
        session.take(Sent("cam", BROWSER_US + 99, 0, picture), now())
    assert (refused.value.status, refused.value.retry_s) == (429, 1)
    later = now((1 << 20) * SECOND_US // SECOND_BYTES_MAX)
    assert session.take(Sent("cam", BROWSER_US + 100, 0, picture), later)


def test_a_session_ends_after_its_time_and_in_silence():
    session = session_of()
    assert not session.is_over(now(IDLE_US_MAX - 1))
    assert session.is_over(now(IDLE_US_MAX))
    for second in range(0, SESSION_US_MAX // SECOND_US, 30):
        session.take(
            Sent("chat", BROWSER_US + second * SECOND_US, 0, b"a"), now(second * SECOND_US)
        )
    assert not session.is_over(now(SESSION_US_MAX - 1))
    assert session.is_over(now(SESSION_US_MAX))
