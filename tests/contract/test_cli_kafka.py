"""``motet topics``, ``publish``, ``tail`` and ``validate --connect`` as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile
from PIL import Image

from pipeline.cli import main
from pipeline.connectors.kafka import KafkaConnector
from pipeline.connectors.partitioner import partition_for
from pipeline.slot.ports import OutRecord, TopicPartition
from pipeline.spec import load
from pipeline.tasks.totals import Totals

pytestmark = pytest.mark.kafka

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
START = "2026-01-31T12:00:00Z"
MOTET = [sys.executable, "-m", "actors"]


@pytest.fixture
def pipeline_file(kafka, tmp_path):
    """A pipeline file of its own topics on the real broker."""
    name = f"p{uuid.uuid4().hex[:8]}"
    path = tmp_path / "p.yaml"
    path.write_text(
        f"""
version: 1
name: {name}
kafka: {{bootstrap: "{kafka}"}}
inputs:
  mic: {{topic: {name}.audio, type: "audio/L16;rate=16000;channels=1"}}
  camera: {{topic: {name}.video, type: image/jpeg}}
  chat: {{topic: {name}.text, type: text/plain, gating: false}}
windows: {{size: 1s}}
stages:
  sound: {{encoder: log_mel, of: mic}}
  colour: {{encoder: color_histogram, of: camera}}
  words: {{encoder: hash_text, of: chat}}
fusion: {{rule: concat, of: {{sound: 1, colour: 1, words: 1}}}}
outputs: {{results: {name}.results, late: {name}.late, dead_letter: {name}.dead}}
limits: {{record_bytes: 2MiB}}
"""
    )
    return path


@pytest.fixture
def media(tmp_path):
    """A film's sound (2.5 s, 44.1 kHz, stereo), one picture and two lines of one stream."""
    folder = tmp_path / "media"
    folder.mkdir()
    wave = np.sin(2 * np.pi * 440 * np.arange(110_250) / 44100) / 2
    soundfile.write(folder / "cam-7.wav", np.stack([wave, wave], 1), 44100)
    Image.new("RGB", (16, 12), (200, 10, 10)).save(folder / "cam-7.jpg")
    (folder / "cam-7.txt").write_text("hello\nworld\n")
    return folder


