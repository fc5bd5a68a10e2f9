"""What ingest decides about a record: every rule of contract section 3, and that it is pure."""

from __future__ import annotations

import base64
import io
import json
import wave
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.media.json_fields import JsonPayload, JsonTime
from pipeline.media.reading import Reader, ReadingRules, rules_of
from pipeline.record import Facts, MediaRecord, UnsoundRecord
from pipeline.slot.ports import LogRecord
from pipeline.spec import loads
from pipeline.spec.media_type import parse_media_type

L16 = "audio/L16;rate=16000;channels=1"
NOW_US = 1_714_564_800_000_000  # 2024-05-01T12:00:00Z
SECOND = bytes(32_000)
MIC = ReadingRules(parse_media_type(L16))
CHAT = ReadingRules(parse_media_type("text/plain"))
CAMERA = ReadingRules(parse_media_type("image/png"))


def log(value=SECOND, key=b"cam-7", append_us=NOW_US, partition=3, **headers):
    named = {name.replace("content_type", "content-type"): text for name, text in headers.items()}
    return LogRecord("t", partition, 42, append_us, key, value, list(named.items()))


def read(record, rules=MIC):
    found = Reader({"mic": rules}).read("mic", record)
    assert found.log is record
    assert found.input == "mic"
    return found


def sound(record, rules=MIC):
    found = read(record, rules)
    assert isinstance(found, MediaRecord), found
    return found


def unsound(record, reason, mention="", rules=MIC):
    found = read(record, rules)
    assert isinstance(found, UnsoundRecord), found
    assert found.reason == reason
    assert mention in found.error
    assert "\n" not in found.error
    return found


def png(width=4, height=3):
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def test_bare_record_takes_its_place_from_kafka_and_the_file():
    found = sound(log())
    assert found == MediaRecord(
        "mic",
        "cam-7",
        NOW_US,
        NOW_US + 1_000_000,
        Facts("audio", "S16BE", 16_000, 1, 16_000),
        SECOND,
        found.log,
    )


def test_headers_go_before_kafka_and_the_file():
    found = sound(
        log(ce_time=b"2024-05-01T11:59:58.25Z", content_type=b"audio/x-raw;format=F32LE;rate=8000")
    )
    assert found.ts_us == NOW_US - 1_750_000
    assert found.facts == Facts("audio", "F32LE", 8_000, 1, 8_000)
    assert found.end_us == found.ts_us + 1_000_000


def test_what_one_record_states_does_not_stick_to_the_next():
    reader = Reader({"mic": MIC})
    other = log(content_type=b"audio/x-raw;format=F32LE;rate=8000")
    formats = [reader.read("mic", each).facts.format for each in (other, log(), other, log())]
    assert formats == ["F32LE", "S16BE", "F32LE", "S16BE"]


def test_of_equal_headers_the_last_counts():
    record = log()._replace(
        headers=[("ce_time", b"2024-05-01T11:00:00Z"), ("ce_time", b"2024-05-01T12:00:00Z")]
    )
    assert sound(record).ts_us == NOW_US


def test_end_is_floored():
    rules = replace(MIC, media=parse_media_type("audio/L16;rate=44100"))
    assert sound(log(bytes(2_000)), rules).end_us == NOW_US + 1_000 * 1_000_000 // 44_100


def test_time_offset_moves_every_event_time():
    rules = replace(MIC, time_offset_us=-480_000)
    assert sound(log(), rules).ts_us == NOW_US - 480_000
    assert sound(log(ce_time=b"2024-05-01T12:00:01Z"), rules).ts_us == NOW_US + 520_000


class TestStream:
    def test_longest_and_shortest_key(self):
        assert sound(log(key="ä".encode() * 128)).stream == "ä" * 128
        assert sound(log(key=b"x")).stream == "x"

    @pytest.mark.parametrize(
        ("key", "mention"),
        [(None, "no stream id"), (b"", "no stream id"), (b"x" * 257, "257"), (b"\xff", "UTF-8")],
    )
    def test_bad_key(self, key, mention):
        unsound(log(key=key), "bad-record", mention)

    def test_header(self):
        rules = replace(MIC, stream="header:room")
        assert sound(log(key=None, room=b"lobby"), rules).stream == "lobby"
        unsound(log(), "bad-record", "header room", rules)
        unsound(log(room=b"\xff"), "bad-record", "UTF-8", rules)

    def test_partition(self):
        assert sound(log(key=None), replace(MIC, stream="partition")).stream == "3"


