"""Films as sources of publish: times, counts and content against what was put into them."""

from __future__ import annotations

import io
import itertools
import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest
from films import FPS, RATE, SOUND_CODECS, film, grey, mux_second, tone
from moving_pictures import picture
from PIL import Image

from pipeline.connectors.file_media import duration_us, pieces
from pipeline.connectors.files import PICTURES, SourceFile, Target, expand, merge, parts, timelines
from pipeline.connectors.film_remux import FilmCutter
from pipeline.errors import InvalidInput
from pipeline.media.film import read_film, shown_frames
from pipeline.media.film_decode import decode_film

S = 1_000_000
L16 = "audio/L16;rate=16000;channels=1"


def part(file: SourceFile, kind: str) -> SourceFile:
    [found] = [p for p in parts(file) if p.kind == kind]
    return found


def level(payload: bytes) -> float:
    with Image.open(io.BytesIO(payload)) as image:
        return float(np.asarray(image.convert("L")).mean())


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm"])
def test_a_film_gives_its_pictures_at_their_times_and_its_sound(tmp_path, suffix):
    sound = tone(3)
    file = film(tmp_path / f"a.{suffix}", sound=sound)
    assert [p.kind for p in parts(file)] == ["audio", "image"]
    assert abs(duration_us(part(file, "image"), S) - 3 * S) < 50_000
    pictures = list(pieces(part(file, "image"), "image/jpeg", S))
    # Two a second: the first of each half, so the pictures 0, 13 (at 0.52 s), 25, 38, ...
    numbers = [-(-tick * FPS // 2) for tick in range(6)]
    for piece, number in zip(pictures, numbers, strict=True):
        assert abs(piece.at_us - number * S // FPS) <= 1000  # a container may round to 1 ms
        assert abs(level(piece.payload) - grey(number)) < 4
        assert piece.due_us == piece.at_us
        assert piece.end_us % 500_000 == 0
        assert piece.mediadur_us == piece.end_us - piece.at_us
    chunks = list(pieces(part(file, "audio"), f"audio/L16;rate={RATE};channels=1", S))
    got = np.frombuffer(b"".join(c.payload for c in chunks), ">i2").astype(float)
    lossless = suffix in ("mov", "mkv")
    if lossless:
        assert (got == sound).all()
    else:
        assert len(sound) <= len(got) <= len(sound) + 2048
        assert np.abs(got[4800:-4800] - sound[4800 : len(got) - 4800]).max() < 1500
    assert [c.at_us for c in chunks][:3] == [0, S, 2 * S]


def test_the_sound_is_that_of_an_independent_decode_in_the_inputs_rate(tmp_path):
    import soxr

    file = film(tmp_path / "a.mp4", sound=tone(3))
    with av.open(str(file.path)) as container:
        frames = [f.to_ndarray()[0] for f in container.decode(audio=0)]
    decoded = np.concatenate(frames)
    expected = soxr.resample(decoded, RATE, 16_000, quality="HQ")
    payload = b"".join(c.payload for c in pieces(part(file, "audio"), L16, 700_000))
    got = np.frombuffer(payload, ">i2")
    assert len(got) == len(expected)
    assert np.abs(got - np.rint(expected * 32768)).max() <= 1


@pytest.mark.parametrize(("fps", "count"), [("25", 75), ("100", 75), ("1/2", 2), ("10", 30)])
def test_the_rate_of_the_pictures_is_what_is_asked_and_never_more_than_there_are(
    tmp_path, fps, count
):
    file = part(film(tmp_path / "a.mkv"), "image")
    found = list(pieces(file, "image/png", S, PICTURES._replace(fps=Fraction(fps))))
    assert len(found) == count
    assert {Image.open(io.BytesIO(p.payload)).format for p in found} == {"PNG"}
    assert all(a.at_us < b.at_us for a, b in itertools.pairwise(found))


@pytest.mark.parametrize(("width", "size"), [(32, (32, 24)), (64, (64, 48)), (500, (64, 48))])
def test_pictures_are_scaled_down_and_never_up(tmp_path, width, size):
    file = part(film(tmp_path / "a.mp4", 0.2), "image")
    [piece] = pieces(file, "image/jpeg", S, PICTURES._replace(width_max=width))
    with Image.open(io.BytesIO(piece.payload)) as image:
        assert image.size == size
    assert abs(level(piece.payload) - grey(0)) < 4


def test_where_the_sound_has_a_gap_the_rest_keeps_its_time(tmp_path):
    sound = tone(4)
    file = part(film(tmp_path / "a.mkv", 4, sound=sound, gap_at=1), "audio")
    chunks = list(pieces(file, f"audio/L16;rate={RATE};channels=1", S))
    assert [(c.at_us, c.end_us) for c in chunks] == [(0, S), (2 * S, 3 * S), (3 * S, 4 * S)]
    got = [np.frombuffer(c.payload, ">i2") for c in chunks]
    for block, second in zip(got, (0, 2, 3), strict=True):
        assert (block == sound[second * RATE : (second + 1) * RATE]).all()


def test_sound_that_begins_after_the_pictures_begins_after_them_here_too(tmp_path):
    file = part(film(tmp_path / "a.mkv", 3, sound=tone(3), gap_at=0), "audio")
    chunks = list(pieces(file, None, S))
    assert [(c.at_us, c.end_us) for c in chunks] == [(S, 2 * S), (2 * S, 3 * S)]


@pytest.mark.parametrize("suffix", ["m4a", "aac", "opus"])
def test_compressed_sound_files_are_taken(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    sound = tone(2)
    with av.open(str(path), "w", format={"aac": "adts", "m4a": "ipod"}.get(suffix)) as out:
        audio = out.add_stream("libopus" if suffix == "opus" else "aac", rate=RATE, layout="mono")
        for second in range(2):
            mux_second(out, audio, sound, second)
        out.mux(audio.encode(None))
    [file], _ = expand([str(path)])
    assert parts(file) == [file]
    got = np.frombuffer(b"".join(p.payload for p in pieces(file, None, S)), ">i2")
    padding = 2 * 1024 + 960  # raw AAC says nothing of what its encoder has put before and behind
    assert len(sound) <= len(got) <= len(sound) + padding
    assert abs(duration_us(file, S) - 2 * S) < 70_000
    assert np.abs(np.fft.rfft(got)).argmax() / len(got) * RATE == pytest.approx(440, abs=1)


def test_a_film_without_sound_is_pictures_and_one_without_pictures_is_sound(tmp_path):
    mute = film(tmp_path / "mute.mp4", 0.2)
    blind = film(tmp_path / "blind.mp4", sound=tone(1), pictures=False)
    assert [p.kind for p in parts(mute)] == ["image"]
    assert [p.kind for p in parts(blind)] == ["audio"]


@pytest.mark.parametrize("content", [b"no film at all", b""])
def test_what_is_no_film_says_so_before_anything_is_sent(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    [file], _ = expand([str(path)])
    with pytest.raises(InvalidInput, match=r"a.mp4: it cannot be read as a film or sound \(") as e:
        parts(file)
    assert "\n" not in str(e.value)


def test_films_of_a_stream_play_one_after_another_sound_and_pictures_together(tmp_path):
    files = []
    for name, sound_s in (("1", 2.0), ("2", 1.0)):
        found = film(tmp_path / f"{name}.mkv", 1.0, sound=tone(sound_s)[: RATE + RATE // 2])
        files += [(p, Target(p.kind)) for p in parts(found)]
    lines = timelines(files, S, "cam", PICTURES)
    assert [(line.target.topic, len(line.files)) for line in lines] == [("audio", 2), ("image", 2)]
    records = list(merge(lines, 0, 10 * S, 1))
    assert [r.due_us for r in records] == sorted(r.due_us for r in records)
    length_us = duration_us(files[0][0], S)
    for topic in ("audio", "image"):
        second = min(r.ts_us for r in records if r.target.topic == topic and r.source == "2.mkv")
        assert second == length_us, "both begin where the first film ended"


def test_memory_does_not_grow_with_the_length_of_a_film(tmp_path):
    """By what Python and numpy hold at the most; a decoded second here is 12 MB."""

    def most_bytes(seconds: float) -> int:
        file = part(film(tmp_path / f"{seconds}.mp4", seconds, size=(480, 352)), "image")
        tracemalloc.start()
        for piece in pieces(file, "image/jpeg", S):
            assert piece.payload
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    most_bytes(1.0)  # what is imported meanwhile does not count
    assert most_bytes(8.0) < most_bytes(2.0) + 1_000_000


# -- moving pictures as they are --------------------------------------------------------------


def frame_times(found, form: str) -> list[int]:
    times = []
    for piece in found:
        header = read_film(form, piece.payload)
        numbers = shown_frames(header.samples)
        times += [piece.at_us + header.samples[number].at_us for number in numbers]
        assert header.samples[numbers[-1]].end_us == piece.end_us - piece.at_us
    return times


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize(("form", "content_type"), [("mp4", "video/mp4"), ("h264", "video/H264")])
def test_a_film_goes_out_in_records_that_begin_with_a_key_frame_and_is_not_encoded_again(
    tmp_path, suffix, form, content_type
):
    file = moving(tmp_path / f"a.{suffix}", 75, {"g": "10"}, sound=tone(3))
    found = list(pieces(part(file, "image"), content_type, S))
    # key frames each 0.4 s, so the first at or after a second is at 1.2
    assert [piece.at_us for piece in found] == [0, 1_200_000, 2_400_000]
    assert [piece.end_us for piece in found] == [1_200_000, 2_400_000, 3 * S]
    assert [piece.due_us for piece in found] == [piece.end_us for piece in found]
    with av.open(str(file.path)) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    shown = []
    for piece in found:
        header = read_film(form, piece.payload)
        count = len(header.samples)
        pictures = decode_film(header, piece.payload, range(count), count - 1).pictures
        shown += [pictures[number] for number in shown_frames(header.samples)]
    assert all((a == b).all() for a, b in zip(shown, decoded, strict=True))
    off_us = 1_000 if suffix == "mkv" else 0  # its timestamps are milliseconds
    expected = [number * S // FPS for number in range(75)]
    assert all(
        abs(a - b) <= off_us for a, b in zip(frame_times(found, form), expected, strict=True)
    )


def test_its_sound_and_its_moving_pictures_share_one_timebase(tmp_path):
    file = moving(tmp_path / "a.mp4", 50, {"g": "25"}, sound=tone(2), begin_us=680_000)
    sound = list(pieces(part(file, "audio"), L16, S))
    found = list(pieces(part(file, "image"), "video/mp4", S))
    assert [piece.at_us for piece in found] == [680_000, 1_680_000]
    assert sound[0].at_us == 0


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_an_open_gop_is_not_cut(tmp_path, codec):
    options = {
        "libx264": {"g": "10", "x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"},
        "libx265": {"x265-params": "log-level=none:open-gop=1:keyint=10:bframes=3:b-adapt=0"},
    }
    file = moving(tmp_path / "a.mp4", 50, options[codec], codec=codec)
    with av.open(str(file.path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    keys = [n for n, packet in enumerate(packets) if packet.is_keyframe]
    cuts = [n for n in keys if n == 0 or packets[n + 1].pts > packets[n].pts]
    assert len(cuts) < len(keys)
    found = list(pieces(part(file, "image"), "video/mp4", 1))
    assert len(found) == len(cuts)
    assert frame_times(found, "mp4") == [number * S // FPS for number in range(50)]


def test_what_has_no_key_frame_is_not_held_without_bound(tmp_path):
    """Half a film in a live camera's limit: the first half is over it, the second begins anew."""
    file = moving(tmp_path / "a.mkv", 60, {"g": "30", "sc_threshold": "0", "bf": "0"})
    with av.open(str(file.path)) as container:
        [stream] = container.streams.video
        packets = [packet for packet in container.demux(stream) if packet.size]
        half = sum(packet.size for packet in packets[:30])
        cutter = FilmCutter("cam", stream, "video/mp4", S, half - packets[29].size)
        got, refused = [], []
        for number, packet in enumerate(packets):
            try:
                got += cutter.feed(packet)
            except InvalidInput as error:
                refused.append((number, str(error)))
        [(number, said), *others] = refused
        assert number == 29
        assert "no key frame in " in said
        assert "set its key frame interval" in said
        if not others:  # the second half may be smaller
            got += cutter.end()
        assert all(piece.at_us == 1_200_000 for piece in got)
        assert len(got) + len(others) == 1


def test_pictures_of_another_codec_are_refused_with_a_way_out(tmp_path):
    file = part(film(tmp_path / "a.webm", 1), "image")
    with pytest.raises(
        InvalidInput, match=r"pictures are (lib)?vp.*give the input type image/jpeg"
    ):
        list(pieces(file, "video/H264", S))


def moving(path, count, options, *, codec="libx264", sound=None, begin_us=0):
    """Pictures of a cartoon at FPS from ``begin_us`` on, with sound from 0 on."""
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = None
        if sound is not None:
            audio = out.add_stream(SOUND_CODECS[path.suffix[1:]], rate=RATE, layout="mono")
            for second in range(len(sound) // RATE):
                mux_second(out, audio, sound, second)
            out.mux(audio.encode(None))
        for number in range(count):
            frame = av.VideoFrame.from_image(picture(number, (64, 48)))
            frame.pts, frame.time_base = number * 40 + begin_us // 1000, Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    [found], _ = expand([str(path)])
    return found
