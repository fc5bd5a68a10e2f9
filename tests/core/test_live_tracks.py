"""Streams of live sources as records: cut like files, and never twice the same moment."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.connectors.files import PICTURES, Target
from pipeline.connectors.live_tracks import Track, Wanted

S = 1_000_000
RATE = 8_000
BLOCK = 160  # 20 ms
CHUNK_US = 100_000


class Connection:
    """PCM packets of a wave that is at sample ``n`` worth ``n mod 30000``: each is its own time."""

    def __init__(self) -> None:
        self.context = av.CodecContext.create("pcm_s16le", "r")
        self.context.sample_rate, self.context.layout = RATE, "mono"
        self.stream = SimpleNamespace(
            rate=RATE, layout=av.AudioLayout("mono"), type="audio", decode=self.context.decode
        )

    def packet(self, first: int, count: int = BLOCK) -> av.Packet:
        packet = av.Packet((np.arange(first, first + count) % 30_000).astype("<i2").tobytes())
        packet.pts = packet.dts = first
        packet.time_base = Fraction(1, RATE)
        return packet


def sound_track(content_type: str | None = None) -> Track:
    return Track(Wanted("audio", Target("t", content_type), "s", CHUNK_US, PICTURES), "mic")


def same(media_us: int) -> int:
    return media_us


def samples(record) -> np.ndarray:
    return np.frombuffer(record.payload, ">i2")


@given(
    runs=st.lists(
        st.tuples(st.integers(-4_000, 4_000), st.integers(1, 12), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_a_source_sends_again_each_sample_is_sent_once_and_at_its_time(runs):
    """Each run begins so many samples off the end of the last one, maybe on a new connection."""
    track, connection = sound_track(), Connection()
    track.open(connection.stream, "mic")
    records, position = [], 40_000
    for shift, blocks, anew in runs:
        position = max(0, position + shift)
        for _ in range(blocks):
            records += track.feed(connection.packet(position), same)
            position += BLOCK
        if anew:
            records += track.flush()
            connection = Connection()
            track.open(connection.stream, "mic")
    records += track.flush()
    assert track.damaged == 0
    assert [record.sequence for record in records] == list(range(len(records)))
    end_us = 0
    for record in records:
        assert end_us <= record.ts_us
        end_us = record.end_us
        held = samples(record)
        assert record.end_us - record.ts_us <= CHUNK_US + 1
        first = round(record.ts_us * RATE / S)
        # what differs by less than GAP_US is taken for the jitter of timestamps
        off = (int(held[0]) - first + 15_000) % 30_000 - 15_000
        assert abs(off) <= RATE // 20
        steps = np.diff(held.astype(int)) % 30_000
        assert (steps != 1).sum() <= len(runs)


@given(data=st.data(), count=st.integers(1, 60))
def test_sound_without_a_gap_is_what_was_sent_however_often_the_connection_breaks(data, count):
    track, connection = sound_track(), Connection()
    track.open(connection.stream, "mic")
    breaks = data.draw(st.sets(st.integers(0, count)))
    records = []
    for n in range(count):
        if n in breaks:
            records += track.flush()
            connection = Connection()
            track.open(connection.stream, "mic")
        records += track.feed(connection.packet(n * BLOCK), same)
    records += track.flush()
    got = np.concatenate([samples(record) for record in records])
    assert (got == np.arange(count * BLOCK)).all()
    assert [r.ts_us for r in records[1:]] == [r.end_us for r in records[:-1]]


def test_a_gap_is_left_out_and_what_follows_keeps_its_time():
    track, connection = sound_track(), Connection()
    track.open(connection.stream, "mic")
    records = []
    for first in (0, BLOCK, RATE, RATE + BLOCK):
        records += track.feed(connection.packet(first), same)
    records += track.flush()
    assert [(r.ts_us, r.end_us) for r in records] == [(0, 40_000), (S, S + 40_000)]


def test_sound_is_resampled_over_packets_as_one():
    soxr = pytest.importorskip("soxr")
    track, connection = sound_track("audio/L16;rate=16000;channels=1"), Connection()
    track.open(connection.stream, "mic")
    records = []
    for n in range(50):
        records += track.feed(connection.packet(n * BLOCK), same)
    records += track.flush()
    sent = (np.arange(50 * BLOCK) % 30_000).astype(np.float32) / 32768
    expected = soxr.resample(sent, RATE, 16_000, quality="HQ")
    got = np.concatenate([samples(record) for record in records])
    assert len(got) == len(expected)
    assert np.abs(got - np.rint(expected * 32768)).max() <= 1


class Camera:
    """MJPEG: every packet stands alone. Its picture ``n`` is taken at n/10 s."""

    def __init__(self) -> None:
        decoder = av.CodecContext.create("mjpeg", "r")
        self.stream = SimpleNamespace(decode=decoder.decode, thread_type="NONE", type="video")
        self.encoder = av.CodecContext.create("mjpeg", "w")
        self.encoder.width, self.encoder.height, self.encoder.pix_fmt = 64, 48, "yuvj420p"
        self.encoder.time_base = Fraction(1, 10)

    def packet(self, n: int, payload: bytes | None = None) -> av.Packet:
        picture = np.full((48, 64, 3), 20 * n % 250, np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuvj420p")
        frame.pts, frame.time_base = n, Fraction(1, 10)
        [encoded] = self.encoder.encode(frame)
        packet = av.Packet(payload or bytes(encoded))
        packet.pts = packet.dts = n
        packet.time_base = Fraction(1, 10)
        return packet


def picture_track() -> Track:
    pictures = PICTURES._replace(fps=Fraction(10))
    return Track(Wanted("image", Target("t"), "s", CHUNK_US, pictures), "cam")


def test_a_damaged_packet_is_counted_and_the_next_one_is_taken():
    camera, track = Camera(), picture_track()
    track.open(camera.stream, "cam")
    records = []
    for n, payload in enumerate([None, b"\xff\xd8 no picture", None]):
        records += track.feed(camera.packet(n, payload), same)
    assert [record.ts_us for record in records] == [0, 200_000]
    assert track.damaged == 1
    assert track.damage


@given(begins=st.lists(st.integers(0, 12), min_size=1, max_size=5))
def test_pictures_that_are_sent_again_after_a_reconnection_are_left_out(begins):
    """Each connection begins at a picture of its own and gives six."""
    track, records = picture_track(), []
    for begin in begins:
        camera = Camera()
        track.open(camera.stream, "cam")
        for n in range(begin, begin + 6):
            records += track.feed(camera.packet(n), same)
        records += track.flush()
    expected: list[int] = []
    for begin in begins:
        expected += [n for n in range(begin, begin + 6) if not expected or n > expected[-1]]
    assert [record.ts_us // 100_000 for record in records] == expected
    assert track.repeated == 6 * len(begins) - len(expected)