class TestBadRecord:
    def test_negative_kafka_timestamp(self):
        unsound(log(append_us=-1_000), "bad-record", "-1 ms")
        unsound(log(append_us=-1_000, ce_time=b"2024-05-01T12:00:00Z"), "bad-record")

    @pytest.mark.parametrize("text", [b"", b"yesterday", b"2024-05-01T12:00:00", b"\xff" * 500])
    def test_bad_time(self, text):
        unsound(log(ce_time=text), "bad-record", "ce_time")

    @pytest.mark.parametrize("text", [b"", b"0", b"000", b"-1", b"1.5", b"+5", b"1e3", b" 1"])
    def test_bad_duration_even_where_it_is_not_needed(self, text):
        unsound(log(ce_mediadur=text), "bad-record", "ce_mediadur")

    def test_goes_before_too_large(self):
        rules = replace(MIC, record_bytes=10)
        unsound(log(key=None), "bad-record", rules=rules)


class TestDuration:
    def test_images_and_texts_last_as_stated_or_a_microsecond(self):
        for rules, value in ((CAMERA, png()), (CHAT, b"hello")):
            assert sound(log(value), rules).end_us == NOW_US + 1
            assert sound(log(value, ce_mediadur=b"40000"), rules).end_us == NOW_US + 40_000

    def test_audio_lasts_as_long_as_its_samples(self):
        assert sound(log(ce_mediadur=b"5")).end_us == NOW_US + 1_000_000

    def test_a_number_of_any_length_is_one(self):
        unsound(log(b"hello", ce_mediadur=b"9" * 9_000), "future", rules=CHAT)
        assert sound(log(b"hello", ce_mediadur=b"0" * 9_000 + b"7"), CHAT).end_us == NOW_US + 7


class TestTooLarge:
    def test_at_the_limit_and_over(self):
        sound(log(), replace(MIC, record_bytes=32_000))
        unsound(log(), "too-large", "32000", replace(MIC, record_bytes=31_999))

    def test_is_not_parsed(self):
        rules = replace(MIC, record_bytes=10, payload=JsonPayload(("a",), True))
        unsound(log(b"[" * 11), "too-large", rules=rules)


class TestFuture:
    def test_at_the_limit_and_over(self):
        rules = replace(MIC, future_max_us=1_500_000)
        sound(log(ce_time=b"2024-05-01T12:00:00.5Z"), rules)
        unsound(log(ce_time=b"2024-05-01T12:00:00.500001Z"), "future", "1500001", rules)

    def test_goes_before_a_long_span(self):
        rules = replace(MIC, future_max_us=1, record_span_us=1)
        unsound(log(), "future", rules=rules)

    def test_the_past_is_no_fault(self):
        assert sound(log(ce_time=b"1969-12-31T23:59:00Z")).ts_us == -60_000_000


