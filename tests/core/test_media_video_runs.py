"""Pipelines that read moving pictures, whole, in one process on the in-memory log."""

from __future__ import annotations

import numpy as np
import pytest
from moving_pictures import FRAGMENTS, by_ffmpeg, encoded, gops, without_vui
from pipelines import broker_for, committed, connector_for, header, load, sent, values

from pipeline.encoders.base import Clip
from pipeline.encoders.image import ColorHistogram
from pipeline.local import run_local
from pipeline.media.film import read_film
from pipeline.tasks.host import RunControl

S = 1_000_000
FPS = 25
FRAME_US = S // FPS
TREE = {
    "name": "films",
    "inputs": {"cam": {"topic": "in.cam", "type": "video/mp4"}},
    "windows": {"size": "400ms"},
    "stages": {"colour": {"encoder": "color_histogram", "of": "cam"}},
    "fusion": {"rule": "concat", "of": {"colour": 1}, "normalize": "none"},
    "outputs": {"results": "out.results", "late": "out.late", "dead_letter": "out.dead"},
    "commit_interval": "20ms",
    "slots": 1,
    "limits": {"dead_letter_rate": "100%"},
}


def run(media: str, records, changes=None):
    """Results by their window's start, and the broker; ``records``: payload, time, duration."""
    spec = load(TREE, {"inputs.cam.type": media, **(changes or {})})
    broker = broker_for(spec, lanes=1)
    for payload, ts_us, length_us in records:
        broker.append(sent("in.cam", payload, ts_us, length_us=length_us))
    run_local(spec, connector_for(broker), RunControl(until_end=True))
    return {v["window"]["start_us"]: v for v in values(broker, "out.results")}, broker


def expected(pictures, begin_us: int) -> dict[int, list[float]]:
    """The histogram of each window from all frames that are shown in it."""
    encoder = ColorHistogram(None)
    windows: dict[int, list[np.ndarray]] = {}
    for number, picture in enumerate(pictures):
        at_us = begin_us + number * FRAME_US
        for start_us in range(at_us // 400_000 * 400_000, at_us + FRAME_US, 400_000):
            windows.setdefault(start_us, []).append(picture)
    return {
        start_us: encoder.encode([Clip("s", start_us, start_us + 400_000, frames=frames)])[0]
        for start_us, frames in windows.items()
    }


def agree(found, wanted) -> None:
    assert found.keys() == wanted.keys()
    for start_us, vector in wanted.items():
        assert found[start_us]["failed"] == {}
        assert np.allclose(found[start_us]["output"]["vector"], vector, atol=1e-6)


def vectors(found):
    return {start_us: each["output"]["vector"] for start_us, each in found.items()}


@pytest.mark.parametrize("begin_us", [0, 130_000])
@pytest.mark.parametrize("movflags", [None, FRAGMENTS])
def test_the_frames_of_an_mp4_fall_into_the_windows_of_their_own_times(movflags, begin_us):
    payload = encoded(50, movflags=movflags)
    found, broker = run("video/mp4", [(payload, begin_us, None)])
    agree(found, expected(by_ffmpeg(payload, "mp4")[1], begin_us))
    assert committed(broker, "out.dead") == []


def test_records_of_one_gop_or_of_several_give_the_same_results_to_the_bit():
    stream = encoded(60, form="h264", options=(("g", "12"),))
    pictures = by_ffmpeg(stream, "h264")[1]
    found = []
    for sizes in ([1] * 5, [2, 3], [5]):
        edges = np.cumsum([0, *sizes]) * 12 * FRAME_US
        payloads = gops(stream, sizes)
        records = [(p, int(at), None) for p, at in zip(payloads, edges[:-1], strict=True)]
        results, broker = run("video/H264", records)
        assert committed(broker, "out.late") == []
        agree(results, expected(pictures, 0))
        found.append(vectors(results))
    assert found[0] == found[1] == found[2]


def test_what_is_stated_counts_where_the_stream_does_not_say_how_long_it_lasts():
    stream = without_vui(encoded(10, form="h264", options=(("g", "10"),)))
    pictures = by_ffmpeg(encoded(10, form="h264", options=(("g", "10"),)), "h264")[1]
    stated, _ = run("video/H264", [(stream, 100_000, 400_000)])
    agree(stated, expected(pictures, 100_000))
    unknown, _ = run("video/H264", [(stream, 100_000, None)])
    assert list(unknown) == [0]
    # and where it does say, what is stated does not
    said, _ = run("video/H264", [(encoded(10, form="h264"), 0, 30 * S)])
    assert list(said) == [0]


def test_unsound_and_damaged_films_are_dead_lettered_with_a_remedy():
    whole = encoded(20, movflags=FRAGMENTS, options=(("g", "20"),))
    fragment = whole[whole.index(b"moof") - 4 :]
    first = read_film("mp4", whole).samples[0]
    at = first.start + first.size * 3 // 4
    damaged = whole[:at] + bytes(200) + whole[at + 200 :]
    long = encoded(4, fps=1, form="mp4")
    records = [(fragment, 0, None), (damaged, 0, None), (whole, 800_000, None), (long, S, None)]
    found, broker = run("video/mp4", records, {"limits.record_span": "3s"})
    letters = committed(broker, "out.dead")
    told = {header(each, "motet-offset"): header(each, "motet-error") for each in letters}
    assert "with its init segment" in told["0"]
    assert "h264: frame 0 cannot be decoded" in told["1"]
    assert "longer than limits.record_span" in told["3"]
    sound = {start_us for start_us, each in found.items() if not each["failed"]}
    assert sound == {800_000, 1_200_000}
    assert found.keys() - sound == {0, 400_000}


def test_a_film_and_its_sound_meet_in_the_windows(tmp_path):
    """What publish makes of one film, into one pipeline: both lie in the same windows."""
    from films import RATE, film, tone

    from pipeline.connectors.file_media import pieces
    from pipeline.connectors.files import parts

    spec = load(
        TREE,
        {
            "inputs.mic": {"topic": "in.mic", "type": f"audio/L16;rate={RATE};channels=1"},
            "stages.sound": {"encoder": "log_mel", "of": "mic", "options": {"rate": RATE}},
            "fusion.of": {"colour": 1, "sound": 1},
        },
    )
    broker = broker_for(spec, lanes=1)
    by_kind = {each.kind: each for each in parts(film(tmp_path / "a.mp4", 2, sound=tone(2)))}
    for name, kind, media in (("mic", "audio", str(spec.inputs["mic"].media)),
                              ("cam", "image", "video/mp4")):  # fmt: skip
        for piece in pieces(by_kind[kind], media, S):
            broker.append(sent(f"in.{name}", piece.payload, piece.at_us))
    run_local(spec, connector_for(broker), RunControl(until_end=True))
    found = {v["window"]["start_us"]: v for v in values(broker, "out.results")}
    both = [start_us for start_us, each in found.items() if each["present"] == ["cam", "mic"]]
    assert both == [0, 400_000, 800_000, 1_200_000, 1_600_000]
    assert all(each["failed"] == {} for each in found.values())
