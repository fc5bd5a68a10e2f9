"""Live sources and ``--resume`` through the command line and a real Kafka."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile
from kafka_user import BEGIN_US, await_that, rfc3339
from live_servers import http_server, in_real_time, transport_stream, url_of

pytestmark = pytest.mark.kafka

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "publish.schema.json"
BOTH = {
    "mic": {"type": "audio/L16;rate=16000;channels=1"},
    "cam": {"type": "image/jpeg"},
}
STAGES = {
    "sound": {"encoder": "log_mel", "of": "mic", "options": {"n_mels": 8}},
    "colour": {"encoder": "color_histogram", "of": "cam", "options": {"bins": 8}},
}


@pytest.fixture
def both(make_file, prefix):
    """A pipeline file for sound and pictures."""
    inputs = {name: {"topic": f"{prefix}.{name}", **rest} for name, rest in BOTH.items()}
    fusion = {"rule": "concat", "of": {"sound": 1, "colour": 1}}
    return make_file(prefix, inputs=inputs, stages=STAGES, fusion=fusion)


def test_a_url_is_read_until_sigterm_over_a_connection_that_breaks(
    user, both, prefix, start, motet
):
    pieces = transport_stream(30)

    def serve(number, write, ending):
        in_real_time(pieces[: 25 * 2] if number == 1 else pieces, write, ending)

    with http_server(serve) as server:
        live = start("publish", "--to", both, "--stream", "hall", "--json", url_of(server))
        await_that("a reconnection", lambda: "back after" in live.err)
        seen = len(user.read(f"{prefix}.cam"))
        await_that("more pictures", lambda: len(user.read(f"{prefix}.cam")) >= seen + 4)
        live.signal(signal.SIGTERM)
        assert live.wait() == 0, live.err
    told = json.loads(live.out)
    jsonschema.validate(told, json.loads(SCHEMA.read_text()))
    pictures, sound = user.read(f"{prefix}.cam"), user.read(f"{prefix}.mic")
    assert told["records"] == len(pictures) + len(sound)
    assert (told["reconnects"], told["dropped"], told["damaged"]) == (1, 0, 0)
    for records in (pictures, sound):
        assert {record.key for record in records} == {b"hall"}
        times = [dict(record.headers)["ce_time"] for record in records]
        assert times == sorted(set(times))
    # what was published is what the pipeline fuses: no window is late, both kinds are there
    answer = motet("run", both, "--local", "--until-end")
    assert answer.code == 0, answer.err
    summary = json.loads(answer.out)
    assert (summary["late"], summary["dead_letter"]) == (0, 0)
    results = [json.loads(record.value) for record in user.read(f"{prefix}.results")]
    assert sum(result["present"] == ["cam", "mic"] for result in results) >= 3


def test_ctrl_c_while_a_source_says_nothing_ends_it_all_the_same(user, both, start):
    pieces, silent = transport_stream(2), threading.Event()

    def serve(_number, write, ending):
        in_real_time(pieces, write, ending)
        silent.set()
        ending.wait(60)

    with http_server(serve) as server:
        live = start("publish", "--to", both, "--stream", "hall", url_of(server))
        assert silent.wait(60)
        live.signal(signal.SIGINT)
        assert live.wait(20) == 0, live.err
    assert "1 stream to " in live.out


def test_another_program_is_read_through_a_pipe(user, prefix, kafka, make_file):
    make_file(prefix)
    wave = (np.sin(np.arange(16_000 * 2) / 9) * 9_000).astype(np.int16)
    command = ["--topic", f"{prefix}.audio", "--stream", "mic", "--bootstrap", kafka, "--json", "-"]
    with subprocess.Popen(
        [sys.executable, "-m", "actors", "publish", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as piped:
        sink = Wav(piped.stdin)
        sink.write(wave)
        out, err = piped.communicate(timeout=60)
    assert piped.returncode == 0, err
    assert json.loads(out)["records"] == 2
    got = b"".join(record.value for record in user.read(f"{prefix}.audio"))
    assert (np.frombuffer(got, ">i2") == wave).all()


class Wav:
    """A WAV as ``arecord`` writes it to a pipe: its length is not known, so it says the most."""

    def __init__(self, stream) -> None:
        head = bytearray()
        head += b"RIFF" + (0x7FFFFFFF).to_bytes(4, "little") + b"WAVEfmt "
        for number, size in ((16, 4), (1, 2), (1, 2), (16_000, 4), (32_000, 4), (2, 2), (16, 2)):
            head += number.to_bytes(size, "little")
        stream.write(bytes(head) + b"data" + (0x7FFFFFFF - 36).to_bytes(4, "little"))
        self._stream = stream

    def write(self, samples: np.ndarray) -> None:
        self._stream.write(samples.astype("<i2").tobytes())


def test_a_publish_that_was_killed_goes_on_and_repeats_nothing(
    user, motet, make_file, prefix, tmp_path, start
):
    """A folder of recordings, each a stream of its own, killed in the middle."""
    file = make_file(prefix)
    rng = np.random.default_rng(7)
    sound = {name: rng.integers(-9_000, 9_000, 16_000 * 6).astype(np.int16) for name in "xyz"}
    (tmp_path / "rec").mkdir()
    for name, samples in sound.items():
        soundfile.write(tmp_path / "rec" / f"{name}.wav", samples, 16_000)
    topic = f"{prefix}.audio"
    given = ("publish", "--to", file, "--chunk", "500ms", tmp_path / "rec")
    at = ("--start", rfc3339(BEGIN_US))
    live = start(*given, *at, "--realtime")
    await_that("half of it", lambda: len(user.read(topic)) >= 9)
    live.kill()
    done = motet(*given, "--resume", "--json")
    assert done.code == 0, done.err
    [before] = map(int, re.findall(r"going on behind (\d+) records that the topics", done.err))
    assert 9 <= before < 36
    assert json.loads(done.out)["records"] == 36 - before
    records = user.read(topic)
    for name, samples in sound.items():
        of = [record for record in records if record.key == name.encode()]
        got = np.frombuffer(b"".join(record.value for record in of), ">i2")
        assert (got == samples).all()
        times = [dict(record.headers)["ce_time"].decode() for record in of]
        assert times == [rfc3339(BEGIN_US + n * 500_000) for n in range(12)]
    again = motet(*given, "--resume", "--json")
    assert json.loads(again.out)["records"] == 0


def test_streams_are_named_by_their_files_for_a_topic_too(
    user, motet, make_file, prefix, kafka, tmp_path
):
    make_file(prefix)
    for name in ("hall/1.txt", "hall/2.txt", "foyer/1.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    to = ("--topic", f"{prefix}.text", "--bootstrap", kafka)
    done = motet("publish", *to, "--stream", "{folder}", tmp_path / "hall", tmp_path / "foyer")
    assert done.code == 0, done.err
    held = {(record.key, record.value) for record in user.read(f"{prefix}.text")}
    assert held == {(b"hall", b"hall/1.txt"), (b"hall", b"hall/2.txt"), (b"foyer", b"foyer/1.txt")}