class TestUndecodable:
    def test_span_at_the_limit_and_over(self):
        sound(log(), replace(MIC, record_span_us=1_000_000))
        unsound(log(), "undecodable", "record_span", replace(MIC, record_span_us=999_999))

    @pytest.mark.parametrize("value", [None, b""])
    @pytest.mark.parametrize("rules", [MIC, CAMERA, CHAT])
    def test_empty(self, value, rules):
        unsound(log(value), "undecodable", "empty", rules)

    def test_odd_bytes(self):
        unsound(log(bytes(31_999)), "undecodable", "31999")

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"noise",
            b"image/png",
            b"text/plain",
            b"application/octet-stream",
            b"audio/mp4",
            b"audio/L16",
            b"audio/L16;rate=0",
            b"audio/L16;rate=1000001",
            b"audio/L16;rate=16000;channels=0",
            b"audio/x-raw;rate=16000",
            b"audio/x-raw;rate=16000;format=S8",
            b"audio/L16;rate",
            "audio/L16;rate=١٦٠٠٠".encode(),
            b"x" * 100_000,
        ],
    )
    def test_not_of_its_type(self, text):
        unsound(log(content_type=text), "undecodable", "content-type")

    def test_parameters_that_mean_nothing_are_passed_over(self):
        sound(log(content_type=b'AUDIO/l16; rate="16000"; emphasis=50-15'))

    def test_more_pixels_than_the_limit(self):
        sound(log(png(6, 7)), replace(CAMERA, pixels=42))
        unsound(log(png(6, 7)), "undecodable", "limits.pixels = 41", replace(CAMERA, pixels=41))

    def test_text_that_is_not_utf8(self):
        unsound(log(b"caf\xe9"), "undecodable", "byte 3", CHAT)


class TestJson:
    RULES = replace(
        MIC, payload=JsonPayload(("data", "audio"), True), time=JsonTime(("data", "ts"), "ms")
    )

    def value(self, **data):
        given = {"audio": base64.b64encode(SECOND).decode(), "ts": NOW_US // 1_000 + 7} | data
        return json.dumps({"data": given}).encode()

    def test_payload_and_time(self):
        # The header describes the JSON, the file what is in it.
        found = sound(log(self.value(), content_type=b"application/json"), self.RULES)
        assert found.payload == SECOND
        assert found.ts_us == NOW_US + 7_000
        assert found.facts == Facts("audio", "S16BE", 16_000, 1, 16_000)

    def test_the_whole_json_may_be_the_text(self):
        rules = replace(CHAT, time=JsonTime(("ts",), "s"))
        record = log(b'{"ts": 1714564800, "say": "hi"}', content_type=b"application/json")
        assert sound(record, rules).payload == record.value

    def test_the_stated_time_goes_before_ce_time(self):
        record = log(self.value(), ce_time=b"2024-05-01T11:00:00Z")
        assert sound(record, self.RULES).ts_us == NOW_US + 7_000

    @pytest.mark.parametrize(
        ("text", "unit", "expected_us"),
        [
            ("1714564800.1234567", "s", NOW_US + 123_456),
            ("1714564799.9999999999999999999999999", "s", NOW_US - 1),
            ("1.7145648e9", "s", NOW_US),
            ("1714564800000000999", "ns", NOW_US),
            ("-1", "ns", -1),
            ('"1714564800000"', "ms", NOW_US),
        ],
    )
    def test_numbers_are_exact(self, text, unit, expected_us):
        rules = replace(CHAT, time=JsonTime(("ts",), unit))
        assert sound(log(f'{{"ts": {text}}}'.encode()), rules).ts_us == expected_us

    @pytest.mark.parametrize("ts", [None, "soon", "", True, [1], {}, 1e300, 10**40])
    def test_no_time(self, ts):
        unsound(log(self.value(ts=ts)), "bad-record", "data.ts", self.RULES)

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"{",
            b"\xff",
            b"NaN",
            b'{"data": 1}',
            b'{"data": {}}',
            b'{"data": {"audio": 5}}',
            b'{"data": {"audio": "$$$"}}',
            b'{"data": {"audio": "AAA"}}',
            b'{"data": {"audio": ""}}',
        ],
    )
    def test_no_payload(self, value):
        unsound(log(value), "undecodable", rules=replace(self.RULES, time=None))

    def test_base64_may_be_broken_into_lines(self):
        packed = base64.encodebytes(SECOND).decode()
        assert sound(log(self.value(audio=packed)), self.RULES).payload == SECOND

    def test_media_is_base64(self):
        rules = replace(MIC, payload=JsonPayload(("a",), False))
        unsound(log(b'{"a": "xx"}'), "undecodable", "base64: true", rules)

    def test_text_as_it_stands_in_a_list(self):
        rules = replace(CHAT, payload=JsonPayload(("lines", "1"), False))
        assert sound(log('{"lines": ["a", "é\\n"]}'.encode()), rules).payload == "é\n".encode()
        unsound(log(b'{"lines": ["a"]}'), "undecodable", "lines.1", rules)
        unsound(log(b'{"lines": ["a", "\\ud800"]}'), "undecodable", "surrogate", rules)

    def test_depth_is_bounded_whatever_the_stack(self):
        rules = replace(CHAT, payload=JsonPayload(("a",), False))
        deep = b'{"b": ' + b"[" * 100_000 + b"]" * 100_000 + b', "a": "x"}'
        unsound(log(deep), "undecodable", "nested", rules)
        unsound(log(b"[" * 63 + b'"' * 100_001), "undecodable", rules=rules)
        brackets = b'{"a": "' + b'[{\\"' * 1_000 + b'"}'
        assert sound(log(brackets), rules).payload == b'[{"' * 1_000
        wide = json.dumps({"a": "x", "b": [[]] * 1_000}).encode()
        assert sound(log(wide), rules).payload == b"x"


