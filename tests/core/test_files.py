"""Files as sources of publish: which are taken, how they are cut, when each record plays."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile
from coded import encoded, tones
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.connectors.file_media import duration_us, pieces
from pipeline.connectors.files import SourceFile, Target, Timeline, expand, merge, timelines
from pipeline.connectors.publish import default_start_us, headers
from pipeline.connectors.sound_cutter import Edges
from pipeline.errors import InvalidInput
from pipeline.media.facts import read_facts
from pipeline.spec.media_type import parse_media_type
from pipeline.spec.units import format_rfc3339

S = 1_000_000
L16 = "audio/L16;rate=16000;channels=1"


def tone(rate: int, seconds: float, channels: int = 1) -> np.ndarray:
    """int16 samples of shape (n, channels), another pitch in each channel."""
    t = np.arange(round(rate * seconds)) / rate
    waves = [np.sin(2 * np.pi * 440 * (c + 1) * t) * 12000 for c in range(channels)]
    return np.stack(waves, 1).astype(np.int16)


def sound_file(path: Path, samples: np.ndarray, rate: int, **how: str) -> SourceFile:
    soundfile.write(path, samples, rate, **how)
    [file], _ = expand([str(path)])
    return file


def whole(file: SourceFile, content_type: str | None, chunk_us: int = S) -> bytes:
    return b"".join(piece.payload for piece in pieces(file, content_type, chunk_us))


def test_a_wav_of_16_bits_comes_out_bit_for_bit_and_big_endian(tmp_path):
    samples = tone(16000, 2.5, channels=2)
    samples[:4] = [[32767, -32768], [-32768, 32767], [0, -1], [1, 0]]
    file = sound_file(tmp_path / "a.wav", samples, 16000, subtype="PCM_16")
    found = list(pieces(file, None, S))
    assert b"".join(p.payload for p in found) == samples.astype(">i2").tobytes()
    assert {p.content_type for p in found} == {"audio/L16;rate=16000;channels=2"}
    assert [(p.at_us, p.end_us, p.due_us) for p in found] == [
        (0, S, S),
        (S, 2 * S, 2 * S),
        (2 * S, 2_500_000, 2_500_000),
    ]
    assert duration_us(file, S) == 2_500_000


@pytest.mark.parametrize(
    ("content_type", "dtype"),
    [
        ("audio/x-raw;format=S16LE;rate=16000;channels=1", "<i2"),
        ("audio/x-raw;format=S16BE;rate=16000;channels=1", ">i2"),
        (L16, ">i2"),
    ],
)
def test_the_byte_order_is_that_of_the_type(tmp_path, content_type, dtype):
    samples = tone(16000, 0.5)
    file = sound_file(tmp_path / "a.wav", samples, 16000)
    assert whole(file, content_type) == samples.astype(dtype).tobytes()


def test_float_samples_are_written_as_they_are(tmp_path):
    samples = (tone(8000, 0.3) / 32768).astype(np.float32)
    file = sound_file(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    assert whole(file, "audio/x-raw;format=F32LE;rate=8000;channels=1") == samples.tobytes()


def test_float_samples_over_full_scale_are_clipped_not_wrapped(tmp_path):
    samples = np.array([[2.0], [-2.0], [1.0]], np.float32)
    file = sound_file(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    assert np.frombuffer(whole(file, None), ">i2").tolist() == [32767, -32768, 32767]


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
def test_compressed_files_are_decoded_to_their_full_length(tmp_path, suffix):
    samples = tone(44100, 1.25)
    file = sound_file(tmp_path / f"a.{suffix}", samples, 44100)
    got = np.frombuffer(whole(file, None), ">i2").astype(float)
    spare = 2 * 1152 if suffix == "mp3" else 0  # an encoder of mp3 pads to whole frames
    assert len(samples) <= len(got) <= len(samples) + spare
    middle = slice(5000, 40000)
    assert np.abs(got[middle] - samples[middle, 0]).max() < (1 if suffix == "flac" else 1500)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_become_their_mean(tmp_path, channels):
    samples = tone(16000, 0.2, channels=2)
    file = sound_file(tmp_path / "a.wav", samples, 16000)
    got = np.frombuffer(whole(file, f"audio/L16;rate=16000;channels={channels}"), ">i2")
    mean = np.rint(samples.mean(axis=1))
    assert np.abs(got.reshape(-1, channels) - mean[:, None]).max() <= 1


@pytest.mark.parametrize(("rate", "frames"), [(44100, 132_317), (8000, 8001), (48000, 48_001)])
def test_resampling_gives_the_rounded_length_and_no_seams(tmp_path, rate, frames):
    import soxr

    samples = tone(rate, frames / rate)[:frames]
    file = sound_file(tmp_path / "a.wav", samples, rate)
    got = np.frombuffer(whole(file, L16, chunk_us=130_000), ">i2")
    expected = soxr.resample(samples[:, 0].astype(np.float32) / 32768, rate, 16000, quality="HQ")
    assert len(got) == round(frames * 16000 / rate)
    assert np.abs(got - np.rint(expected * 32768)).max() <= 1


@pytest.mark.parametrize("name", ["wav", "flac", "ogg"])
def test_an_input_of_a_container_gets_a_whole_file_in_each_record(tmp_path, name):
    samples = tone(16000, 1.5)
    file = sound_file(tmp_path / "a.wav", samples, 16000)
    found = list(pieces(file, f"audio/{name}", S))
    lengths = [len(soundfile.read(io.BytesIO(piece.payload))[0]) for piece in found]
    assert lengths == [16000, 8000]
    assert soundfile.info(io.BytesIO(found[0].payload)).format == name.upper()


@pytest.mark.parametrize(("channels", "written"), [(1, 1), (2, 2), (3, 1)])
def test_an_input_of_mpeg_gets_files_that_state_their_samples(tmp_path, channels, written):
    samples = tone(48000, 1.55, channels)
    file = sound_file(tmp_path / "a.wav", samples, 48000)
    found = list(pieces(file, "audio/mpeg;rate=32000", 250_000))
    media = parse_media_type("audio/mpeg")
    facts = [read_facts(media, piece.payload, 1) for piece in found]
    assert {(f.rate, f.channels) for f in facts} == {(32000, written)}
    assert [f.samples for f in facts] == [8000] * 6 + [1600]
    assert [piece.at_us for piece in found] == [250_000 * n for n in range(7)]


@pytest.mark.parametrize(
    ("content_type", "said"),
    [
        ("audio/mpeg", "no rate of 5000 Hz; write audio/mpeg;rate=48000"),
        ("audio/aac", "ADTS does not say where in its frames the sound begins; give the input one"),
    ],
)
def test_a_type_that_cannot_be_written_says_why(tmp_path, content_type, said):
    file = sound_file(tmp_path / "a.wav", tone(5000, 0.2), 5000)
    with pytest.raises(InvalidInput) as error:
        list(pieces(file, content_type, S))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("codec", "container", "suffix", "late"),
    [
        ("libmp3lame", "mp3", "mp3", 0),
        ("libopus", "ogg", "opus", 0),
        ("aac", "ipod", "m4a", 0),
        ("aac", "adts", "aac", 1024),  # what the encoder put in front: nothing in the file says
    ],
)
def test_compressed_files_keep_their_samples_in_place(tmp_path, codec, container, suffix, late):
    sound = tones(48000, 1, 48000)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(encoded(sound, 48000, codec, container, 128_000))
    [file], _ = expand([str(path)])
    got = np.frombuffer(whole(file, None, 100_000), ">i2") / 32768
    middle = np.arange(8000, 40000)
    errors = {n: np.square(got[middle + late + n] - sound[0, middle]).sum() for n in range(-2, 3)}
    assert min(errors, key=lambda n: errors[n]) == 0
    assert 48000 <= len(got) < 48000 + 2 * 1024 + late


@pytest.mark.parametrize("wanted", ["image/webp", "image/jpeg", "image/png"])
def test_webp_comes_and_goes(tmp_path, wanted):
    path = tmp_path / "a.webp"
    Image.new("RGB", (8, 6), (200, 10, 10)).save(path, lossless=True)
    [file], _ = expand([str(path)])
    [piece] = pieces(file, wanted, S)
    facts = read_facts(parse_media_type(wanted), piece.payload, 100)
    assert (facts.width, facts.height, piece.content_type) == (8, 6, wanted)
    assert (piece.payload == path.read_bytes()) == (wanted == "image/webp")


@given(
    rate=st.integers(1, 50_000),
    chunk_us=st.integers(1, 3_000_000),
    blocks=st.lists(st.integers(0, 4000), max_size=8),
)
def test_chunks_are_the_whole_sound_and_none_is_longer_than_asked(rate, chunk_us, blocks):
    total = sum(blocks)
    if total * 1_000_000 // (rate * chunk_us) > 2000:
        chunk_us = 1_000_000
    samples = np.arange(total, dtype=np.float32)[:, None]
    edges = np.cumsum([0, *blocks])
    given_blocks = (samples[a:b] for a, b in itertools.pairwise(edges) if b > a)
    cutter = Edges(rate, chunk_us)
    chunks = [chunk for block in given_blocks for chunk in cutter.feed(block)]
    chunks += [rest] if len(rest := cutter.rest()) else []
    assert sum(len(c) for c in chunks) == total
    assert not chunks or (np.concatenate(chunks) == samples).all()
    assert all(0 < len(c) <= chunk_us * rate // 1_000_000 + 1 for c in chunks)


def test_an_image_is_sent_as_it_is_and_lasts_a_chunk(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 6), (200, 10, 10)).save(path)
    [file], _ = expand([str(path)])
    [piece] = pieces(file, "image/jpeg", 40_000)
    assert piece.payload == path.read_bytes()
    assert (piece.at_us, piece.end_us, piece.due_us, piece.mediadur_us) == (0, 40_000, 0, 40_000)


def test_an_image_of_another_type_is_converted(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGBA", (8, 6), (200, 10, 10, 128)).save(path)
    [file], _ = expand([str(path)])
    [piece] = pieces(file, "image/jpeg", S)
    with Image.open(io.BytesIO(piece.payload)) as image:
        assert (image.format, image.size) == ("JPEG", (8, 6))


def test_a_line_of_text_that_is_not_blank_is_a_record(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffgrüß\r\n\r\n  \n two \n".encode())
    [file], _ = expand([str(path)])
    found = list(pieces(file, None, 500_000))
    assert [p.payload.decode() for p in found] == ["grüß", "two"]
    assert [(p.at_us, p.mediadur_us) for p in found] == [(0, 500_000), (500_000, 500_000)]
    assert duration_us(file, 500_000) == S


def test_folders_are_walked_sorted_and_other_files_left_out(tmp_path):
    for name in ("b/2.txt", "b/1.txt", "a.TXT", "c.md", ".hidden.txt", ".git/x.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    files, skipped = expand([str(tmp_path)])
    assert [f.path.relative_to(tmp_path).as_posix() for f in files] == [
        "a.TXT",
        "b/1.txt",
        "b/2.txt",
    ]
    assert [p.name for p in skipped] == ["c.md"]


def test_a_name_in_a_folder_that_is_not_utf8_is_refused(tmp_path):
    """As those of old disks are: it could not stand in a record's header."""
    (tmp_path / "n\udcff.txt").write_text("x")
    with pytest.raises(InvalidInput, match=r"n\\udcff\.txt: it is not UTF-8; rename it"):
        expand([str(tmp_path)])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.wav", None, "there is no such file"),
        ("film.avi", b"x", "'.avi' is no kind it knows"),
        ("notes.pdf", b"x", "'.pdf' is no kind it knows"),
        ("rtsp://camera/1", None, "URLs and devices are for `motet publish`"),
        ("/dev/video0", None, "URLs and devices are for `motet publish`"),
    ],
)
def test_a_source_that_cannot_be_taken_says_why(tmp_path, monkeypatch, name, content, said):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(InvalidInput) as error:
        expand([name])
    assert str(error.value).startswith(f"SOURCE = {name}: {said}")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.wav", b"RIFFxxxx", "it cannot be read as sound"),
        ("a.jpg", b"GIF89a", "it is no image/jpeg"),
        ("a.txt", b" \n", "it holds no text"),
        ("a.txt", b"ab\xff", "byte 2 is not UTF-8"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_found_before_anything_is_sent(
    tmp_path, name, content, said
):
    (tmp_path / name).write_bytes(content)
    [file], _ = expand([str(tmp_path / name)])
    with pytest.raises(InvalidInput) as error:
        duration_us(file, S)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_sound_is_refused(tmp_path):
    file = sound_file(tmp_path / "a.wav", np.zeros((0, 1), np.int16), 16000)
    with pytest.raises(InvalidInput, match="holds no samples"):
        duration_us(file, S)


def text_line(folder: Path, target: Target, stream: str, *texts: str) -> Timeline:
    files = []
    for number, text in enumerate(texts):
        path = folder / f"{stream}-{target.topic}-{number}.txt"
        path.write_text(text)
        files.append(SourceFile(path, "text", "text/plain"))
    return Timeline(target, stream, tuple(files), S)


def test_files_of_one_timeline_play_one_after_another(tmp_path):
    line = text_line(tmp_path, Target("t"), "s", "a\nb", "c")
    assert line.duration_us() == 3 * S
    assert [(r.ts_us, r.payload, r.sequence) for r in line.records(10 * S, 3 * S, 1)] == [
        (10 * S, b"a", 0),
        (11 * S, b"b", 1),
        (12 * S, b"c", 2),
    ]


def test_loops_of_all_timelines_stay_together_in_the_period_of_the_longest(tmp_path):
    long = text_line(tmp_path, Target("t"), "long", "a\nb\nc")
    short = text_line(tmp_path, Target("t"), "short", "x")
    found = list(merge([long, short], 0, 3 * S, 2))
    assert [r.ts_us // S for r in found if r.stream == "short"] == [0, 3]
    assert [r.sequence for r in found if r.stream == "short"] == [0, 1]
    assert [r.ts_us // S for r in found if r.stream == "long"] == [0, 1, 2, 3, 4, 5]


def test_records_of_all_streams_and_kinds_come_in_the_order_in_which_they_are_due(tmp_path):
    sound = sound_file(tmp_path / "s.wav", tone(8000, 3), 8000)
    other = sound_file(tmp_path / "o.wav", tone(8000, 2.5), 8000)
    lines = [
        *timelines([(sound, Target("audio")), (other, Target("audio"))], S, None),
        text_line(tmp_path, Target("text"), "s", "a\nb\nc"),
    ]
    found = list(merge(lines, 5 * S, 3 * S, 1))
    due = [r.due_us for r in found]
    assert due == sorted(due)
    assert len(found) == 9
    # A text is due when it is said, a second of sound when its last sample is there.
    assert [(r.target.topic, r.stream, r.ts_us) for r in found[:4]] == [
        ("text", "s", 5 * S),
        ("audio", "s", 5 * S),
        ("audio", "o", 5 * S),
        ("text", "s", 6 * S),
    ]


def test_the_stream_is_the_files_stem_unless_it_is_given(tmp_path):
    names = ("cam-7.wav", "cam-8.wav", "cam-7.flac")
    files = [(sound_file(tmp_path / n, tone(8000, 1), 8000), Target("t")) for n in names]
    named = timelines(files, S, None)
    assert [(line.stream, len(line.files)) for line in named] == [("cam-7", 2), ("cam-8", 1)]
    [joined] = timelines(files, S, "hall")
    assert (joined.stream, len(joined.files)) == ("hall", 3)


@pytest.mark.parametrize("stream", ["", "x" * 257, "ü" * 129])
def test_a_stream_id_that_the_contract_does_not_take_is_refused(tmp_path, stream):
    path = tmp_path / "a.txt"
    path.write_text("x")
    files, _ = expand([str(path)])
    with pytest.raises(InvalidInput, match="1 to 256 bytes"):
        timelines([(file, Target("t")) for file in files], S, stream)


def test_headers_are_cloud_events_with_the_time_of_the_first_sample(tmp_path):
    line = text_line(tmp_path, Target("t", "text/plain", "x-stream"), "küche", "a\nb")
    second = list(line.records(1_769_860_800_000_001, 2 * S, 1))[1]
    assert dict(headers(second)) == {
        "content-type": b"text/plain",
        "ce_specversion": b"1.0",
        "ce_id": "küche/1769860801000001".encode(),
        "ce_source": b"motet/publish/k%C3%BCche-t-0.txt",
        "ce_type": b"motet.media.v1",
        "ce_time": b"2026-01-31T12:00:01.000001Z",
        "ce_sequence": b"00000000000000000001",
        "ce_mediadur": b"1000000",
        "x-stream": "küche".encode(),
    }


def test_times_are_written_with_microseconds_always():
    assert format_rfc3339(0, "microseconds") == "1970-01-01T00:00:00.000000Z"
    # Kafka has such timestamps
    assert format_rfc3339(1 << 62, "microseconds") == "9999-12-31T23:59:59.999999Z"


def test_the_start_is_now_or_as_early_as_keeps_the_end_near():
    now_us = 1000 * S + 700_000
    assert default_start_us(now_us, 20 * S) == 980 * S
    assert default_start_us(now_us, 0) == 1000 * S
