"""What ``motet run --local --until-end`` writes, read by a client of another make."""

from __future__ import annotations

import io
import itertools
import json
import zlib
from collections.abc import Callable
from typing import NamedTuple

import librosa
import numpy as np
import pytest
import soundfile
from kafka.partitioner.default import murmur2
from kafka_user import BEGIN_US, PARTITIONS, noise
from PIL import Image

from pipeline.clock import wall_us

pytestmark = pytest.mark.kafka

# The example of the contract's section 2, as it stands.
LOBBY = """
version: 1
name: lobby                        # [a-z0-9][a-z0-9-]{0,62}; the Kafka group id
kafka:
  bootstrap: ${KAFKA:-127.0.0.1:9092}   # the port that `motet kafka start` takes where it is free
  client: {}                       # any kafka-python setting (security_protocol, sasl_..., ssl_...)
inputs:                            # the modalities: name -> topic
  mic:    {topic: lobby.audio, type: "audio/L16;rate=16000;channels=1", out_of_orderness: 200ms}
  camera: {topic: lobby.video, type: image/jpeg, out_of_orderness: 200ms, time_offset: 0ms}
  chat:   {topic: lobby.text,  type: text/plain, gating: false}
windows: {size: 1s, hop: 1s, idle: 5s, future_max: 60s}
start: earliest                    # earliest | latest | an RFC 3339 time
stages:                            # the dataflow: name -> encoder and what it reads
  sound:  {encoder: log_mel, of: mic, options: {n_mels: 64}}
  colour: {encoder: color_histogram, of: camera, replicas: {min: 1, max: 4}, num_gpus: auto,\
 batch_max: 32, timeout: 10s}
  words:  {encoder: hash_text, of: chat}
fusion:
  rule: weighted_sum               # weighted_sum | concat | gated | attention | late
  of: {sound: 0.3, colour: 0.4, words: 0.3}
  normalize: l2                    # l2 | none; by default l2 for weighted_sum, none for concat
  dim: 128                         # vectors of unequal length are brought to it by a projection
outputs: {results: lobby.results, late: lobby.late, dead_letter: lobby.dead-letter}
commit_interval: 250ms
slots: 4
limits: {in_flight_bytes: 256MiB, open_bytes: 1GiB, record_bytes: 32MiB, record_span: 60s,\
 pixels: 33000000, decode_time: 5s, dead_letter_rate: 5%}
metrics: {host: 127.0.0.1, port: 9464}
ray: {address: auto}               # auto (a local Ray is started where none runs) | an address
"""
KEYS = (
    "stream window rev present missing coverage output weights attribution text data failed model"
)


def log_mel(samples: np.ndarray) -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=samples, sr=16_000, n_fft=400, hop_length=160, n_mels=64
    )
    return librosa.power_to_db(power, top_db=None).mean(axis=1)


def lane_of(stream: str) -> int:
    """As Java and kafka-python spread keys over partitions."""
    return (murmur2(stream.encode()) & 0x7FFFFFFF) % PARTITIONS


