"""Decoding against libsndfile, Pillow and NumPy; what is damaged, cut off, or no number."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis.extra import numpy as npst
from PIL import Image, ImageOps

from pipeline.errors import UndecodableRecord
from pipeline.media.byte_order import looks_swapped
from pipeline.media.decode import decode_audio, decode_image, decode_text
from pipeline.media.facts import read_facts
from pipeline.record import Facts
from pipeline.spec.media_type import parse_media_type


def decoded(media, payload):
    facts = read_facts(parse_media_type(media), payload, 1 << 25)
    decode = {"audio": decode_audio, "image": decode_image, "text": decode_text}[facts.kind]
    return decode(facts, payload)


def noise(count, channels=1, scale=0.1):
    samples = np.random.default_rng(2).standard_normal((count, channels)) * scale
    return samples.astype(np.float32)


def audio_file(samples, rate, container, subtype=None):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def image_file(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def picture(width=40, height=24):
    """Smooth, so that JPEG keeps it, and different in every corner."""
    down, across = np.mgrid[0:height, 0:width]
    levels = [down * 255 // height, across * 255 // width, (down + across) * 2]
    return Image.fromarray(np.stack(levels, axis=2).astype(np.uint8))


@pytest.mark.parametrize("channels", [1, 2, 3, 9])
@pytest.mark.parametrize(("form", "dtype"), [("S16BE", ">i2"), ("S16LE", "<i2"), ("F32LE", "<f4")])
def test_raw_audio_is_the_mean_of_its_channels(form, dtype, channels):
    exact = noise(500, channels)
    stored = exact.astype(dtype) if form == "F32LE" else (exact * 32_768).astype(dtype)
    scale = 1 if form == "F32LE" else 32_768
    found = decoded(f"audio/x-raw;format={form};rate=8000;channels={channels}", stored.tobytes())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (stored.astype(np.float64) / scale).mean(1), atol=1e-7)


def test_l16_is_big_endian_and_full_scale_is_one():
    found = decoded("audio/L16;rate=8000", struct.pack(">4h", 0, 1, 32_767, -32_768))
    assert found.tolist() == [0.0, 1 / 32_768, 32_767 / 32_768, -1.0]


@given(npst.arrays(np.int16, npst.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_a_sample_depends_on_its_own_frame_only(frames):
    media = f"audio/x-raw;format=S16LE;rate=8000;channels={frames.shape[1]}"
    alone = [decoded(media, frame.tobytes())[0] for frame in frames]
    assert decoded(media, frames.tobytes()).tolist() == alone


@pytest.mark.parametrize(
    ("container", "subtype", "media"),
    [
        ("WAV", "PCM_U8", "audio/wav"),
        ("WAV", "PCM_16", "audio/wav"),
        ("WAV", "PCM_24", "audio/wav"),
        ("WAV", "PCM_32", "audio/wav"),
        ("WAV", "FLOAT", "audio/wav"),
        ("WAVEX", "DOUBLE", "audio/wav"),
        ("WAV", "ULAW", "audio/wav"),
        ("WAV", "ALAW", "audio/wav"),
        ("FLAC", "PCM_16", "audio/flac"),
        ("FLAC", "PCM_24", "audio/flac"),
        ("OGG", "VORBIS", "audio/ogg"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_files_as_libsndfile_reads_them(container, subtype, media, channels):
    payload = audio_file(noise(9_001, channels, 0.3), 22_050, container, subtype)
    expected, _ = soundfile.read(io.BytesIO(payload), dtype="float32", always_2d=True)
    mono = np.clip(expected, -1, 1).mean(1)
    np.testing.assert_allclose(decoded(media, payload), mono, rtol=0, atol=6e-8)


@pytest.mark.parametrize("coding", ["ULAW", "ALAW"])
def test_every_companded_octet(coding):
    header = audio_file(np.zeros(256, np.float32), 8_000, "WAV", coding)
    payload = header[: header.index(b"data") + 8] + bytes(range(256))
    expected, _ = soundfile.read(io.BytesIO(payload), dtype="float32")
    assert decoded("audio/wav", payload).tolist() == expected.tolist()


@pytest.mark.parametrize("channels", [1, 2])
def test_opus_as_libopus_decodes_it(channels):
    seconds = np.arange(48_000)[:, None] / 48_000
    tone = np.sin(2 * np.pi * np.array([440, 660])[:channels] * seconds).astype(np.float32) * 0.3
    payload = audio_file(tone, 48_000, "OGG", "OPUS")
    expected, rate = soundfile.read(io.BytesIO(payload), dtype="float32", always_2d=True)
    found = decoded("audio/ogg", payload)
    assert (rate, found.shape) == (48_000, (48_000,))
    np.testing.assert_allclose(found, expected.mean(1), rtol=0, atol=1e-3)


@pytest.mark.parametrize("container", ["FLAC", "OGG"])
@pytest.mark.parametrize("share", [0.6, 0.9])
def test_what_is_there_of_a_file_that_was_cut_off(container, share):
    samples = noise(60_000)
    payload = audio_file(samples, 16_000, container)
    media = f"audio/{container.lower()}"
    whole = decoded(media, payload)
    cut = payload[: int(len(payload) * share)]
    found = decoded(media, cut)
    assert len(found) == read_facts(parse_media_type(media), cut, 1).samples
    kept = np.flatnonzero(found)[-1] + 1
    assert 60_000 * (share - 0.4) < kept < 60_000 * share + 5_000
    assert (found[:kept] == whole[:kept]).all()
    assert not found[kept:].any()


def test_where_nothing_can_be_decoded():
    payload = audio_file(noise(60_000), 16_000, "FLAC")
    with pytest.raises(UndecodableRecord, match="flac") as caught:
        decoded("audio/flac", payload[:100])
    assert " at 0x" not in str(caught.value)  # a dead letter has the same bytes in every run
    with pytest.raises(UndecodableRecord, match="S16BE"):
        decode_audio(Facts("audio", "S16BE", 8_000, 1, 2), b"abc")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_number_is_undecodable(bad):
    samples = noise(100)[:, 0]
    samples[50] = bad
    with pytest.raises(UndecodableRecord, match="NaN"):
        decoded("audio/x-raw;format=F32LE;rate=8000", samples.tobytes())
    with pytest.raises(UndecodableRecord, match="NaN"):
        decoded("audio/wav", audio_file(samples, 8_000, "WAV", "FLOAT"))


def test_floats_are_clipped_to_full_scale():
    samples = np.array([0.5, 1.5, -3e38, -1.0], np.float32)
    found = decoded("audio/x-raw;format=F32LE;rate=8000", samples.tobytes())
    assert found.tolist() == [0.5, 1.0, -1.0, -1.0]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_as_pillow_reads_it(mode, progressive):
    payload = image_file(picture().convert(mode), "JPEG", progressive=progressive)
    expected = np.array(Image.open(io.BytesIO(payload)).convert("RGB"))
    found = decoded("image/jpeg", payload)
    assert (found.dtype, found.shape) == (np.uint8, (24, 40, 3))
    assert (found == expected).all()
    assert found.flags.writeable
    assert found.flags.c_contiguous


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA"])
def test_png_as_pillow_converts_it(mode):
    image = picture()
    if mode in ("LA", "RGBA"):
        image.putalpha(7)  # left out, not blended
    payload = image_file(image.convert(mode), "PNG")
    expected = np.array(Image.open(io.BytesIO(payload)).convert("RGB"))
    assert (decoded("image/png", payload) == expected).all()


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_webp_as_pillow_converts_it(mode, lossless):
    image = picture(401, 303)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))  # left out, not blended
    payload = image_file(image.convert(mode), "WEBP", lossless=lossless, exact=True)
    expected = np.array(Image.open(io.BytesIO(payload)).convert("RGB"))
    found = decoded("image/webp", payload)
    assert (found == expected).all()
    if lossless:
        assert (found == np.array(image.convert(mode).convert("RGB"))).all()


@pytest.mark.parametrize("lossless", [False, True])
def test_of_an_animation_the_first_picture(lossless):
    frames = [picture(), picture().rotate(180), picture().rotate(90)]
    options = {"lossless": lossless, "save_all": True, "append_images": frames[1:]}
    payload = image_file(frames[0], "WEBP", duration=40, **options)
    with Image.open(io.BytesIO(payload)) as image:
        assert image.n_frames == 3
        first = np.array(image.convert("RGB"))
    found = decoded("image/webp", payload)
    assert (found == first).all()
    assert np.abs(found.astype(int) - np.array(frames[0])).mean() < 6


def test_a_webp_whose_picture_is_not_the_size_of_its_canvas():
    payload = bytearray(image_file(picture(), "WEBP", exif=Image.Exif(), icc_profile=b"x" * 8))
    assert payload[12:16] == b"VP8X"
    payload[24] -= 1
    assert read_facts(parse_media_type("image/webp"), bytes(payload), 1 << 25).width == 39
    with pytest.raises(UndecodableRecord, match="webp"):
        decoded("image/webp", bytes(payload))


def test_png_with_16_bit_grey_keeps_the_upper_8():
    grey = np.arange(0, 65_536, 64, dtype=np.uint16).reshape(32, 32)
    found = decoded("image/png", image_file(Image.fromarray(grey), "PNG"))
    assert (found == (grey >> 8)[:, :, None]).all()
    assert found.shape == (32, 32, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(9))
def test_exif_turns_the_picture_upright(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    payload = image_file(picture(), form, exif=exif)
    expected = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(payload))))
    assert (decoded(f"image/{form.lower()}", payload) == expected).all()


def test_broken_exif_spoils_no_picture():
    payload = image_file(picture(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as the encoder side has it: Pillow says so
        assert decoded("image/jpeg", payload).shape == (24, 40, 3)


@pytest.mark.parametrize(
    ("form", "keep"), [("JPEG", 0.7), ("PNG", 0.7), ("PNG", 0.2), ("WEBP", 0.7), ("WEBP", 0.1)]
)
def test_a_picture_that_was_cut_off_is_undecodable(form, keep):
    payload = image_file(picture(400, 300), form)
    with pytest.raises(UndecodableRecord, match=form.lower()):
        decoded(f"image/{form.lower()}", payload[: int(len(payload) * keep)])


def test_a_picture_of_another_size_than_its_header_says():
    payload = image_file(picture(), "JPEG")
    with pytest.raises(UndecodableRecord, match="40 x 24"):
        decode_image(Facts("image", "jpeg", width=4, height=2), payload)


def test_another_format_is_never_tried():
    with pytest.raises(UndecodableRecord, match="jpeg"):
        decode_image(Facts("image", "jpeg", width=40, height=24), image_file(picture(), "PNG"))


def test_pixels_are_judged_by_our_limit_and_not_by_pillows(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    payload = image_file(picture(), "PNG")
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(payload))
    assert decoded("image/png", payload).shape == (24, 40, 3)


def test_text():
    assert decoded("text/plain", "grüße\r\n".encode()) == "grüße\r\n"
    assert decoded("text/plain", b"\xef\xbb\xbfhi") == "hi"


class TestByteOrder:
    RATE = 16_000

    def pcm(self, sound):
        return np.clip(sound * 32_768, -32_768, 32_767).astype("<i2")

    def suspected(self, samples):
        stated = looks_swapped(samples.astype("<i2").tobytes(), "S16LE")
        assert looks_swapped(samples.astype(">i2").tobytes(), "S16BE") == stated
        swapped = looks_swapped(samples.astype("<i2").tobytes(), "S16BE")
        return stated, swapped

    @pytest.mark.parametrize("level", [0.05, 0.2, 0.5])
    @pytest.mark.parametrize("pitch", [60, 440, 1_000])
    def test_tones(self, level, pitch):
        seconds = np.arange(self.RATE) / self.RATE
        tone = self.pcm(level * np.sin(2 * np.pi * pitch * seconds) + noise(16_000)[:, 0] / 20)
        stated, swapped = self.suspected(tone)
        assert not stated
        assert swapped

    @pytest.mark.parametrize("level", [0.003, 0.02, 0.05])
    def test_quiet_noise_as_of_a_room_or_speech(self, level):
        stated, swapped = self.suspected(self.pcm(noise(16_000)[:, 0] * 10 * level))
        assert not stated
        assert swapped

    def test_what_is_not_suspected(self):
        assert self.suspected(np.zeros(1_000, np.int16)) == (False, False)
        loud = np.random.default_rng(3).integers(-32_768, 32_768, 5_000).astype(np.int16)
        assert self.suspected(loud) == (False, False)
        eight_bit = (self.pcm(noise(5_000)[:, 0]) >> 8 << 8).astype("<i2")
        assert not looks_swapped(eight_bit.tobytes(), "S16LE")
        square = np.tile(np.repeat(np.array([32_767, -32_767], np.int16), 18), 200)
        assert not self.suspected(square)[0]
        assert not looks_swapped(b"\x7f\x00" * 10, "S16LE")
        assert not looks_swapped(noise(5_000).tobytes(), "F32LE")

    def test_the_first_channel_counts(self):
        tone = self.pcm(0.1 * np.sin(np.arange(8_000) * 0.2))
        stereo = np.stack([tone, -tone], axis=1)
        assert looks_swapped(stereo.tobytes(), "S16BE", 2)
        assert not looks_swapped(stereo.tobytes(), "S16LE", 2)
