"""Payloads that are made to cost more than they may: each is undecodable, soon, and in bounds."""

from __future__ import annotations

import io
import pickle
import re
import struct
import subprocess
import sys
import zlib
from functools import cache

import numpy as np
import pytest
import soundfile
import torch
from coded import encoded as coded_audio
from moving_pictures import encoded
from PIL import Image
from pipelines import broker_for, committed, connector_for, header, load, sent, values

from pipeline.batching.batch import StageJob
from pipeline.clock import thread_us
from pipeline.encoders.decode_pool import DecodePool
from pipeline.encoders.image import ColorHistogram
from pipeline.encoders.plan import StagePlan
from pipeline.encoders.running import EncodeTask
from pipeline.local import run_local
from pipeline.media.decode import decode_audio, decode_image
from pipeline.media.facts import read_facts
from pipeline.media.film import read_film
from pipeline.media.film_decode import decode_film
from pipeline.media.reading import Reader, ReadingRules
from pipeline.media.time_limit import DecodeTimeout, TimeLimit
from pipeline.record import MediaRecord, UnsoundRecord
from pipeline.slot.ports import LogRecord
from pipeline.spec.media_type import parse_media_type
from pipeline.tasks.host import RunControl

S = 1_000_000


def logged(payload: bytes, offset: int = 0) -> LogRecord:
    return LogRecord("in.cam", 0, offset, 0, b"s", payload, [])


def read(media: str, payload: bytes) -> MediaRecord | UnsoundRecord:
    rules = ReadingRules(parse_media_type(media), future_max_us=10**18)
    return Reader({"cam": rules}).read("cam", logged(payload))


