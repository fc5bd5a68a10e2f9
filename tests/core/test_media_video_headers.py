"""Headers of moving pictures: frames, times and dimensions against FFmpeg's own demuxer."""

from __future__ import annotations

import struct
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moving_pictures import (
    FRAGMENTS,
    OLD_FRAGMENTS,
    WHOLE,
    by_ffmpeg,
    encoded,
    gops,
    without_vui,
)

from pipeline.errors import UndecodableRecord
from pipeline.media.facts import read_facts
from pipeline.media.film import FRAMES_MAX, microseconds, read_film, shown_frames
from pipeline.media.film_decode import decode_film
from pipeline.media.h264 import units
from pipeline.media.h264_headers import read_sps
from pipeline.media.probe.formats import recognise
from pipeline.media.probe.kind import guess_type
from pipeline.record import Facts
from pipeline.spec.media_type import parse_media_type

PIXELS = 1 << 25
MP4 = [
    pytest.param({"codec": codec, "movflags": flags}, id=f"{codec}-{flags}")
    for codec in ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "mpeg4")
    for flags in (WHOLE, FRAGMENTS, OLD_FRAGMENTS)
]


def facts_of(media: str, payload: bytes, pixels: int = PIXELS) -> Facts:
    return read_facts(parse_media_type(media), payload, pixels)


def times(film) -> list[int]:
    return [film.samples[number].at_us for number in shown_frames(film.samples)]


def ends(film) -> list[int]:
    return [film.samples[number].end_us for number in shown_frames(film.samples)]


# -- mp4 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings_", MP4)
def test_every_frame_of_an_mp4_has_the_time_that_ffmpeg_gives_it(settings_):
    payload = encoded(**settings_)
    expected, pictures = by_ffmpeg(payload, "mp4")
    film = read_film("mp4", payload)
    assert times(film) == expected
    assert ends(film) == [*expected[1:], film.duration_us]
    assert film.duration_us == 30 * 40_000
    assert facts_of("video/mp4", payload) == Facts(
        "video", "mp4", width=128, height=72, frames=30, duration_us=1_200_000
    )
    assert pictures[0].shape == (72, 128, 3)


@pytest.mark.parametrize("movflags", [WHOLE, FRAGMENTS])
def test_frames_at_a_variable_rate_last_until_the_next(movflags):
    at = (0, 1, 2, 10, 11, 40, 41, 42, 43, 90)
    payload = encoded(10, fps=100, times=at, movflags=movflags)
    film = read_film("mp4", payload)
    assert times(film) == by_ffmpeg(payload, "mp4")[0] == [10_000 * each for each in at]
    assert ends(film)[:-1] == times(film)[1:]
    assert film.duration_us > 900_000


@pytest.mark.parametrize("size", [(128, 72), (130, 74), (66, 50), (98, 54)])
@pytest.mark.parametrize("form", ["mp4", "h264"])
def test_what_is_cropped_does_not_count(size, form):
    payload = encoded(3, form=form, size=size)
    film = read_film(form, payload)
    assert (film.width, film.height) == size
    assert by_ffmpeg(payload, form)[1][0].shape == (size[1], size[0], 3)


