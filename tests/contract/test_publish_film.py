"""A film through the whole product: ``motet publish --to FILE film.mp4``, then ``motet run``."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from kafka_user import BEGIN_US, rfc3339

pytestmark = pytest.mark.kafka

SECONDS = 5
CAMERA = {
    "mic": {"type": "audio/L16;rate=16000;channels=1"},
    "cam": {"type": "image/png"},
}
STAGES = {
    "sound": {"encoder": "log_mel", "of": "mic", "options": {"n_mels": 8}},
    "colour": {"encoder": "color_histogram", "of": "cam", "options": {"bins": 8}},
}


def film(path: Path) -> Path:
    """Every second another colour, and a tone."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = out.add_stream("aac", rate=44_100, layout="mono")
        for number in range(25 * SECONDS):
            picture = np.full((64, 96, 3), (60 * (number // 25), 120, 200), np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        wave = np.sin(np.arange(44_100 * SECONDS) / 15).astype(np.float32)[None] / 3
        frame = av.AudioFrame.from_ndarray(wave, "fltp", layout="mono")
        frame.rate = 44_100
        out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
        out.mux(video.encode(None))
    return path


def test_a_films_sound_and_pictures_meet_in_its_windows(user, motet, prefix, make_file, tmp_path):
    inputs = {name: {"topic": f"{prefix}.{name}", **rest} for name, rest in CAMERA.items()}
    fusion = {"rule": "concat", "of": {"sound": 1, "colour": 1}}
    file = make_file(prefix, inputs=inputs, stages=STAGES, fusion=fusion)
    path = film(tmp_path / "hall.mp4")
    begin = ("--start", rfc3339(BEGIN_US))
    done = motet("publish", "--to", file, *begin, "--fps", "5", "--scale", "48", "--json", path)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["streams"] == 1
    assert told["topics"] == [f"{prefix}.cam", f"{prefix}.mic"]
    pictures = user.read(f"{prefix}.cam")
    assert len(pictures) == 5 * SECONDS
    assert {record.key for record in pictures} == {b"hall"}
    assert all(record.value.startswith(b"\x89PNG") for record in pictures)
    answer = motet("run", file, "--local", "--until-end")
    assert answer.code == 0, answer.err
    results = [json.loads(record.value) for record in user.read(f"{prefix}.results")]
    whole = [r for r in results if r["window"]["end_us"] <= BEGIN_US + SECONDS * 1_000_000]
    assert [(r["window"]["start_us"] - BEGIN_US) // 1_000_000 for r in whole] == [0, 1, 2, 3, 4]
    for result in whole:
        assert result["present"] == ["cam", "mic"]
        assert result["coverage"] == {"mic": 1.0}
        assert result["failed"] == {}
    colours = {tuple(np.round(r["output"]["vector"][8:], 3)) for r in whole}
    assert len(colours) == SECONDS, "each second has its own pictures"


def test_a_missing_topic_names_the_command_and_is_not_made(
    user, motet, prefix, make_file, tmp_path
):
    file = make_file(prefix, create=False)
    path = film(tmp_path / "hall.mp4")
    answer = motet("publish", "--to", file, path)
    assert (answer.code, answer.out) == (2, "")
    assert f"`motet topics create {file}` makes it" in answer.err
    assert f"{prefix}.audio" not in user.admin.list_topics()