def motet(capsys, *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def answer(capsys, schema: str, *arguments: object):
    as_json = [] if schema == "run" else ["--json"]  # its summary is JSON always
    code, out, err = motet(capsys, *arguments, *as_json)
    assert code == 0, err
    found = json.loads(out)
    jsonschema.validate(found, json.loads((SCHEMAS / f"{schema}.schema.json").read_text()))
    return found


def test_topics_are_created_once_with_sizes_and_timestamps_and_never_changed(
    capsys, kafka, pipeline_file
):
    spec = load(pipeline_file)
    code, out, err = motet(capsys, "validate", pipeline_file, "--connect")
    assert (code, out) == (2, "")
    assert err.splitlines()[0] == (
        f"motet: error: inputs.mic.topic = {spec.name}.audio: it is not there; "
        f"`motet topics create {pipeline_file}` makes it"
    )
    made = answer(capsys, "topics-create", "topics", "create", pipeline_file)["topics"]
    assert [(t["partitions"], t["created"]) for t in made] == [(4, True)] * 6
    code, out, err = motet(capsys, "topics", "create", pipeline_file)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"is there  {spec.name}.audio  (4)"
    code, out, err = motet(capsys, "topics", "create", pipeline_file, "--partitions", 3)
    assert (code, out) == (1, "")
    assert f"{spec.name}.audio: it is there with 4 partitions, not 3; nothing was created" in err
    assert all(line.startswith("motet: error: ") for line in err.splitlines())
    with closing(KafkaConnector(kafka).control()) as control:
        topics = control.topics([topic["topic"] for topic in made])
    sound, late = topics[f"{spec.name}.audio"], topics[f"{spec.name}.late"]
    assert (sound.partitions, sound.append_time, sound.compacted) == (4, True, False)
    assert late.max_message_bytes > sound.max_message_bytes > 2 << 20
    assert not topics[f"{spec.name}.results"].append_time
    code, out, err = motet(capsys, "validate", pipeline_file, "--connect")
    assert (code, err) == (0, "")
    assert "is valid (3 inputs, 3 stages)" in out


def test_a_topic_that_another_made_is_kept_and_warned_of(capsys, kafka, pipeline_file):
    topic = load(pipeline_file).inputs["mic"].topic
    with closing(KafkaConnector(kafka).control()) as control:
        config = {"message.timestamp.type": "CreateTime", "max.message.bytes": "1048588"}
        control.create_topic(topic, 2, None, config)
    code, out, err = motet(capsys, "topics", "create", pipeline_file, "--partitions", 2)
    assert code == 0
    assert f"is there  {topic}  (2)" in out
    timestamps, size = err.splitlines()
    assert timestamps.startswith(f"motet: warning: inputs.mic.topic = {topic}: its timestamps are")
    assert size.startswith(f"motet: warning: inputs.mic.topic = {topic}: it takes records up to")


def read(kafka: str, topic: str):
    """All committed records of a topic."""
    connector = KafkaConnector(kafka)
    with closing(connector.control()) as control, closing(connector.source()) as source:
        count = control.topics([topic])[topic].partitions
        left = control.stable_ends([TopicPartition(topic, number) for number in range(count)])
        source.assign(dict.fromkeys(left, 0))
        found, at = [], dict.fromkeys(left, 0)
        while any(at[partition] < end for partition, end in left.items()):
            for fetch in source.poll(5.0):
                found.extend(fetch.records)
                at[TopicPartition(fetch.topic, fetch.partition)] = fetch.position
    return found


def test_files_arrive_as_the_records_that_the_inputs_take(capsys, kafka, pipeline_file, media):
    assert motet(capsys, "topics", "create", pipeline_file)[0] == 0
    command = ["publish", "--to", pipeline_file, "--start", START, media]
    done = answer(capsys, "publish", *command)
    name = load(pipeline_file).name
    assert done == {
        "records": 6,
        "bytes": 2 * 40_000 + len((media / "cam-7.jpg").read_bytes()) + 10,
        "streams": 1,
        "topics": [f"{name}.audio", f"{name}.text", f"{name}.video"],
        "first": "2026-01-31T12:00:00.000000Z",
        "last": "2026-01-31T12:00:02.500000Z",
    }
    lane = partition_for(b"cam-7", 4)
    sound, picture, text = (read(kafka, f"{name}.{kind}") for kind in ("audio", "video", "text"))
    assert {(r.partition, r.key) for r in (*sound, *picture, *text)} == {(lane, b"cam-7")}
    assert [len(record.value) for record in sound] == [32_000, 32_000, 16_000]
    assert picture[0].value == (media / "cam-7.jpg").read_bytes()
    assert [record.value for record in text] == [b"hello", b"world"]
    second = dict(sound[1].headers)
    assert second["content-type"] == b"audio/L16;rate=16000;channels=1"
    assert second["ce_time"] == b"2026-01-31T12:00:01.000000Z"
    assert second["ce_sequence"] == b"%020d" % 1
    assert dict(picture[0].headers)["ce_mediadur"] == b"1000000"


def test_a_topic_that_is_missing_is_not_made_by_publishing_to_it(capsys, kafka, media):
    topic = f"none-{uuid.uuid4().hex[:8]}"
    where = ["--topic", topic, "--stream", "s", "--bootstrap", kafka]
    code, out, err = motet(capsys, "publish", *where, media / "cam-7.txt")
    assert (code, out) == (2, "")
    assert err.startswith(
        f"motet: error: topic = {topic}: it is not there; create it first: `motet"
    )
    code, out, err = motet(capsys, "tail", "--topic", topic, "--bootstrap", kafka)
    assert (code, out) == (2, "")
    assert err.startswith(f"motet: error: --topic = {topic}: it is not there; ")
    with closing(KafkaConnector(kafka).control()) as control:
        assert control.topics([topic]) == {topic: None}


def test_tail_shows_only_committed_results_from_the_beginning_up_to_a_number(
    capsys, kafka, pipeline_file
):
    assert motet(capsys, "topics", "create", pipeline_file)[0] == 0
    topic = load(pipeline_file).outputs.results
    values = [json.dumps({"stream": "s", "n": n}).encode() for n in range(4)]
    with closing(KafkaConnector(kafka).sink(f"{topic}.test", f"{topic}.group")) as sink:
        sink.open()
        for value, end in zip(
            values, (sink.commit, sink.abort, sink.commit, sink.commit), strict=True
        ):
            sink.begin()
            sink.produce([OutRecord(topic, 1, b"s", value, [])])
            sink.flush()
            end()
    committed = [values[0], values[2], values[3]]
    code, out, err = motet(capsys, "tail", pipeline_file, "--from-beginning", "--max", 2, "--json")
    assert (code, err) == (0, "")
    assert out.encode().splitlines() == committed[:2]
    to_end = ["--from-beginning", "--until-end"]
    where = ["--topic", topic, "--bootstrap", kafka]
    code, out, err = motet(capsys, "tail", *where, *to_end, "--json")
    assert (code, err) == (0, "")
    assert out.encode().splitlines() == committed
    code, out, err = motet(capsys, "tail", pipeline_file, *to_end)
    assert (code, out.splitlines()[0]) == (0, f"s  {topic}-1@0  23 bytes")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_tail_follows_new_records_and_ends_cleanly_when_it_is_told_to(
    capsys, kafka, pipeline_file, media, number
):
    assert motet(capsys, "topics", "create", pipeline_file)[0] == 0
    topic = load(pipeline_file).inputs["chat"].topic
    command = [*MOTET, "tail", pipeline_file, "--topic", topic]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as tail:
        assert tail.stderr.readline() == f"motet: waiting for new records of {topic}\n"
        to = ["--to", pipeline_file, "--start", START]
        assert motet(capsys, "publish", *to, media / "cam-7.txt")[0] == 0
        lane = partition_for(b"cam-7", 4)
        expected = f"cam-7  {topic}-{lane}@0  5 bytes  text/plain\n"
        assert tail.stdout.readline() == expected
        tail.send_signal(number)
        _, err = tail.communicate(timeout=20)
        assert (tail.returncode, err) == (0, "")


def test_tail_ends_when_its_reader_does_though_nothing_new_comes(capsys, kafka, pipeline_file):
    assert motet(capsys, "topics", "create", pipeline_file)[0] == 0
    read_end, write_end = os.pipe()
    command = [*MOTET, "tail", pipeline_file]
    with subprocess.Popen(command, stdout=write_end, stderr=subprocess.PIPE, text=True) as tail:
        os.close(write_end)
        assert tail.stderr.readline().startswith("motet: waiting for new records")
        os.close(read_end)
        _, err = tail.communicate(timeout=20)
        assert (tail.returncode, err) == (0, "")


def test_publishing_in_real_time_without_end_stops_with_its_summary(
    capsys, kafka, pipeline_file, media
):
    assert motet(capsys, "topics", "create", pipeline_file)[0] == 0
    topic = load(pipeline_file).inputs["chat"].topic
    where = ["--topic", topic, "--stream", "s", "--bootstrap", kafka]
    how = ["--realtime", "--loop", "0", "--chunk", "20ms", "--json"]
    command = [*MOTET, "publish", *where, *how, str(media / "cam-7.txt")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        tailed = motet(capsys, "tail", "--topic", topic, "--bootstrap", kafka, "--max", 3)
        assert tailed[0] == 0
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=20)
    assert (run.returncode, err) == (0, "")
    assert json.loads(out)["records"] >= 3
    assert len(read(kafka, topic)) == json.loads(out)["records"]


def test_run_local_until_the_end_prints_its_summary_and_results_can_be_tailed(
    capsys, kafka, pipeline_file, media
):
    assert motet(capsys, "topics", "create", pipeline_file)[0] == 0
    to = ["--to", pipeline_file, "--start", START]
    assert motet(capsys, "publish", *to, media)[0] == 0
    summary = answer(capsys, "run", "run", pipeline_file, "--local", "--until-end")
    assert {k: summary[k] for k in ("records", "windows", "late", "dead_letter")} == {
        "records": 6,
        "windows": 3,
        "late": 0,
        "dead_letter": 0,
    }
    command = ["tail", pipeline_file, "--from-beginning", "--until-end"]
    results = answer(capsys, "result", *command, "--max", 1)
    assert results["present"] == ["camera", "chat", "mic"]
    code, out, err = motet(capsys, *command)
    assert (code, err) == (0, "")
    first, second, third = out.splitlines()
    assert first.startswith("cam-7  2026-01-31T12:00:00.000Z +1s  camera chat mic  [")
    assert second.startswith("cam-7  2026-01-31T12:00:01.000Z +1s  chat mic  missing camera  [")
    assert third.startswith("cam-7  2026-01-31T12:00:02.000Z +1s  mic  missing camera chat  [")


def test_run_hands_the_spec_with_its_overrides_to_the_cluster_host(capsys, kafka, pipeline_file):
    assert motet(capsys, "topics", "create", pipeline_file)[0] == 0
    asked = []

    def host(spec, connector, control):
        asked.append((spec, connector, control))
        return Totals(
            records={"mic": 4, "chat": 2}, windows=3, late=1, dead_letters={"undecodable": 2}
        ), 1.5

    flags = ["--until-end", "--start", "latest", "--set", "windows.hop=500ms", "--wait"]
    assert main(["run", str(pipeline_file), *flags], cluster=host) == 0
    assert json.loads(capsys.readouterr().out) == {
        "records": 6,
        "windows": 3,
        "late": 1,
        "dead_letter": 2,
        "seconds": 1.5,
        "windows_per_second": 2.0,
    }
    [(spec, connector, control)] = asked
    assert (spec.windows.hop_us, spec.start) == (500_000, "latest")
    assert connector.bootstrap == kafka
    assert control.until_end


def test_run_says_so_where_there_is_no_cluster_host(capsys, pipeline_file):
    code, out, err = motet(capsys, "run", pipeline_file)
    assert (code, out) == (2, "")
    assert "no cluster host is installed here; run it in one process with --local" in err