@pytest.mark.parametrize("pix_fmt", ["yuv422p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize("form", ["mp4", "h264"])
def test_high_profiles_are_read(pix_fmt, form):
    payload = encoded(3, form=form, size=(101 if pix_fmt == "yuv444p" else 102, 57 if
                      pix_fmt != "yuv420p10le" else 58), pix_fmt=pix_fmt)  # fmt: skip
    film = read_film(form, payload)
    assert (film.height, film.width) == by_ffmpeg(payload, form)[1][0].shape[:2]


def test_sound_in_the_same_file_is_passed_over(tmp_path):
    from films import film as make
    from films import tone

    payload = make(tmp_path / "a.mp4", 2, sound=tone(2)).path.read_bytes()
    assert times(read_film("mp4", payload)) == by_ffmpeg(payload, "mp4")[0]


def test_a_fragment_needs_its_init_segment():
    payload = encoded(movflags=FRAGMENTS)
    at = payload.index(b"moof") - 4
    with pytest.raises(UndecodableRecord, match=r"no moov box; send .* with its init segment"):
        read_film("mp4", payload[at:])
    with pytest.raises(UndecodableRecord, match="holds no frames"):
        read_film("mp4", payload[:at])


def cut_fragments(payload: bytes) -> tuple[bytes, list[bytes]]:
    """The init segment, and each fragment: moof with its mdat."""
    init, fragments, at = b"", [], 0
    while at < len(payload):
        size, kind = struct.unpack_from(">I4s", payload, at)
        if kind in (b"ftyp", b"moov"):
            init += payload[at : at + size]
        elif kind == b"moof":
            fragments.append(payload[at : at + size])
        elif kind == b"mdat":
            fragments[-1] += payload[at : at + size]
        at += size
    return init, fragments


@pytest.mark.parametrize("options", [(), (("bf", "0"),)])
def test_each_fragment_behind_the_init_segment_is_a_record_that_begins_at_zero(options):
    init, fragments = cut_fragments(encoded(36, movflags=FRAGMENTS, options=options))
    assert len(fragments) == 3
    for fragment in fragments:
        film = read_film("mp4", init + fragment)
        assert times(film) == [40_000 * number for number in range(12)]
        assert film.duration_us == 480_000
        assert decode_film(film, init + fragment, range(12), 11).spoiled == frozenset()


def test_a_fragment_with_offsets_into_the_whole_file_is_told_of():
    init, fragments = cut_fragments(encoded(36, movflags=OLD_FRAGMENTS))
    read_film("mp4", init + fragments[0])
    with pytest.raises(UndecodableRecord, match=r"\+default_base_moof"):
        read_film("mp4", init + fragments[2])


def test_an_edit_list_hides_what_is_before_its_start():
    payload = bytearray(encoded(20, options=(("bf", "0"), ("g", "20"))))
    at = payload.index(b"elst") + 12
    length, start = struct.unpack_from(">Ii", payload, at)
    assert start == 0
    [ticks] = struct.unpack_from(">I", payload, payload.index(b"mdhd") + 16)
    struct.pack_into(">Ii", payload, at, length * 3 // 10, ticks * 2 // 10)  # 0.2 to 0.44 s
    film = read_film("mp4", bytes(payload))
    assert [n for n, each in enumerate(film.samples) if each.shown] == list(range(5, 11))
    assert times(film) == [40_000 * number for number in range(6)]
    assert facts_of("video/mp4", bytes(payload)).frames == 6


@pytest.mark.parametrize(("change", "why"), [
    ((b"avc1", b"xvc1"), "codec 'xvc1' is not read"),
    ((b"vide", b"soun"), "no track of pictures"),
    ((b"moov", b"free"), "no moov box"),
    ((b"stts", b"free"), "no box 'stts'"),
])  # fmt: skip
def test_what_is_not_there_is_named(change, why):
    with pytest.raises(UndecodableRecord, match=why):
        read_film("mp4", encoded().replace(*change))


def test_more_frames_than_a_record_may_hold_are_refused_before_they_are_listed():
    payload = bytearray(encoded())
    struct.pack_into(">I", payload, payload.index(b"stsz") + 12, FRAMES_MAX + 1)
    with pytest.raises(UndecodableRecord, match=f"{FRAMES_MAX + 1} frames are more than"):
        read_film("mp4", bytes(payload))


# -- h264 -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        (),
        (("bf", "0"),),
        (("bf", "4"), ("x264-params", "b-pyramid=normal")),
        (("profile", "baseline"),),
        (("x264-params", "slices=4"),),
        (("x264-params", "interlaced=1"),),
        (("x264-params", "aud=1:sliced-threads=1:threads=2"),),
        (("refs", "1"), ("g", "1")),
    ],
)
def test_frames_of_a_byte_stream_come_in_the_order_in_which_ffmpeg_shows_them(options):
    stream = encoded(30, form="h264", options=options)
    film = read_film("h264", stream)
    _, expected = by_ffmpeg(stream, "h264")
    assert times(film) == [40_000 * number for number in range(30)]
    found = decode_film(film, stream, range(30), 29)
    assert found.spoiled == frozenset()
    shown = [found.pictures[number] for number in shown_frames(film.samples)]
    assert all((a == b).all() for a, b in zip(shown, expected, strict=True))


def field_slice(sps, *, idr: bool, frame_num: int, bottom: bool, order: int) -> bytes:
    """The beginning of a slice that is one field (7.3.3), as no encoder here makes it."""
    bits = "1" + "0001000" + "1"  # macroblock 0, I slice, PPS 0
    bits += f"{frame_num:0{sps.frame_num_bits}b}" + "1" + str(int(bottom))
    bits += "1" if idr else ""  # idr_pic_id 0
    bits += f"{order:0{sps.order_bits}b}"
    bits += "1" * (-len(bits) % 8 + 64)
    return b"\0\0\1" + bytes([0x65 if idr else 0x41]) + int(bits, 2).to_bytes(len(bits) // 8, "big")


@pytest.mark.parametrize("delimited", [False, True])
def test_two_fields_that_follow_each_other_are_one_frame(delimited):
    stream = encoded(3, form="h264", options=(("x264-params", "interlaced=1"),))
    sets = stream[: next(unit.start for unit in units(stream) if unit.kind not in (7, 8, 9))]
    sps = read_sps(next(unit.body for unit in units(sets) if unit.kind == 7))
    assert not sps.frames_only
    delimiter = b"\0\0\1\x09\xf0" if delimited else b""
    # decoded: frame 0 (an IDR field and a P field), then the frame shown third, then the second
    fields = [
        (True, 0, 0),
        (False, 0, 1),
        (False, 1, 4),
        (False, 1, 5),
        (False, 2, 2),
        (False, 2, 3),
    ]
    for idr, number, order in fields:
        bottom = order % 2 == 1
        sets += delimiter + field_slice(sps, idr=idr, frame_num=number, bottom=bottom, order=order)
    film = read_film("h264", sets)
    assert [sample.at_us for sample in film.samples] == [0, 80_000, 40_000]
    assert [sample.key for sample in film.samples] == [True, False, False]
    assert film.duration_us == 120_000


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), 30, 15, 60])
def test_the_vui_says_how_long_a_frame_lasts(fps):
    stream = encoded(12, form="h264", fps=fps)
    assert facts_of("video/H264", stream) == Facts(
        "video", "h264", width=128, height=72, frames=12, duration_us=round(12 / fps * 1_000_000)
    )


