"""``motet init`` on the real broker: topics of many formats give a file that runs."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile
from kafka_user import BEGIN_US, PARTITIONS, rfc3339
from PIL import Image

from pipeline.spec import load

pytestmark = pytest.mark.kafka

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
SECONDS = 12
STREAMS = ("cam-1", "cam-2", "cam-3")


def voice(seed: int, rate: int, seconds: float = SECONDS) -> np.ndarray:
    """Something as smooth, and as loud, as speech is."""
    times = np.arange(round(seconds * rate)) / rate
    rng = np.random.default_rng(seed)
    tones = sum(
        0.1 * np.sin(2 * np.pi * hertz * times + phase)
        for hertz, phase in zip(rng.uniform(90, 900, 4), rng.uniform(0, 6, 4), strict=True)
    )
    return (tones + 0.005 * rng.standard_normal(len(times))).astype(np.float32)


def sound_file(wave: np.ndarray, rate: int, kind: str) -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, wave, rate, format=kind)
    return sink.getvalue()


def picture(number: int, kind: str) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (32, 24), (number * 20 % 256, 90, 40)).save(sink, kind)
    return sink.getvalue()


def pieces(name: str, stream: int):
    """(time_us, value) of one stream of one topic, in the topic's format."""
    rate = {"l16": 16_000, "s16le": 8_000, "f32le": 22_050}.get(name, 16_000)
    length_s = {"l16": 0.25, "s16le": 1.0, "f32le": 0.5}.get(name, 1.0)
    wave = voice(stream, rate)
    for number in range(round(SECONDS / length_s)):
        at_us = BEGIN_US + round(number * length_s * 1e6)
        part = wave[round(number * length_s * rate) : round((number + 1) * length_s * rate)]
        values = {
            "l16": lambda part=part: (part * 32767).astype(">i2").tobytes(),
            "s16le": lambda part=part: (part * 32767).astype("<i2").tobytes(),
            "f32le": lambda part=part: part.astype("<f4").tobytes(),
            "wav": lambda part=part: sound_file(part, 16_000, "WAV"),
            "flac": lambda part=part: sound_file(part, 16_000, "FLAC"),
            "jpeg": lambda number=number: picture(number, "JPEG"),
            "png": lambda number=number: picture(number, "PNG"),
            "text": lambda number=number: f"line {number} of äöü".encode(),
        }
        if name != "json":
            yield at_us, values[name]()
        else:
            packed = base64.b64encode(values["jpeg"]()).decode()
            yield at_us, json.dumps({
                "device": "d", "data": {"image": packed, "ts": at_us // 1000}, "seq": number
            }).encode()  # fmt: skip


FORMATS = {
    "l16": "audio/L16;rate=16000;channels=1",
    "s16le": "audio/x-raw;format=S16LE;rate=8000;channels=1",
    "f32le": "audio/x-raw;format=F32LE;rate=22050;channels=1",
    "wav": "audio/wav;rate=16000",
    "flac": "audio/flac;rate=16000",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "json": "image/jpeg",
    "text": "text/plain",
}
BY_HEADER = ("s16le", "png")  # their stream is in a header
BY_CE_TIME = ("l16", "flac", "jpeg")  # the others: the JSON's field, or Kafka's timestamp


def send(user, prefix: str) -> None:
    """Records of all topics as live sources send them: by time."""
    records = []
    for name in FORMATS:
        for number, stream in enumerate(STREAMS):
            records += [(at_us, name, stream, value) for at_us, value in pieces(name, number)]
    for at_us, name, stream, value in sorted(records, key=lambda record: record[:3]):
        headers = []
        if name in BY_HEADER:
            headers.append(("device_id", stream.encode()))
        if name in BY_CE_TIME:
            headers.append(("ce_time", rfc3339(at_us).encode()))
        user.producer.send(
            f"{prefix}.{name}",
            value,
            key=None if name in BY_HEADER else stream.encode(),
            headers=headers,
            partition=STREAMS.index(stream),
            timestamp_ms=at_us // 1000,
        )
    user.producer.flush()


def create(user, *topics: str, partitions: int = PARTITIONS, **config: str) -> None:
    user.admin.create_topics(
        {topic: {"num_partitions": partitions, "configs": config} for topic in topics}
    )
    user.admin.wait_for_topics(list(topics))


def test_topics_of_nine_formats_give_a_file_that_runs_without_an_edit(
    user, kafka, motet, prefix, tmp_path
):
    topics = [f"{prefix}.{name}" for name in FORMATS]
    create(user, *topics)
    send(user, prefix)
    folder = tmp_path / prefix
    made = motet("init", folder, "--bootstrap", kafka, "--from-topics", *topics)
    assert made.code == 0, made.err
    file = folder / "pipeline.yaml"
    assert made.out == f"{file}\n"

    spec = load(file)
    assert {name: source.type for name, source in spec.inputs.items()} == FORMATS
    for name, source in spec.inputs.items():
        assert source.topic == f"{prefix}.{name}"
        assert source.stream == ("header:device_id" if name in BY_HEADER else "key"), name
        assert (source.payload is not None) == (name == "json")
        assert source.gating == (name != "text"), name
    wrapped = spec.inputs["json"]
    assert (wrapped.payload.json, wrapped.payload.base64) == ("data.image", True)
    assert (wrapped.time.json, wrapped.time.unit) == ("data.ts", "ms")
    assert "rate: 22050 Hz" in made.err
    assert "header ce_time (sure)" in made.err

    assert motet("topics", "create", file, "--partitions", PARTITIONS).code == 0
    checked = motet("validate", file, "--connect")
    assert checked.code == 0, checked.err
    ran = motet("run", file, "--local", "--until-end")
    assert ran.code == 0, ran.err
    summary = json.loads(ran.out)
    assert summary["late"] == summary["dead_letter"] == 0, (summary, made.err)
    results = [json.loads(record.value) for record in user.read(f"{spec.name}.results")]
    whole = [r for r in results if not r["missing"] and not r["failed"]]
    assert len(whole) == SECONDS * len(STREAMS)
    assert {result["stream"] for result in whole} == set(STREAMS)
    assert {len(result["output"]["vector"]) for result in whole} == {
        len(whole[0]["output"]["vector"])
    }


def test_what_was_seen_is_said_and_an_empty_topic_stands_as_a_comment(
    user, kafka, motet, prefix, tmp_path
):
    lines, empty, ogg = (f"{prefix}.{name}" for name in ("lines", "empty", "ogg"))
    create(user, lines, empty, ogg)
    for number in range(6):
        sent_us = BEGIN_US + number * 1_000_000
        user.send(lines, "cam-1", f"line {number}".encode(), sent_us)
        user.send(ogg, "cam-1", sound_file(voice(1, 24_000, 1), 24_000, "OGG"), sent_us)
    user.producer.flush()
    made = motet("init", tmp_path, "--bootstrap", kafka, "--from-topics", lines, empty, ogg)
    assert made.code == 0, made.err
    text = (tmp_path / "pipeline.yaml").read_text()
    said = made.err.splitlines()
    for seen in (
        "type: audio/ogg (vorbis), 24000 Hz, 1 channel (sure)",
        "type: UTF-8 text (likely)",
        "stream: the key (cam-1) (sure)",
        "time: header ce_time (sure)",
        "left out: it is empty: publish some records and run this again",
    ):
        assert f"  {seen}" in said
        assert f"  # {seen}" in text
    spec = load(tmp_path / "pipeline.yaml")
    assert {name: source.type for name, source in spec.inputs.items()} == {
        "lines": "text/plain", "ogg": "audio/ogg;rate=24000",
    }  # fmt: skip
    assert f'  # empty: {{topic: "{empty}", type: image/jpeg}}' in text
    assert spec.kafka.bootstrap == kafka


def test_the_starter_runs_as_it_stands(user, kafka, motet, prefix, tmp_path, monkeypatch):
    monkeypatch.setenv("KAFKA", kafka)
    folder = tmp_path / prefix
    assert motet("init", folder).code == 0
    file = folder / "pipeline.yaml"
    soundfile.write(tmp_path / "talk.wav", voice(1, 16_000, 3), 16_000)
    (tmp_path / "picture.jpg").write_bytes(picture(1, "JPEG"))
    (tmp_path / "notes.txt").write_text("one\ntwo\nthree\n")
    media = [tmp_path / name for name in ("talk.wav", "picture.jpg", "notes.txt")]
    assert motet("topics", "create", file).code == 0
    assert motet("publish", "--to", file, "--stream", "cam-7", *media).code == 0
    ran = motet("run", file, "--local", "--until-end")
    assert ran.code == 0, ran.err
    assert [*json.loads(ran.out).values()][:4] == [7, 3, 0, 0]
    results = [json.loads(record.value) for record in user.read(f"{prefix}.results")]
    assert results[0]["present"] == ["camera", "chat", "mic"]
    assert len(results[0]["output"]["vector"]) == 128


def test_with_json_the_answer_is_one_object_of_its_schema(user, kafka, motet, prefix, tmp_path):
    good, empty = f"{prefix}.events", f"{prefix}.empty"
    create(user, good, empty)
    for _, value in pieces("json", 0):
        user.send(good, "a", value, None)
    user.producer.flush()
    command = ["init", tmp_path, "--json", "--bootstrap", kafka, "--from-topics", good, empty]
    made = motet(*command)
    assert made.code == 0, made.err
    answer = json.loads(made.out)
    schema = json.loads((SCHEMAS / "init.schema.json").read_text())
    jsonschema.validate(answer, schema)
    assert set(answer) == set(schema["properties"])
    assert answer["file"] == str(tmp_path / "pipeline.yaml")
    one, two = answer["topics"]
    assert set(one) == set(two) == set(schema["$defs"]["topic"]["properties"])
    assert (one["type"], one["payload"]) == ("image/jpeg", {"json": "data.image", "base64": True})
    assert (two["type"], two["trouble"] != "") == ("", True)


def test_topics_that_do_not_fit_together_are_told_with_the_remedy(
    user, kafka, motet, prefix, tmp_path
):
    one, two = f"{prefix}.one", f"{prefix}.two"
    create(user, one, partitions=1)
    create(user, two)
    user.send(one, "a", b"some words", BEGIN_US)
    user.send(two, "b", b"some words", BEGIN_US + 3_600_000_000)
    user.producer.flush()
    made = motet("init", tmp_path, "--bootstrap", kafka, "--from-topics", f"{one},{two}")
    assert made.code == 0, made.err
    warnings = [line for line in made.err.splitlines() if line.startswith("motet: warning: ")]
    for words in ("differ in their number of partitions", "no stream of", "lie 3600 s before"):
        assert any(words in line for line in warnings), words
    text = (tmp_path / "pipeline.yaml").read_text()
    assert "# the topics differ in their number of partitions" in text
    assert load(tmp_path / "pipeline.yaml").inputs["one"].gating  # one of them has to


def test_a_topic_that_is_missing_names_those_that_may_be_meant(
    user, kafka, motet, prefix, tmp_path
):
    create(user, f"{prefix}.audio")
    made = motet("init", tmp_path / "new", "--bootstrap", kafka, "--from-topics", f"{prefix}.audoi")
    assert (made.code, made.out) == (2, "")
    [error] = [line for line in made.err.splitlines() if "error" in line]
    assert error.startswith(
        f"motet: error: --from-topics = {prefix}.audoi: there is no such topic; did you mean "
        f"{prefix}.audio"
    )
    assert not (tmp_path / "new").exists()
    assert f"{prefix}.audoi" not in user.admin.list_topics()


def test_topics_of_which_none_can_be_used_give_no_file(user, kafka, motet, prefix, tmp_path):
    create(user, f"{prefix}.empty", f"{prefix}.odd")
    user.send(f"{prefix}.odd", "a", np.random.default_rng(1).bytes(3000), BEGIN_US)
    user.producer.flush()
    topics = [f"{prefix}.empty", f"{prefix}.odd"]
    made = motet("init", tmp_path / "new", "--bootstrap", kafka, "--from-topics", *topics)
    assert (made.code, made.out) == (2, "")
    errors = [line for line in made.err.splitlines() if line.startswith("motet: error: ")]
    assert errors[0].endswith(f"{topics[0]}: it is empty; publish some records and run this again")
    assert errors[1].startswith(
        f"motet: error: --from-topics = {topics[1]}: it holds bytes of no kind that is known"
    )
    assert not (tmp_path / "new").exists()


def test_of_a_long_topic_the_oldest_and_the_newest_are_read(user, kafka, motet, prefix, tmp_path):
    topic = f"{prefix}.long"
    create(user, topic, partitions=2)
    for number in range(3000):
        words = b"old words" if number < 2900 else picture(number, "PNG")
        user.producer.send(topic, words, key=b"s", partition=1, timestamp_ms=1000 * number)
    user.producer.flush()
    made = motet("init", tmp_path, "--bootstrap", kafka, "--from-topics", topic)
    assert made.code == 0, made.err
    assert f"{topic}: 512 records looked at" in made.err
    assert "the others are image/png: dead letters" in made.err
    assert load(tmp_path / "pipeline.yaml").inputs["long"].out_of_orderness_us == 200_000


def test_the_doctor_checks_all_that_a_file_names(user, kafka, motet, prefix, make_file):
    file = make_file(prefix)
    checks = json.loads(motet("doctor", file, "--json").out)["checks"]
    states = {check["check"]: check["state"] for check in checks}
    assert states["file"] == states["encoders"] == states["broker"] == states["topics"] == "ok"
    user.send(f"{prefix}.audio", "s", bytes(32_000), BEGIN_US)
    user.producer.flush()
    checks = json.loads(motet("doctor", file, "--json").out)["checks"]
    assert {"check": "clocks", "state": "ok", "remedy": "",
            "found": "the broker stamped no record later than now"} in checks  # fmt: skip
    missing = make_file(f"{prefix}-2", create=False)
    answer = motet("doctor", missing)
    assert answer.code == 1
    assert f"outputs.results = {prefix}-2.results: it is not there" in answer.out
    assert f"-> `motet topics create {missing}` makes it" in answer.out