def test_wav_record_brings_its_own_rate():
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((2, 2, 22_050, 0, "NONE", ""))
        writer.writeframes(bytes(4 * 11_025))
    found = sound(log(file.getvalue(), content_type=b"audio/wav"))
    assert found.facts == Facts("audio", "wav", 22_050, 2, 11_025)
    assert found.end_us == NOW_US + 500_000


def test_rules_of_a_pipeline_file(tmp_path):
    spec = loads(
        """
        version: 1
        name: lobby
        inputs:
          mic: {topic: a, type: "audio/L16;rate=16000", stream: "header:room", time_offset: -480ms,
                payload: {json: data.audio, base64: true}, time: {json: data.ts, unit: ms}}
          chat: {topic: b, type: text/plain, gating: false}
        windows: {size: 1s, future_max: 7s}
        stages:
          sound: {encoder: log_mel, of: mic}
          words: {encoder: hash_text, of: chat}
        fusion: {rule: weighted_sum, of: {sound: 1, words: 1}, dim: 16}
        outputs: {results: r, late: l, dead_letter: d}
        limits: {record_bytes: 1MiB, record_span: 9s, pixels: 1000}
        """,
        folder=tmp_path,
    )
    limits = {"future_max_us": 7_000_000, "record_bytes": 1 << 20, "record_span_us": 9_000_000}
    assert rules_of(spec) == {
        "mic": ReadingRules(
            parse_media_type("audio/L16;rate=16000"),
            stream="header:room",
            payload=JsonPayload(("data", "audio"), True),
            time=JsonTime(("data", "ts"), "ms"),
            time_offset_us=-480_000,
            pixels=1_000,
            **limits,
        ),
        "chat": ReadingRules(parse_media_type("text/plain"), pixels=1_000, **limits),
    }


keys = st.sampled_from([None, b"", b"a", b"cam-7", b"\xff", b"k" * 300])
values = st.sampled_from([None, b"", b"\0", bytes(2_000), bytes(32_000), b"RIFF", b"{}"])
pool = {
    "content-type": [
        L16.encode(),
        b"audio/wav",
        b"audio/L16",
        b"image/png",
        b"\xff",
        b"text/plain",
    ],
    "ce_time": [b"2024-05-01T12:00:00Z", b"2024-05-01T12:00:00.5Z", b"2024-05-01T12:00:0", b""],
    "ce_mediadur": [b"1", b"0", b"x"],
}
headers = st.lists(
    st.sampled_from([(name, text) for name, texts in pool.items() for text in texts]), max_size=5
)
logs = st.builds(
    LogRecord,
    st.just("t"),
    st.integers(0, 3),
    st.integers(0, 9),
    st.sampled_from([-1, 0, NOW_US]),
    keys,
    values,
    headers,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(logs, min_size=1, max_size=12), st.sampled_from([MIC, CHAT, CAMERA]))
def test_reading_is_pure_and_never_raises(records, rules):
    warm = Reader({"x": rules})
    for record in records:
        assert warm.read("x", record) == Reader({"x": rules}).read("x", record)