def test_without_timing_in_the_vui_a_frame_is_its_share_of_what_is_stated():
    stream = without_vui(encoded(30, form="h264"))
    assert facts_of("video/H264", stream).duration_us == 0
    film = read_film("h264", stream, 3_000_000)
    assert times(film) == [100_000 * number for number in range(30)]
    assert film.duration_us == 0
    assert set(times(read_film("h264", stream))) == {0}
    assert set(ends(read_film("h264", stream))) == {1}
    _, expected = by_ffmpeg(encoded(30, form="h264"), "h264")
    found = decode_film(film, stream, range(30), 29)
    shown = [found.pictures[number] for number in shown_frames(film.samples)]
    assert all((a == b).all() for a, b in zip(shown, expected, strict=True))


def test_a_record_begins_with_parameter_sets_and_an_idr_picture():
    stream = encoded(24, form="h264", options=(("x264-params", "repeat-headers=1"),))
    film = read_film("h264", stream)
    first, second = (sample for sample in film.samples if sample.key)
    assert second.start > first.start
    with pytest.raises(UndecodableRecord, match="before its SPS and PPS"):
        read_film("h264", stream[film.samples[5].start :])
    head = stream[: stream.index(b"\0\0\1\x65")]
    with pytest.raises(UndecodableRecord, match="does not begin with an IDR picture"):
        read_film("h264", head + stream[film.samples[5].start :])
    with pytest.raises(UndecodableRecord, match="holds no picture"):
        read_film("h264", head)
    with pytest.raises(UndecodableRecord, match="start code; send an Annex B"):
        read_film("h264", encoded())


@pytest.mark.parametrize("form", ["mp4", "H264"])
def test_pixels_over_the_limit_are_undecodable(form):
    payload = encoded(3, form=form.lower())
    assert facts_of(f"video/{form}", payload, 128 * 72).width == 128
    with pytest.raises(UndecodableRecord, match=r"limits\.pixels = 9215"):
        facts_of(f"video/{form}", payload, 128 * 72 - 1)