class Ticks:
    """A clock on which each look takes a millisecond."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> int:
        self.looks += 1
        return 1_000 * self.looks


# -- what the header tells of is not even decoded ---------------------------------------------


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
    )


def jpeg_header(width: int, height: int) -> bytes:
    return b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", height, width) + b"\x03" + bytes(9)


def webp_header(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + sides
    return b"RIFF" + struct.pack("<I", len(body)) + body


def ue(value: int) -> str:
    bits = f"{value + 1:b}"
    return "0" * (len(bits) - 1) + bits


def h264_of(width: int, height: int) -> bytes:
    """An SPS of these dimensions before a picture of another stream."""
    small = encoded(1, form="h264", options=(("profile", "baseline"), ("g", "1")))
    bits = f"{66:08b}{0:08b}{62:08b}" + ue(0) + ue(0) + ue(2) + ue(1) + "0"
    bits += ue(width // 16 - 1) + ue(height // 16 - 1) + "1" + "1" + "0" + "0" + "1"
    bits += "0" * (-len(bits) % 8)
    sps = b"\x67" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    rest = small[small.index(b"\0\0\1\x68") :]
    return b"\0\0\0\1" + sps + b"\0" + rest


def flac_of(samples: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(4_800, np.float32), 48_000, format="FLAC")
    payload = bytearray(file.getvalue())
    packed = int.from_bytes(payload[18:26], "big") >> 36 << 36 | samples
    payload[18:26] = packed.to_bytes(8, "big")
    return bytes(payload)


@pytest.mark.parametrize(
    ("media", "payload", "why"),
    [
        ("image/png", png_header(60_000, 60_000), r"60000 x 60000 pixels .* limits\.pixels"),
        ("image/jpeg", jpeg_header(65_535, 65_535), r"65535 x 65535 pixels .* limits\.pixels"),
        ("image/webp", webp_header(16_384, 16_384), r"16384 x 16384 pixels .* limits\.pixels"),
        ("video/H264", h264_of(16_384, 8_192), r"16384 x 8192 pixels .* limits\.pixels"),
        ("audio/flac", flac_of((1 << 36) - 1), r"longer than limits\.record_span"),
    ],
    ids=["png", "jpeg", "webp", "h264", "flac"],
)
def test_dimensions_and_lengths_over_the_limits_are_undecodable_as_they_are_read(
    media, payload, why
):
    found = read(media, payload)
    assert isinstance(found, UnsoundRecord)
    assert found.reason == "undecodable"
    assert re.search(why, found.error), found.error


# -- what the header hides is stopped while it is decoded --------------------------------------


@cache
def scans(count: int, side: int = 2_000) -> bytes:
    """A progressive JPEG whose one small scan stands there so many times.

    A scan of 60 bytes has the decoder go over all blocks of the picture.
    """
    file = io.BytesIO()
    Image.new("L", (side, side), 128).save(file, "JPEG", progressive=True)
    whole = file.getvalue()
    starts, at = [], whole.find(b"\xff\xda")
    while at >= 0:
        starts.append(at)
        at = whole.find(b"\xff\xda", at + 2)
    return whole[: starts[3]] + whole[starts[2] : starts[3]] * count + whole[starts[3] :]


@cache
def endless_film(count: int = 1_500) -> bytes:
    """The same picture again and again: some 600 bytes and milliseconds of work each."""
    size, options = (1280, 720), (("g", "1"), ("x264-params", "fps=250:keyint=1"))
    return encoded(1, form="h264", size=size, fps=250, options=options) * count


def sound(form: str) -> tuple[str, bytes]:
    second = np.zeros((1, 48_000 * 8), np.float32)
    if form == "flac":
        file = io.BytesIO()
        soundfile.write(file, second[0], 48_000, format="FLAC")
        return "audio/flac", file.getvalue()
    codec, container, media = {
        "mp3": ("libmp3lame", "mp3", "audio/mpeg"),
        "aac": ("aac", "adts", "audio/aac"),
        "opus": ("libopus", "ogg", "audio/ogg"),
    }[form]
    return media, coded_audio(second, 48_000, codec, container)


@pytest.mark.parametrize("form", ["flac", "mp3", "aac", "opus"])
def test_sound_that_takes_too_long_is_undecodable(form):
    media, payload = sound(form)
    facts = read_facts(parse_media_type(media), payload, 1)
    ticks = Ticks()
    with pytest.raises(
        DecodeTimeout, match=r"limits\.decode_time, 5000 us of a core; send smaller"
    ):
        decode_audio(facts, payload, TimeLimit(5_000, ticks))
    assert ticks.looks <= 6  # and not a block more
    assert len(decode_audio(facts, payload, TimeLimit(10 * S, Ticks()))) == facts.samples


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_picture_that_takes_too_long_is_undecodable(form):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, form)
    payload = file.getvalue()
    facts = read_facts(parse_media_type(f"image/{form.lower()}"), payload, 1 << 20)
    ticks = Ticks()
    with pytest.raises(DecodeTimeout, match=r"limits\.decode_time"):
        decode_image(facts, payload, TimeLimit(8_000, ticks))
    assert ticks.looks <= 9
    expected = np.asarray(Image.open(io.BytesIO(payload)).convert("RGB"))
    assert (decode_image(facts, payload, TimeLimit(S, Ticks())) == expected).all()


def test_a_jpeg_of_endless_scans_is_stopped_by_the_clock_of_its_thread():
    payload = scans(20_000)
    facts = read_facts(parse_media_type("image/jpeg"), payload, 1 << 25)
    began_us = thread_us()
    with pytest.raises(DecodeTimeout):
        decode_image(facts, payload, TimeLimit(200_000, thread_us))
    assert 200_000 <= thread_us() - began_us < 2 * S  # all of it would take 15 s
    few = scans(10)
    decode_image(read_facts(parse_media_type("image/jpeg"), few, 1 << 25), few)


def test_a_film_is_decoded_as_far_as_its_time_goes():
    payload = encoded(30, form="h264", options=(("g", "10"),))
    film = read_film("h264", payload)
    whole = decode_film(film, payload, range(30), 29)
    part = decode_film(film, payload, range(30), 29, None, TimeLimit(13_000, Ticks()))
    assert part.stopped == 12
    assert part.spoiled == frozenset(range(12, 30))
    assert [part.timed_out(number) for number in (11, 12, 29)] == [False, True, True]
    assert "frame 12 cannot be decoded (decoding took longer than limits.decode_time" in part.error
    for number, picture in part.pictures.items():
        assert (picture == whole.pictures[number]).all()
    assert part.pictures.keys() == set(range(12))


def jobs_of(payload: bytes, seconds: int) -> list[StageJob]:
    facts = read_facts(parse_media_type("video/H264"), payload, 33_000_000)
    record = MediaRecord("cam", "s", 0, facts.duration_us, facts, payload, logged(payload))
    return [StageJob("s", at * S, (at + 1) * S, [record]) for at in range(seconds)]


def test_windows_before_the_time_is_up_have_their_frames_and_those_after_it_tell_of_it():
    payload = endless_film()
    plan = StagePlan("colour", ("cam",), length=24, decode_time_us=200_000)
    task = EncodeTask(ColorHistogram(torch.device("cpu")), plan, DecodePool(0, thread_us))
    began_us = thread_us()
    first, *_, last = task.run(jobs_of(payload, 6))
    assert thread_us() - began_us < 2 * S  # all of it would take longer
    assert (last.failure, last.timed_out) == ("undecodable", 1)
    [(name, why)] = last.undecodable
    assert name == ("in.cam", 0, 0)
    assert "limits.decode_time, 200000 us of a core" in why
    assert first.failure is None or first.timed_out == 1  # on a very slow machine


def test_a_run_dead_letters_what_takes_too_long_counts_it_and_goes_on():
    tree = {
        "name": "bombs",
        "inputs": {"cam": {"topic": "in.cam", "type": "image/jpeg"}},
        "windows": {"size": "1s"},
        "stages": {"colour": {"encoder": "color_histogram", "of": "cam"}},
        "fusion": {"rule": "concat", "of": {"colour": 1}, "normalize": "none"},
        "outputs": {"results": "out.results", "late": "out.late", "dead_letter": "out.dead"},
        "limits": {"decode_time": "100ms", "dead_letter_rate": "100%"},
        "slots": 1,
    }
    spec = load(tree)
    broker = broker_for(spec, lanes=1)
    sound_one = scans(1, 64)
    for at, payload in enumerate((sound_one, scans(20_000), sound_one)):
        broker.append(sent("in.cam", payload, at * S))
    views = []
    run_local(spec, connector_for(broker), RunControl(until_end=True, show=views.append))
    results = {value["window"]["start_us"]: value for value in values(broker, "out.results")}
    assert {at: each["failed"] for at, each in results.items()} == {
        0: {},
        S: {"colour": "undecodable"},
        2 * S: {},
    }
    letters = {header(each, "motet-reason"): each for each in committed(broker, "out.dead")}
    assert letters.keys() == {"undecodable", "encode-failed"}  # the record, and its window
    letter = letters["undecodable"]
    assert header(letter, "motet-stage") == "colour"
    assert "limits.decode_time" in header(letter, "motet-error")
    figures = views[0].snapshot().figures
    assert figures.value("motet_decode_timeouts_total", "colour") == 1


# -- and none takes more memory than it may ----------------------------------------------------

BOUNDED = """
import resource, sys, pickle
from pipeline.errors import UndecodableRecord
from pipeline.media.decode import decode_image
from pipeline.media.facts import read_facts
from pipeline.spec.media_type import parse_media_type
from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (96 << 20),) * 2)
for media, payload in pickle.load(sys.stdin.buffer):
    try:
        facts = read_facts(parse_media_type(media), payload, 33_000_000)
        print("ok", decode_image(facts, payload).shape)
    except UndecodableRecord as error:
        print("undecodable", error)