def test_the_example_of_the_contract_runs_as_it_stands(user, motet, monkeypatch, tmp_path):
    monkeypatch.setenv("KAFKA", user.bootstrap)
    file, media = tmp_path / "lobby.yaml", tmp_path / "media"
    file.write_text(LOBBY)
    (media / "frames").mkdir(parents=True)
    speech = np.frombuffer(noise(1, 3), ">i2").astype(np.int16)
    soundfile.write(media / "talk.wav", speech, 16_000)
    for number in range(3):
        Image.new("RGB", (32, 24), (80 * number, 90, 20)).save(media / f"frames/{number}.jpg")
    (media / "notes.txt").write_text("the doors open\nwelcome\n")
    missing = motet("run", file, "--local", "--until-end")
    assert (missing.code, missing.out) == (2, "")
    assert "inputs.mic.topic = lobby.audio: it is not there" in missing.err
    assert "`motet topics create " in missing.err
    assert motet("topics", "create", file).code == 0
    assert motet("publish", "--to", file, "--stream", "cam-7", media).code == 0

    began_us = wall_us()
    ran = motet("run", file, "--local", "--until-end")
    assert ran.code == 0, ran.err
    summary = json.loads(ran.out)
    assert list(summary) == [
        "records", "windows", "late", "dead_letter", "seconds", "windows_per_second",
    ]  # fmt: skip
    assert [*summary.values()][:4] == [8, 3, 0, 0]
    assert summary["windows_per_second"] == pytest.approx(3 / summary["seconds"], rel=0.05)

    records = user.read("lobby.results")
    assert not user.read("lobby.late") + user.read("lobby.dead-letter")
    assert {(r.key, r.partition) for r in records} == {(b"cam-7", lane_of("cam-7"))}
    first, second, third = results = [json.loads(r.value) for r in records]
    for number, (record, result) in enumerate(zip(records, results, strict=True)):
        assert list(result) == KEYS.split()
        begin_us, end_us = result["window"]["start_us"], result["window"]["end_us"]
        assert list(result["window"].values()) == [begin_us, begin_us + 1_000_000]
        assert began_us / 1000 - 1 <= record.timestamp <= wall_us() / 1000
        headers = dict(record.headers)
        ce_time = np.datetime64(headers.pop("ce_time").decode().removesuffix("Z"), "us")
        assert ce_time.astype(int) == end_us
        assert headers == {
            "content-type": b"application/json",
            "ce_specversion": b"1.0",
            "ce_type": b"motet.result.v1",
            "ce_source": b"motet/lobby",
            "ce_id": b"cam-7/%d" % begin_us,
        }
        samples = (speech[16_000 * number : 16_000 * (number + 1)] / 32768).astype(np.float32)
        shares = fused(result, {"sound": log_mel(samples)})
        assert sum(result["attribution"].values()) == pytest.approx(1)
        assert result["attribution"]["sound"] == pytest.approx(shares["sound"], abs=1e-6)
        assert result["model"] == first["model"]
        assert result["model"].startswith("lobby@sha256:")
        assert (result["rev"], result["coverage"]) == (0, {"mic": 1.0})
        assert (result["text"], result["data"], result["failed"]) == ({}, {}, {})
    assert (first["present"], first["missing"]) == (["camera", "chat", "mic"], [])
    assert (third["present"], third["missing"]) == (["camera", "mic"], ["chat"])
    assert second["weights"] == {"colour": 0.4, "sound": 0.3, "words": 0.3}
    assert third["weights"] == pytest.approx({"colour": 0.4 / 0.7, "sound": 0.3 / 0.7})
    again = motet("run", file, "--local", "--until-end")
    assert [*json.loads(again.out).values()][:4] == [0, 0, 0, 0]
    assert user.read("lobby.results") == records


def fused(result: dict, vectors: dict[str, np.ndarray]) -> dict[str, float]:
    """The shares of these stages in a weighted sum, by the contract's formula."""
    total = np.array(result["output"]["vector"])
    shares = {}
    for stage, vector in vectors.items():
        rng = np.random.default_rng(zlib.crc32(stage.encode()))
        projection = rng.standard_normal((len(total), len(vector))) / np.sqrt(len(total))
        part = projection @ (vector / np.linalg.norm(vector))
        shares[stage] = result["weights"][stage] * (part @ total) / (total @ total)
    return shares


# -- log_mel of all the forms that audio comes in ---------------------------------------------


class Form(NamedTuple):
    """One way that audio comes: its type, and an encoder of (samples, channels) in [-1, 1]."""

    type: str
    rate: int
    channels: int
    encode: Callable[[np.ndarray, int], bytes]


def raw(dtype: str) -> Callable[[np.ndarray, int], bytes]:
    scale = 1 if "f" in dtype else 32767
    return lambda wave, _rate: (wave * scale).astype(dtype).tobytes()


def packed(kind: str, subtype: str) -> Callable[[np.ndarray, int], bytes]:
    def encode(wave: np.ndarray, rate: int) -> bytes:
        sink = io.BytesIO()
        soundfile.write(sink, wave, rate, format=kind, subtype=subtype)
        return sink.getvalue()

    return encode


