"""The source media of a window, found in the topics and shown as a browser can."""

from __future__ import annotations

import io

import numpy as np
import pytest
from moving_pictures import by_ffmpeg, encoded
from PIL import Image
from pipelines import (
    LOBBY,
    RATE,
    SECOND_US,
    broken_jpeg,
    broker_for,
    connector_for,
    jpeg,
    load,
    sent,
    tone,
)
from shown import Shown, ask, monitor_of, snapshot

from pipeline.monitor import media as media_module
from pipeline.monitor.pictures import AS_IT_IS_BYTES_MAX, WIDTH_MAX, picture_of, spectrogram
from pipeline.record import Facts, MediaRecord
from pipeline.slot.ports import LogRecord, TopicPartition
from pipeline.tasks.view import LaneView

BEGIN_US = 1_790_000_000_000_000
SECONDS = 6


@pytest.fixture
def spec():
    return load(LOBBY)


@pytest.fixture
def broker(spec):
    return broker_for(spec, max_message_bytes=8 << 20)


@pytest.fixture
def view():
    return Shown()


@pytest.fixture
def media(spec, broker, view):
    with monitor_of(spec, connector_for(broker), view) as monitor:

        def find(input: str, second: int, stream: str = "s"):
            start_us = BEGIN_US + second * SECOND_US
            return ask(monitor, f"/api/media?stream={stream}&start_us={start_us}&input={input}")

        yield find


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def at(second: float) -> int:
    return BEGIN_US + round(second * SECOND_US)


def test_a_picture_is_given_as_it_is(broker, media):
    pictures = [jpeg((40 * second, 0, 0)) for second in range(SECONDS)]
    for second, picture in enumerate(pictures):
        broker.append(sent("in.cam", jpeg((0, 255, 0)), at(second), stream="other"))
        broker.append(sent("in.cam", picture, at(second + 0.5)))
    for second in (0, 3, SECONDS - 1):
        answer = media("cam", second)
        assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
        assert answer.content == pictures[second]
    assert media("cam", SECONDS).status == 404
    assert media("cam", 1, stream="nobody").status == 404


def test_a_large_picture_is_made_smaller(broker, media):
    pixels = np.random.default_rng(0).integers(0, 255, (900, 1600, 3), np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    assert sink.tell() > AS_IT_IS_BYTES_MAX
    png = ("content-type", b"image/png")
    broker.append(sent("in.cam", sink.getvalue(), at(0), headers=[png]))
    answer = media("cam", 0)
    assert answer.headers["content-type"] == "image/jpeg"
    assert opened(answer.content).size == (WIDTH_MAX, WIDTH_MAX * 9 // 16)


def test_what_only_says_that_it_is_a_picture_is_never_given(broker, media):
    for value in (b"<script>alert(1)</script>", b"\xff\xd8\xff<html>"):
        broker.append(sent("in.cam", value, at(0)))
    assert media("cam", 0).status == 404
    big = broken_jpeg()[:200] + b"<b>" * AS_IT_IS_BYTES_MAX
    broker.append(sent("in.cam", big, at(1)))
    assert media("cam", 1).status in (404, 502)


def test_texts_are_plain_text_in_the_order_of_time(broker, media):
    broker.append(sent("in.chat", "<b>zwei ü</b>".encode(), at(0.6)))
    broker.append(sent("in.chat", b"eins", at(0.2)))
    broker.append(sent("in.chat", b"later", at(1.2)))
    answer = media("chat", 0)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.text == "eins\n<b>zwei ü</b>"


def test_sound_is_a_spectrogram_of_the_window_alone(broker, media):
    for quarter in range(8):  # low, then high, from the middle of a second on
        hertz = 200 if quarter < 4 else 3000
        broker.append(sent("in.mic", tone(hertz, 0.25), at(0.5 + quarter / 4)))
    answer = media("mic", 1)
    assert answer.headers["content-type"] == "image/png"
    image = np.asarray(opened(answer.content)).astype(int).sum(axis=2)
    height, width = image.shape
    left, right = image[:, : width * 2 // 5], image[:, width * 3 // 5 :]
    assert left.mean(axis=1).argmax() > height * 3 // 4  # low bands are at the bottom
    assert right.mean(axis=1).argmax() < height // 3


def test_a_catch_up_is_found_before_what_is_applied(broker, media, view):
    """Records that were appended long after their event time, with many others before them."""
    late_us = BEGIN_US + 10**12
    for _ in range(6_000):
        broker.append(sent("in.chat", b"another's", BEGIN_US, stream="o", append_us=late_us))
    broker.append(sent("in.chat", b"found", at(3), append_us=late_us))
    broker.append(sent("in.chat", b"next", at(4), append_us=late_us))
    end = broker.log(TopicPartition("in.chat", 0)).end
    lanes = (LaneView(0, 0, 0, {"chat": end}, {"chat": end}),)
    view.now = snapshot(lanes=lanes)
    assert media("chat", 3).text == "found"


def test_a_search_is_bounded(broker, media, monkeypatch):
    monkeypatch.setattr(media_module, "RECORDS_MAX", 10)
    monkeypatch.setattr(media_module, "TAIL_RECORDS", 10)
    for number in range(50):
        value = b"here" if number == 25 else b"no"
        stream = "s" if number == 25 else "other"
        broker.append(sent("in.chat", value, at(0), stream=stream))
    assert media("chat", 0).status == 404
    monkeypatch.setattr(media_module, "RECORDS_MAX", 40)
    assert media("chat", 0).text == "here"


def test_what_was_found_is_kept_for_the_next_page(broker, media):
    broker.append(sent("in.chat", b"once", at(0)))
    assert media("chat", 0).text == "once"
    broker.truncate(TopicPartition("in.chat", 0), 1)
    assert media("chat", 0).text == "once"


@pytest.mark.parametrize(("start_us", "number"), [(-1, 0), (0, 0), (400_000, 10), (10**9, 29)])
def test_a_film_shows_the_frame_at_the_windows_start(start_us, number):
    payload = encoded(30, size=(128, 72), fps=25)
    log = LogRecord("t", 0, 0, 0, b"s", None, [])
    facts = Facts("video", "mp4", width=128, height=72, frames=30, duration_us=1_200_000)
    record = MediaRecord("camera", "s", 0, 1_200_000, facts, payload, log)
    shown = picture_of([record], start_us, start_us + 1_000_000)
    assert shown.content_type == "image/jpeg"
    frame = np.asarray(Image.open(io.BytesIO(shown.content)).convert("RGB"), np.int16)
    _, frames = by_ffmpeg(payload, "mp4")
    apart = [float(np.abs(frame - each).mean()) for each in frames]
    assert apart[number] == min(apart)
    assert apart[number] < 6  # of 255: JPEG's own loss


@pytest.mark.parametrize("rate", [1, 50, 8_000, 48_000])
@pytest.mark.parametrize("count", [0, 1, 100, 48_000])
def test_any_sound_has_a_spectrogram(rate, count):
    image = opened(spectrogram(np.zeros(count, np.float32), rate).content)
    assert 1 <= image.width <= 400
    assert np.asarray(image).max() < 60  # silence is dark


def test_louder_is_brighter():
    times = np.arange(RATE) / RATE
    samples = (np.sin(2 * np.pi * 1000 * times) * np.where(times < 0.5, 0.01, 1)).astype(np.float32)
    image = np.asarray(opened(spectrogram(samples, RATE).content)).astype(int).sum(axis=2)
    row = image.sum(axis=1).argmax()
    assert image[row, 5:40].mean() < image[row, -40:-5].mean()