"""


def inflating_png() -> bytes:
    """8 x 8 pixels, and 160 MB of zeros behind them in the same stream."""
    small = png_header(8, 8)
    packed = zlib.compressobj(9)
    data = b"".join(packed.compress(bytes(1 << 20)) for _ in range(160)) + packed.flush()
    body = struct.pack(">I", len(data)) + b"IDAT" + data
    body += struct.pack(">I", zlib.crc32(b"IDAT" + data))
    return small[:33] + body + bytes(4) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


def second_frame_header() -> bytes:
    """A JPEG that says twice how large it is."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG")
    whole = file.getvalue()
    at = whole.index(b"\xff\xc0")
    size = 2 + int.from_bytes(whole[at + 2 : at + 4], "big")
    large = whole[at : at + 5] + struct.pack(">HH", 60_000, 60_000) + whole[at + 9 : at + size]
    return whole[: at + size] + large + whole[at + size :]


def animation() -> bytes:
    frames = [Image.new("RGB", (300, 300), (n, 0, 0)) for n in range(200)]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    return file.getvalue()


def test_what_inflates_stays_within_memory():
    bombs = [
        ("image/png", inflating_png()),
        ("image/jpeg", second_frame_header()),
        ("image/webp", animation()),
        ("image/png", png_header(60_000, 60_000)),
    ]
    ran = subprocess.run(
        [sys.executable, "-c", BOUNDED],
        input=pickle.dumps(bombs),
        capture_output=True,
        timeout=60,
        check=True,
    )
    png, jpeg, webp, huge = ran.stdout.decode().splitlines()
    assert png == "ok (8, 8, 3)"
    assert jpeg.startswith("undecodable jpeg: decodes to 60000 x 60000 pixels, its header says 16")
    assert webp == "ok (300, 300, 3)"
    assert huge.startswith("undecodable png: 60000 x 60000 pixels are more than limits.pixels")