def heard(form: Form, payload: bytes) -> np.ndarray:
    """The samples of a payload, mixed to mono, by other means than the product's."""
    if form.type in ("audio/wav", "audio/flac", "audio/ogg"):
        return soundfile.read(io.BytesIO(payload), dtype="float32", always_2d=True)[0].mean(axis=1)
    dtype = ">i2" if "L16" in form.type else "<f4" if "F32LE" in form.type else "<i2"
    scale = 1 if dtype == "<f4" else 32768
    return (np.frombuffer(payload, dtype) / scale).reshape(-1, form.channels).mean(axis=1)


FORMS = {
    "l16": Form("audio/L16;rate=16000;channels=1", 16_000, 1, raw(">i2")),
    "s16": Form("audio/x-raw;format=S16LE;rate=16000;channels=1", 16_000, 1, raw("<i2")),
    "f32": Form("audio/x-raw;format=F32LE;rate=16000;channels=2", 16_000, 2, raw("<f4")),
    "wav": Form("audio/wav", 16_000, 2, packed("WAV", "PCM_24")),
    "flac": Form("audio/flac", 16_000, 1, packed("FLAC", "PCM_16")),
    "ogg": Form("audio/ogg", 16_000, 1, packed("OGG", "VORBIS")),
    "cd": Form("audio/x-raw;format=S16LE;rate=44100;channels=2", 44_100, 2, raw("<i2")),
    "cdflac": Form("audio/flac", 44_100, 1, packed("FLAC", "PCM_16")),
}
# Where a stream begins after a window does (the last one between two samples), and the length
# of its records: with 700 ms most windows are made of two records, some of three.
STREAMS = {"aligned": (0, 1.0), "two": (370_000, 0.7), "between": (370_013, 0.7)}
SECONDS = 4.9


def test_log_mel_is_librosas_in_every_form_and_however_records_cut_it(
    user, motet, prefix, make_file
):
    stages = {name: {"encoder": "log_mel", "of": name} for name in FORMS}
    file = make_file(
        prefix,
        inputs={n: {"topic": f"{prefix}.{n}", "type": f.type} for n, f in FORMS.items()},
        stages={f"of-{name}": stage for name, stage in stages.items()},
        fusion={"rule": "concat", "of": {f"of-{name}": 1 for name in FORMS}},
    )
    sent: dict[tuple[str, str], np.ndarray] = {}
    rng = np.random.default_rng(5)
    for (stream, (offset_us, length_s)), (name, form) in itertools.product(
        STREAMS.items(), FORMS.items()
    ):
        times = np.arange(round(SECONDS * form.rate)) / form.rate
        tone = 0.3 * np.sin(2 * np.pi * (400 + 150 * times) * times)
        wave = tone[:, None] + 0.1 * rng.standard_normal((len(times), form.channels))
        wave = np.clip(wave, -1, 1)
        step = round(length_s * form.rate)
        parts = []
        for at in range(0, len(wave), step):
            payload = form.encode(wave[at : at + step], form.rate)
            time_us = BEGIN_US + offset_us + at * 1_000_000 // form.rate
            user.send(f"{prefix}.{name}", stream, payload, time_us)
            parts.append(heard(form, payload))
        sent[stream, name] = np.concatenate(parts)
    user.producer.flush()

    ran = motet("run", file, "--local", "--until-end")
    assert ran.code == 0, ran.err
    results = [json.loads(record.value) for record in user.read(f"{prefix}.results")]
    assert len(results) == 5 + 6 + 6
    for result in results:
        offset_us = STREAMS[result["stream"]][0]
        window_us = result["window"]["start_us"] - BEGIN_US
        for number, (name, form) in enumerate(FORMS.items()):
            whole = sent[result["stream"], name].astype(np.float32)
            if form.rate != 16_000:
                whole = librosa.resample(
                    whole, orig_sr=form.rate, target_sr=16_000, res_type="soxr_hq"
                )
            expected = log_mel(window_of(whole, (window_us - offset_us) * 16_000 / 1_000_000))
            given = np.array(result["output"]["vector"][64 * number : 64 * (number + 1)])
            allowed_db = 1e-3 if form.rate == 16_000 else 0.05
            worst_db = np.abs(given - expected).max()
            assert worst_db <= allowed_db, (result["stream"], window_us, name, worst_db)
            there_us = min(window_us + 1_000_000, offset_us + SECONDS * 1e6)
            there_us -= max(window_us, offset_us)
            assert result["coverage"][name] == pytest.approx(there_us / 1e6, abs=2e-6)


