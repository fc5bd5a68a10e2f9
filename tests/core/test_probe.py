"""What ``motet init`` makes of a topic's records: type, byte order, rate, stream, time."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from coded import encoded, tones
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.media.json_fields import JsonPayload
from pipeline.media.probe import TopicGuess, TopicSample, notes_on, probe_topic
from pipeline.media.probe.formats import recognise
from pipeline.media.probe.raw import USUAL_RATES, guess_raw
from pipeline.media.reading import Reader, ReadingRules
from pipeline.record import MediaRecord
from pipeline.slot.ports import LogRecord
from pipeline.spec.media_type import parse_media_type

SPEECH = Path(__file__).parents[2] / "pipeline" / "demo" / "media" / "speech"
BEGIN_US = 1_790_000_000_000_000
CODES = {"S16LE": "<i2", "S16BE": ">i2", "F32LE": "<f4"}


def voice(seed: int, count: int, level: float = 0.3, top: float = 0.05) -> np.ndarray:
    """Tones below ``top`` of the rate, and a little noise: as smooth as recorded sound."""
    rng = np.random.default_rng(seed)
    at = np.arange(count)
    tones = sum(
        np.sin(2 * np.pi * turn * at + phase)
        for turn, phase in zip(rng.uniform(0.003, top, 3), rng.uniform(0, 6, 3), strict=True)
    )
    return level * (tones / 3 + 0.02 * rng.standard_normal(count))


def coded(wave: np.ndarray, code: str) -> bytes:
    scale = 1 if code == "F32LE" else 32767
    return (wave * scale).astype(CODES[code]).tobytes()


def records(
    values, *, step_us: int = 1_000_000, key: bytes | None = b"cam-1", headers=(), times=None
) -> list[LogRecord]:
    return [
        LogRecord(
            "t", 0, number, BEGIN_US + number * step_us if times is None else times[number],
            key, value, list(headers),
        )
        for number, value in enumerate(values)
    ]  # fmt: skip


def probe(
    *runs, topic: str = "t", partitions: int = 4, append_time: bool = False, **changes
) -> TopicGuess:
    sample = TopicSample(topic, partitions, append_time, False, tuple(map(tuple, runs)))
    for name, value in changes.items():
        object.__setattr__(sample, name, value)
    return probe_topic(sample)


def said(guess: TopicGuess, about: str) -> str:
    return "\n".join(str(each) for each in guess.findings if each.about == about)


def picture(kind: str, size=(40, 30)) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", size, (9, 90, 200)).save(sink, kind)
    return sink.getvalue()


def sound(kind: str, subtype: str | None = None, rate: int = 16_000) -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, voice(1, rate), rate, format=kind, subtype=subtype)
    return sink.getvalue()


WAVES = tones(16_000, 1, 16_000)
MP3 = encoded(WAVES, 16_000, "libmp3lame", "mp3", 32_000, muxing={"write_xing": "0"})
MP2 = encoded(WAVES, 16_000, "mp2", "mp2", 64_000)
AAC = encoded(WAVES, 16_000, "aac", "adts", 32_000)
ID3 = b"ID3\x04\0\0\0\0\0\x3f" + bytes(63)


@pytest.mark.parametrize(
    ("payload", "content_type"),
    [
        (picture("JPEG"), "image/jpeg"),
        (picture("PNG"), "image/png"),
        (picture("WEBP"), "image/webp"),
        (picture("GIF"), "image/gif"),
        (sound("WAV"), "audio/wav"),
        (sound("WAV", "FLOAT"), "audio/wav"),
        (sound("FLAC"), "audio/flac"),
        (sound("OGG", "VORBIS"), "audio/ogg"),
        (sound("OGG", "OPUS"), "audio/ogg"),
        (sound("MP3"), "audio/mpeg"),
        (MP3, "audio/mpeg"),
        (MP2, "audio/mpeg"),
        (AAC, "audio/aac"),
        (ID3 + AAC, "audio/aac"),
        (ID3 + MP3, "audio/mpeg"),
        (b"ID3", "audio/mpeg"),
        (b"\x00\x00\x00\x20ftypisom" + bytes(40), "video/mp4"),
        (b"\x00\x00\x00\x01\x67\x42\x00\x1e", "video/H264"),
        (b"\xff\xf1\x50\x80\x01\x1f\xfc\x00", "audio/aac"),
        ("grüße".encode(), "text/plain"),
        (b'{"a": 1}', "application/json"),
        (b'{"a": 1', "text/plain"),
        (bytes(range(256)), ""),
        (b"\x00\x01", ""),
        (b"", ""),
        (b"  \n", ""),
    ],
)
def test_a_payload_is_told_by_its_own_bytes(payload, content_type):
    assert recognise(payload).content_type == content_type


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail(payload):
    guess = probe(records([payload, payload[::-1], payload[:7]]))
    assert bool(guess.type) != bool(guess.trouble)


@settings(deadline=None, max_examples=60)
@given(
    code=st.sampled_from(sorted(CODES)),
    seed=st.integers(0, 1 << 20),
    level=st.floats(0.02, 0.95),
    count=st.integers(400, 3000),
    parts=st.integers(1, 6),
)
def test_the_byte_order_of_sound_is_found(code, seed, level, count, parts):
    wave = voice(seed, count * parts, level)
    payloads = [coded(wave[n * count : (n + 1) * count], code) for n in range(parts)]
    found = guess_raw(payloads)
    assert found is not None
    assert (found.format, found.channels) == (code, 1)


@settings(deadline=None, max_examples=40)
@given(code=st.sampled_from(sorted(CODES)), seed=st.integers(0, 1 << 20))
def test_two_channels_are_told_from_one(code, seed):
    two = np.stack([voice(seed, 4000), voice(seed + 1, 4000)], 1)
    found = guess_raw([coded(two, code)])
    assert found is not None
    assert (found.format, found.channels) == (code, 2)
    same = np.repeat(voice(seed, 4000), 2)
    found = guess_raw([coded(same, code)])
    assert found is not None
    assert (found.format, found.channels) == (code, 2)


def test_noise_that_is_not_at_full_scale_still_has_a_byte_order():
    noise = np.random.default_rng(3).integers(-4000, 4000, 8000)
    for code in ("S16LE", "S16BE"):
        found = guess_raw([noise.astype(CODES[code]).tobytes()])
        assert found is not None
        assert found.format == code


def test_sound_of_8_bits_in_16_keeps_its_byte_order():
    eight = (voice(2, 4000) * 127).astype(np.int16) << 8
    for code in ("S16LE", "S16BE"):
        assert guess_raw([eight.astype(CODES[code]).tobytes()]).format == code


def test_sound_hardly_above_silence_keeps_its_byte_order():
    quiet = np.random.default_rng(0).integers(0, 4, 2000)
    for code in ("S16LE", "S16BE"):
        assert guess_raw([quiet.astype(CODES[code]).tobytes()]).format == code


@pytest.mark.parametrize("code", sorted(CODES))
@pytest.mark.parametrize("length_ms", [20, 200])
def test_the_byte_order_of_recorded_speech_is_found(code, length_ms):
    for path in sorted(SPEECH.iterdir())[:3]:
        wave, rate = soundfile.read(path, dtype="float32")
        count = rate * length_ms // 1000
        for start in range(0, len(wave) - 4 * count, rate):
            parts = [wave[start + n * count : start + (n + 1) * count] for n in range(4)]
            found = guess_raw([coded(part, code) for part in parts])
            assert (found.format, found.channels) == (code, 1), (path.name, start)


def test_a_record_that_was_cut_off_does_not_hide_the_others():
    values = [coded(voice(1, 16_000), "S16LE")] * 19
    guess = probe(records([*values, values[0][:-1]]))
    assert guess.type == "audio/x-raw;format=S16LE;rate=16000;channels=1"
    assert "1 of 20 records are no whole number of samples: dead letters" in said(guess, "type")


def test_compressed_or_encrypted_bytes_are_no_sound():
    for seed in range(20):
        assert guess_raw([np.random.default_rng(seed).bytes(4000)]) is None
    guess = probe(records([np.random.default_rng(1).bytes(4000)] * 4))
    assert guess.type == ""
    assert "bytes of no kind that is known" in guess.trouble


def test_silence_is_said_to_have_no_byte_order():
    guess = probe(records([bytes(32_000)] * 5))
    assert guess.type == "audio/x-raw;format=S16LE;rate=16000;channels=1"
    assert "silence has no byte order (guess)" in said(guess, "type")


@pytest.mark.parametrize("rate", USUAL_RATES)
@pytest.mark.parametrize("length_ms", [20, 100, 1000])
def test_the_rate_is_what_comes_in_the_time_to_the_next_record(rate, length_ms):
    count = rate * length_ms // 1000
    wave = voice(4, count * 20)
    values = [coded(wave[n * count : (n + 1) * count], "S16LE") for n in range(20)]
    jitter = np.random.default_rng(rate).integers(-length_ms * 60, length_ms * 60, 20)
    times = [BEGIN_US + n * length_ms * 1000 + int(jitter[n]) for n in range(20)]
    guess = probe(records(values, times=times))
    assert guess.type == f"audio/x-raw;format=S16LE;rate={rate};channels=1"
    assert said(guess, "rate").startswith(f"rate: {rate} Hz: records follow each other at")


def test_where_the_times_say_nothing_the_rate_is_that_of_a_round_length():
    values = [coded(voice(5, 44_100), "S16BE")] * 6
    guess = probe(records(values, step_us=1000))
    assert guess.type == "audio/L16;rate=44100;channels=1"
    assert "44100 samples are 1000 ms; correct it (guess)" in said(guess, "rate")


def test_what_is_known_and_not_read_says_so():
    guess = probe(records([picture("GIF")] * 3))
    assert guess.trouble.startswith("it holds image/gif, which this version does not read; send")
    floats = voice(1, 4000).astype(">f4").tobytes()
    assert "big-endian floats" in probe(records([floats] * 3)).trouble
    framed = b"\x00\x00\x00\x00\x2a" + bytes(range(200))
    assert "schema registry (schema 42)" in probe(records([framed] * 3)).trouble


def test_the_header_content_type_decides_and_what_it_hides_is_said():
    stated = [("content-type", b"audio/L16;rate=8000")]
    right = probe(records([coded(voice(1, 8000), "S16BE")] * 4, headers=stated))
    assert right.type == "audio/L16;rate=8000;channels=1"
    assert "as the header content-type says (sure)" in said(right, "type")
    wrong = probe(records([coded(voice(1, 8000), "S16LE")] * 4, headers=stated))
    assert wrong.type == right.type
    assert "sound like S16LE" in said(wrong, "type")
    png = probe(records([picture("PNG")] * 4, headers=[("content-type", b"image/jpeg")]))
    assert "state content-type image/jpeg and hold image/png" in png.trouble
    octets = [("content-type", b"application/octet-stream")]
    assert "does not read" in probe(records([picture("PNG")] * 4, headers=octets)).trouble


def test_records_of_another_kind_are_counted():
    guess = probe(records([picture("PNG")] * 9 + [b"words"]))
    assert guess.type == "image/png"
    assert "90% of the records; the others are text/plain: dead letters" in said(guess, "type")


def wrapped(number: int, **fields) -> bytes:
    return json.dumps({"n": number, **fields}).encode()


@pytest.mark.parametrize(
    ("unit", "of_second"), [("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000)]
)
def test_the_field_of_the_media_and_the_unit_of_the_time_are_found(unit, of_second):
    packed = base64.b64encode(picture("JPEG")).decode()
    values = [
        wrapped(n, data={"audio.x": 1, "img": packed, "ts": (BEGIN_US // 10**6 + n) * of_second})
        for n in range(10)
    ]
    guess = probe(records(values, headers=[("content-type", b"application/json")]))
    assert guess.type == "image/jpeg"
    assert (guess.payload.path, guess.payload.base64) == ("data.img", True)
    assert (guess.time.path, guess.time.unit) == ("data.ts", unit)
    assert (guess.first_us, guess.last_us) == (BEGIN_US, BEGIN_US + 9_000_000)


def test_raw_sound_in_base64_and_text_in_a_field_are_found():
    raw = base64.b64encode(coded(voice(1, 16_000), "S16LE")).decode()
    guess = probe(records([wrapped(n, pcm=raw) for n in range(5)]))
    assert guess.type == "audio/x-raw;format=S16LE;rate=16000;channels=1"
    assert guess.payload.path == "pcm"
    talk = [wrapped(n, id=f"{n:032x}", message=f"line {n} of it") for n in range(5)]
    guess = probe(records(talk))
    assert guess.type == "text/plain"
    assert (guess.payload.path, guess.payload.base64) == ("message", False)
    assert "(likely)" in said(guess, "payload")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("data:image/png;base64," + base64.b64encode(picture("PNG")).decode(), "a data: URL"),
        ([0.25, -0.5] * 50, "a list of numbers"),
        (base64.urlsafe_b64encode(picture("JPEG")).decode(), "base64url"),
    ],
)
def test_media_in_a_form_that_is_not_read_says_what_to_send(value, said):
    guess = probe(records([wrapped(n, at={"media": value}, text=f"line {n}") for n in range(3)]))
    assert guess.type == ""
    assert guess.trouble.startswith("field at.media ")
    assert said in guess.trouble


def test_the_time_it_was_taken_goes_before_the_time_it_was_received():
    values = [
        wrapped(n, text=f"a {n}", received_at=BEGIN_US // 1000 + n, captured_at=BEGIN_US // 1000)
        for n in range(10)
    ]
    guess = probe(records(values))
    assert guess.time.path == "captured_at"
    assert "it could also be received_at" in said(guess, "time")


def test_json_without_media_or_words_is_taken_as_text_and_said_so():
    guess = probe(records([wrapped(n, level=n / 7) for n in range(5)]))
    assert (guess.type, guess.payload) == ("text/plain", None)
    assert "JSON, taken as text (guess)" in said(guess, "type")


def test_the_stream_is_the_key_a_header_or_the_partition():
    values = [f"word {n}".encode() for n in range(20)]
    assert said(probe(records(values)), "stream") == "stream: the key (cam-1) (sure)"
    header = [("device-id", b"d7"), ("traceparent", b"x"), ("ce_source", b"here")]
    by_header = probe(records(values, key=None, headers=header))
    assert by_header.stream == "header:device-id"
    assert by_header.streams == {"d7"}
    none = probe(records(values, key=None))
    assert none.stream == "partition"
    own = [record._replace(key=b"%d" % n) for n, record in enumerate(records(values))]
    assert "each record has a key of its own" in said(probe(own), "stream")
    some = [*records(values)[:15], *[r._replace(key=None) for r in records(values)[15:]]]
    assert "5 of 20 records have no usable key" in said(probe(some), "stream")
    assert probe(some).stream == "key"


def test_ce_time_is_the_event_time_and_disorder_is_allowed_for():
    order = [0, 1, 2, 3, 5, 4, 6, 7]
    late = [
        record._replace(headers=[("ce_time", f"2026-01-31T12:00:{n:02}.5Z".encode())])
        for record, n in zip(records([b"hi there"] * 8), order, strict=True)
    ]
    guess = probe(late)
    assert said(guess, "time") == "time: header ce_time (sure)"
    assert guess.out_of_orderness_us == 2_000_000
    assert "1 of 8 records ran back by up to 1 s" in said(guess, "out_of_orderness")
    assert probe(late[:4]).out_of_orderness_us == 200_000
    bad = [late[0]._replace(headers=[("ce_time", b"noon")]), *late[1:]]
    assert "1 are no RFC 3339 times" in said(probe(bad), "time")


def test_a_time_in_words_is_found():
    values = [wrapped(n, text=f"a {n}", time=f"2026-09-21T00:00:0{n}Z") for n in range(5)]
    guess = probe(records(values))
    assert (guess.time.path, guess.time.unit) == ("time", "rfc3339")
    assert guess.first_us == 1_789_948_800_000_000


def test_two_runs_of_one_partition_are_not_taken_for_disorder_or_a_pause():
    old = records([b"hello you"] * 5)
    new = [r._replace(offset=900 + r.offset, timestamp_us=r.timestamp_us - 10**9) for r in old]
    guess = probe(old, new)
    assert guess.out_of_orderness_us == 200_000
    assert guess.spacing_us == 1_000_000


def test_windows_do_not_wait_for_what_is_rare():
    assert not probe(records([b"a word"] * 5, step_us=20_000_000)).gating
    assert probe(records([b"a word"] * 5, step_us=200_000)).gating
    assert not probe(records([picture("JPEG")] * 5, step_us=60_000_000)).gating
    assert probe(records([picture("JPEG")] * 5)).gating
    assert not probe(records([b"a word"])).gating
    assert probe(records([picture("JPEG")])).gating
    assert probe(records([coded(voice(1, 16_000), "S16LE")] * 5, step_us=60_000_000)).gating


def test_sound_that_comes_faster_than_it_plays_is_not_timed():
    guess = probe(records([sound("WAV")] * 5, step_us=2_000))
    assert "records of up to 1 s come 0.002 s apart" in said(guess, "time")
    assert "apart" not in said(probe(records([sound("WAV")] * 5)), "time")


def test_times_ahead_of_kafkas_are_said():
    ahead = [("ce_time", b"2030-01-31T12:00:00Z")]
    assert "ahead of Kafka's timestamps" in said(probe(records([b"a"], headers=ahead)), "time")


def test_topics_that_hold_nothing_or_are_compacted_are_left_out():
    assert probe().trouble.startswith("it is empty")
    assert probe(records([None, b""])).trouble.startswith("its records have no values")
    assert "compacted" in probe(records([b"a"]), compacted=True).trouble


def test_what_topics_say_together():
    one = probe(records([b"a word"] * 3))
    assert notes_on([one, one]) == []
    fewer = probe(records([b"a word"] * 3), partitions=1, topic="u")
    [note] = notes_on([one, fewer])
    assert "differ in their number of partitions" in note
    other = probe(records([b"a word"] * 3, key=b"x"))
    assert len([n for n in notes_on([one, other]) if "meet in no window" in n]) == 1
    later = probe([r._replace(timestamp_us=r.timestamp_us + 10**9) for r in records([b"w"] * 3)])
    [note] = notes_on([one, later])
    assert "the event times of t lie 998 s before those of the other topics" in note


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(["wav", "jpeg", "S16LE", "S16BE", "F32LE", "text"]),
    inside=st.booleans(),
    seed=st.integers(0, 999),
)
def test_what_is_guessed_is_what_the_reader_then_reads(kind, inside, seed):
    """The guess, as rules of a file, makes every sampled record sound."""
    payload = {
        "wav": lambda: sound("WAV"),
        "jpeg": lambda: picture("JPEG", (8 + seed % 9, 8)),
        "text": lambda: f"words {seed}".encode(),
    }.get(kind, lambda: coded(voice(seed, 8000), kind))()
    if inside and kind != "text":
        payload = wrapped(seed, at={"media": base64.b64encode(payload).decode()})
    sent = records([payload] * 3)
    guess = probe(sent)
    assert not guess.trouble
    at = guess.payload
    rules = ReadingRules(
        media=parse_media_type(guess.type),
        stream=guess.stream,
        payload=None if at is None else JsonPayload(tuple(at.path.split(".")), at.base64),
    )
    reader = Reader({"in": rules})
    assert all(isinstance(reader.read("in", record), MediaRecord) for record in sent)


@pytest.mark.parametrize(
    ("payload", "type_", "text", "frames"),
    [
        (sound("MP3"), "audio/mpeg;rate=16000", "(layer III, files), 16000 Hz, 1 channel", False),
        (MP3, "audio/mpeg;rate=16000", "(layer III, frames), 16000 Hz, 1 channel", True),
        (MP2, "audio/mpeg;rate=16000", "(layer II), 16000 Hz, 1 channel", False),
        (AAC, "audio/aac;rate=16000", "audio/aac, 16000 Hz, 1 channel", True),
        (picture("WEBP"), "image/webp", "image/webp, 40 x 30", False),
    ],
)
def test_compressed_sound_and_pictures_say_what_they_are(payload, type_, text, frames):
    guess = probe(records([payload] * 3))
    assert guess.type == type_
    assert text in said(guess, "type")
    assert ("frames of a running stream" in said(guess, "type")) == frames