# -- laws -----------------------------------------------------------------------------------


@given(st.integers(1, 600), st.integers(1, 100), st.integers(0, 600))
def test_where_a_film_is_cut_moves_no_frame_that_begins_at_a_microsecond(fps, cut, frame):
    """A record's event time is rounded as its frames' times within it are."""
    frame += cut
    exact = Fraction(frame, fps) * 1_000_000
    if exact.denominator == 1 and (Fraction(2 * cut, fps) * 1_000_000).denominator != 1:
        assert round(Fraction(cut, fps) * 1_000_000) + microseconds(frame - cut, fps) == exact


@pytest.mark.parametrize("sizes", [[1] * 5, [2, 3], [5], [4, 1]])
def test_cut_into_records_of_gops_the_frames_keep_their_times(sizes):
    stream = encoded(60, form="h264", fps=30)
    found, at_us = [], Fraction(0)
    for record in gops(stream, sizes):
        film = read_film("h264", record)
        found += [round(at_us) + each for each in times(film)]
        at_us += Fraction(len(film.samples), 30) * 1_000_000
    assert found == times(read_film("h264", stream))


SOUND = {
    "mp4": [encoded(), encoded(movflags=FRAGMENTS), encoded(codec="mpeg4")],
    "h264": [encoded(form="h264"), encoded(form="h264", options=(("x264-params", "slices=3"),))],
}


@pytest.mark.parametrize("form", SOUND)
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_is_cut_or_flipped_is_read_or_undecodable(form, data):
    number = data.draw(st.integers(0, len(SOUND[form]) - 1))
    payload = bytearray(SOUND[form][number])
    head = 1500 if form == "mp4" else 200
    for _ in range(data.draw(st.integers(0, 4))):
        near = data.draw(st.sampled_from([head, len(payload)]))
        start = data.draw(st.sampled_from([0, max(0, len(payload) - head)]))
        at = min(len(payload) - 1, start + data.draw(st.integers(0, near - 1)))
        payload[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del payload[data.draw(st.integers(1, len(payload) - 1)) :]
    if data.draw(st.booleans()):
        a, b = sorted(data.draw(st.tuples(*[st.integers(0, len(payload))] * 2)))
        del payload[a : min(b, a + 64)]
    try:
        facts = facts_of({"mp4": "video/mp4", "h264": "video/H264"}[form], bytes(payload))
    except UndecodableRecord:
        return
    assert 1 <= facts.frames <= FRAMES_MAX
    assert 1 <= facts.width * facts.height <= PIXELS
    film = read_film(form, bytes(payload))
    last = min(len(film.samples) - 1, 12)
    found = decode_film(film, bytes(payload), range(0, last + 1, 3), last)
    assert all(each.dtype == "uint8" and each.ndim == 3 for each in found.pictures.values())


@pytest.mark.parametrize("form", SOUND)
@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_undecodable(form, payload):
    with pytest.raises(UndecodableRecord):
        read_film(form, payload)


# -- probing --------------------------------------------------------------------------------


def test_the_probe_tells_moving_pictures_and_what_is_wrong_with_them():
    fragments = encoded(36, movflags=FRAGMENTS)
    for content_type, form, payload in (
        ("video/mp4", "mp4", encoded()),
        ("video/mp4", "mp4", fragments),
        ("video/mp4", "mp4", fragments[fragments.index(b"moov") - 4 :]),
        ("video/H264", "h264", encoded(form="h264")),
        ("video/H264", "h264", encoded(form="h264", options=(("x264-params", "aud=1"),))),
    ):
        found = recognise(payload)
        assert (found.content_type, found.wrong) == (content_type, "")
        assert found.facts is not None
        assert found.facts.format == form
        guess = guess_type([], [payload], [], live=False)
        assert (guess.type, guess.longest_us) == (content_type, found.facts.duration_us)
        assert [each.text for each in guess.findings] == [f"{content_type}, 128 x 72"]
    alone = recognise(fragments[fragments.index(b"moof") - 4 :])
    assert alone.content_type == "video/mp4"
    assert "init segment" in alone.wrong