def window_of(whole: np.ndarray, first: float) -> np.ndarray:
    """A second of 16 kHz from the sample nearest to ``first``, zeros where there is none."""
    at = round(first)
    window = np.zeros(16_000, np.float32)
    begin, end = max(at, 0), min(at + 16_000, len(whole))
    window[begin - at : end - at] = whole[begin:end]
    return window


# -- letters ----------------------------------------------------------------------------------


def broken_jpeg() -> bytes:
    """Its header can be read, and its body cannot."""
    sink = io.BytesIO()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(sink, "JPEG")
    return sink.getvalue()[:900]


def test_what_cannot_be_used_or_comes_late_goes_to_its_topic_as_it_came(
    user, motet, prefix, make_file, tmp_path
):
    (tmp_path / "moody.py").write_text(
        "import numpy as np\n"
        "class Moody:\n"
        "    takes, gives, length = 'audio', 'vector', 1\n"
        "    def __init__(self, device): pass\n"
        "    def encode(self, batch):\n"
        "        if any(clip.start_us % 10_000_000 == 2_000_000 for clip in batch):\n"
        "            raise ValueError('not on\\nthis one')\n"
        "        return [np.ones(1, np.float32)] * len(batch)\n"
    )
    inputs = {
        "mic": {"topic": f"{prefix}.audio", "type": "audio/L16;rate=16000;channels=1"},
        "camera": {"topic": f"{prefix}.video", "type": "image/jpeg", "gating": False},
    }
    file = make_file(
        prefix,
        inputs=inputs,
        stages={
            "moody": {"encoder": "moody:Moody", "of": "mic"},
            "colour": {"encoder": "color_histogram", "of": "camera"},
        },
        fusion={"rule": "concat", "of": {"moody": 1, "colour": 1}},
        limits={"record_bytes": "64KiB"},
    )
    sound, picture = f"{prefix}.audio", f"{prefix}.video"
    lane = lane_of("s")
    user.send(picture, "s", broken_jpeg(), BEGIN_US + 500_000, ("ce_mediadur", b"1000000"))
    for second in range(20):
        user.send(sound, "s", noise(second), BEGIN_US + second * 1_000_000)
    user.send(sound, "s", noise(1), BEGIN_US + 11_500_000, ("mine", b"kept"))
    odd = {
        "no stream id": (sound, None, noise(2), BEGIN_US, ()),
        "not UTF-8": (sound, b"\xff", noise(3), BEGIN_US, ()),
        "ce_time": (sound, "s", noise(4), None, (("ce_time", b"soon"),)),
        "frames of 2 bytes": (sound, "s", b"odd", BEGIN_US, ()),
        "payload is empty": (sound, "s", b"", BEGIN_US, ()),
        "ce_mediadur": (picture, "s", b"x", BEGIN_US, (("ce_mediadur", b"0"),)),
        "after its Kafka timestamp": (sound, "s", noise(5), 32_503_680_000_000_000, ()),
        "limits.record_bytes": (sound, "s", noise(6, 3), BEGIN_US, ()),
    }
    for topic, key, value, time_us, headers in odd.values():
        user.send(topic, key, value, time_us, *headers, partition=lane)
    user.producer.flush()
    ran = motet("run", file, "--local", "--until-end")
    assert ran.code == 0, ran.err

    [late] = user.read(f"{prefix}.late")
    headers = dict(late.headers)
    assert (late.partition, late.key, late.value) == (lane, b"s", noise(1))
    assert headers["mine"] == b"kept"
    assert headers["motet-reason"] == b"late"
    assert headers["motet-clock-us"] == b"%d" % (BEGIN_US + 19_800_000)
    assert headers["motet-windows"] == b"%d,%d" % (BEGIN_US + 11_000_000, BEGIN_US + 12_000_000)
    place = [headers[f"motet-{part}"] for part in ("topic", "partition", "offset")]
    assert place == [sound.encode(), b"%d" % lane, b"20"]

    dead = user.read(f"{prefix}.dead")
    reasons = [dict(record.headers)["motet-reason"].decode() for record in dead]
    unsound = ["bad-record"] * 4 + ["future", "too-large"] + ["undecodable"] * 3
    assert sorted(reasons) == sorted([*unsound, *["encode-failed"] * 4])
    assert {record.partition for record in dead} == {lane}
    by_error = {dict(record.headers)["motet-error"].decode(): record for record in dead}
    for words, (topic, key, value, _, own) in odd.items():
        [record] = [found for error, found in by_error.items() if words in error]
        assert dict(record.headers)["motet-topic"] == topic.encode(), words
        assert {*own} <= {*record.headers}, words
        assert record.key == (key.encode() if isinstance(key, str) else key), words
        if words == "limits.record_bytes":
            assert (record.value, dict(record.headers)["motet-original-bytes"]) == (b"", b"96000")
        else:
            assert record.value == value, words
    failures = [r for r in dead if dict(r.headers)["motet-reason"] == b"encode-failed"]
    told = [json.loads(failure.value) for failure in failures]
    assert [value for value in told if value["stage"] == "moody"] == [
        {
            "stream": "s",
            "window": {"start_us": start_us, "end_us": start_us + 1_000_000},
            "stage": "moody",
            "error": "ValueError: not on this one",
            "records": [[sound, lane, (start_us - BEGIN_US) // 1_000_000]],
        }
        for start_us in (BEGIN_US + 2_000_000, BEGIN_US + 12_000_000)
    ]
    assert [value["records"] for value in told if value["stage"] == "colour"] == [
        [[picture, lane, 0]], [[picture, lane, 0]],
    ]  # fmt: skip
    [jpeg] = [r for r in dead if r.value == broken_jpeg()]
    assert dict(jpeg.headers)["motet-stage"] == b"colour"

    results = [json.loads(record.value) for record in user.read(f"{prefix}.results")]
    assert len(results) == 20
    failed = [result["failed"] for result in results]
    assert list(failed[0]) == list(failed[1]) == ["colour"]
    assert failed[2] == failed[12] == {"moody": "ValueError: not on this one"}
    assert sum(map(bool, failed)) == 4
    summary = json.loads(ran.out)
    assert [*summary.values()][:4] == [22 + len(odd), 20, 1, len(dead)]


def test_too_many_dead_letters_stop_it_before_any_of_them_is_committed(
    user, motet, prefix, make_file
):
    file = make_file(prefix, commit_interval="30s")  # however slow the machine is
    for second in range(60):
        value = b"odd" if second % 2 else noise(second)
        user.send(f"{prefix}.audio", "s", value, BEGIN_US + second * 1_000_000)
    user.producer.flush()
    ran = motet("run", file, "--local", "--until-end")
    assert (ran.code, ran.out) == (1, "")
    [line] = ran.err.splitlines()
    assert line.startswith("motet: error: inputs.mic: 20 of ")
    assert "limits.dead_letter_rate = 5%" in line
    assert not user.read(f"{prefix}.dead") + user.read(f"{prefix}.results")
    raised = motet("run", file, "--local", "--until-end", "--set", "limits.dead_letter_rate=100%")
    assert raised.code == 0, raised.err
    assert [*json.loads(raised.out).values()][:4] == [60, 30, 0, 30]


def test_a_poison_record_makes_no_other_record_late(user, motet, prefix, make_file):
    """In a backfill: what is published at once lies far behind Kafka's timestamps."""
    file = make_file(prefix)
    for second in range(12):
        at_us = BEGIN_US + second * 1_000_000
        for kind, value in (("audio", noise(second)), ("text", b"words")):
            user.send(f"{prefix}.{kind}", "s", value, at_us)
            if (second, kind) in ((3, "audio"), (6, "text")):
                user.send(f"{prefix}.{kind}", "s", b"\xff\xfe\xfd", at_us)
    user.producer.flush()
    ran = motet("run", file, "--local", "--until-end")
    assert ran.code == 0, ran.err
    assert [*json.loads(ran.out).values()][:4] == [26, 12, 0, 2]
    results = [json.loads(record.value) for record in user.read(f"{prefix}.results")]
    assert [result["missing"] for result in results] == [[]] * 12
