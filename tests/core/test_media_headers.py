"""Header readers against files that real writers made, and against damage."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import zlib

import av
import numpy as np
import pytest
import soundfile
from coded import by_libav, encoded, opus_piece, packets_of, tones
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import UndecodableRecord
from pipeline.media.decode import decode_audio, decode_image, decode_text
from pipeline.media.facts import read_facts
from pipeline.record import Facts
from pipeline.spec.media_type import parse_media_type

PIXELS = 1 << 25


def facts_of(media, payload, pixels=PIXELS):
    return read_facts(parse_media_type(media, strict=False), payload, pixels)


def noise(count, channels=1, seed=0):
    samples = np.random.default_rng(seed).standard_normal((count, channels)) * 0.1
    return samples.astype(np.float32)


def audio_file(samples, rate, container, subtype=None):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def av_file(samples, rate, container, codec):
    """Mono int16 through FFmpeg, as its command line and browsers write it."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        stream.codec_context.open()
        size = stream.codec_context.frame_size or len(samples)
        for at in range(0, len(samples), size):
            part = (samples[at : at + size].reshape(1, -1) * 32_767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, at
            out.mux(stream.encode(frame))
        out.mux([packet for packet in stream.encode(None) if packet.size])
    return file.getvalue()


def image_file(size, form, mode="RGB", **options):
    width, height = size
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_U8"),
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "PCM_32"),
        ("WAV", "FLOAT"),
        ("WAV", "DOUBLE"),
        ("WAV", "ULAW"),
        ("WAV", "ALAW"),
        ("WAVEX", "PCM_16"),
        ("WAVEX", "FLOAT"),
        ("RF64", "PCM_24"),
        ("FLAC", "PCM_16"),
        ("FLAC", "PCM_24"),
        ("OGG", "VORBIS"),
    ],
)
def test_audio_written_by_libsndfile(container, subtype, channels):
    payload = audio_file(noise(4_321, channels), 22_050, container, subtype)
    form = {"FLAC": "flac", "OGG": "ogg"}.get(container, "wav")
    assert facts_of(f"audio/{form}", payload) == Facts("audio", form, 22_050, channels, 4_321)


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_opus_counts_at_48_khz_without_its_pre_skip(rate):
    payload = audio_file(noise(rate, 2), rate, "OGG", "OPUS")
    assert facts_of("audio/ogg", payload) == Facts("audio", "ogg", 48_000, 2, 48_000)


def test_flac_in_ogg():
    payload = av_file(noise(16_000), 16_000, "ogg", "flac")
    assert facts_of("audio/ogg", payload) == Facts("audio", "ogg", 16_000, 1, 16_000)


def test_wav_that_ffmpeg_wrote_with_a_list_chunk():
    payload = av_file(noise(1_000), 16_000, "wav", "pcm_s16le")
    assert b"LIST" in payload
    assert facts_of("audio/wav", payload) == Facts("audio", "wav", 16_000, 1, 1_000)


class TestWav:
    """The sizes of a wav lie in many ways; what is there decides."""

    PAYLOAD = audio_file(noise(1_000, 2), 16_000, "WAV", "PCM_16")

    def samples(self, riff, data, payload=PAYLOAD):
        forged = bytearray(payload)
        struct.pack_into("<I", forged, 4, riff)
        struct.pack_into("<I", forged, 40, data)
        return facts_of("audio/wav", bytes(forged)).samples

    @pytest.mark.parametrize("riff", [0, 36, 0xFFFFFFFF])
    @pytest.mark.parametrize("data", [0, 0xFFFFFFFF, 0x7FFFF000])
    def test_streamed(self, riff, data):
        assert self.samples(riff, data) == 1_000

    def test_cut_off(self):
        assert facts_of("audio/wav", self.PAYLOAD[:-2_002]).samples == 499

    def test_data_that_ends_before_the_file(self):
        tagged = self.PAYLOAD + b"LIST\x04\0\0\0INFO"
        assert self.samples(len(tagged) - 8, 4_000, tagged) == 1_000

    def test_really_empty(self):
        tagged = self.PAYLOAD[:44] + b"LIST\x04\0\0\0INFO"
        with pytest.raises(UndecodableRecord, match="no samples"):
            self.samples(len(tagged) - 8, 0, tagged)

    def test_odd_chunks_are_padded(self):
        odd = self.PAYLOAD[:36] + b"note\x03\0\0\0abc\0" + self.PAYLOAD[36:]
        assert facts_of("audio/wav", odd).samples == 1_000

    @pytest.mark.parametrize(
        ("offset", "value", "why"),
        [
            (20, struct.pack("<H", 2), "coding 0x0002"),
            (22, struct.pack("<H", 0), "no channels"),
            (24, struct.pack("<I", 0), "0 Hz"),
            (24, struct.pack("<I", 1_000_001), "1000001 Hz"),
            (32, struct.pack("<H", 3), "coding"),
            (8, b"AVI ", "no RIFF/WAVE"),
            (12, b"junk", "before the fmt"),
            (36, b"junk", "no data"),
        ],
    )
    def test_refuses(self, offset, value, why):
        forged = bytearray(self.PAYLOAD)
        forged[offset : offset + len(value)] = value
        with pytest.raises(UndecodableRecord, match=why):
            facts_of("audio/wav", bytes(forged))


def test_flac_without_a_count():
    payload = bytearray(audio_file(noise(1_000), 16_000, "FLAC"))
    payload[21] &= 0xF0
    payload[22:26] = bytes(4)
    with pytest.raises(UndecodableRecord, match="how many samples"):
        facts_of("audio/flac", bytes(payload))


class TestOgg:
    PAYLOAD = audio_file(noise(16_000), 16_000, "OGG", "VORBIS")

    def test_ends_with_its_last_whole_page(self):
        whole = facts_of("audio/ogg", self.PAYLOAD).samples
        assert whole == 16_000
        assert 0 < facts_of("audio/ogg", self.PAYLOAD[:-1]).samples < whole

    def test_one_file_a_record(self):
        with pytest.raises(UndecodableRecord, match="one after the other"):
            facts_of("audio/ogg", self.PAYLOAD * 2)

    def test_headers_alone(self):
        pages = self.PAYLOAD.split(b"OggS")
        with pytest.raises(UndecodableRecord, match="no samples"):
            facts_of("audio/ogg", b"OggS" + b"OggS".join(pages[1:3]))

    def test_work_is_bounded(self):
        page = b"OggS" + bytes(23)
        with pytest.raises(UndecodableRecord, match="pages"):
            facts_of("audio/ogg", page * 70_000)


@pytest.mark.parametrize("size", [(1, 1), (640, 360), (31, 1_000)])
@pytest.mark.parametrize(
    ("media", "form", "mode", "options"),
    [
        ("image/jpeg", "JPEG", "RGB", {}),
        ("image/jpeg", "JPEG", "L", {"progressive": True}),
        ("image/jpeg", "JPEG", "CMYK", {"comment": b"\xff\xc0" * 9}),
        ("image/png", "PNG", "RGB", {}),
        ("image/png", "PNG", "RGBA", {}),
        ("image/png", "PNG", "P", {}),
        ("image/png", "PNG", "1", {}),
        ("image/png", "PNG", "I;16", {}),
        ("image/webp", "WEBP", "RGB", {}),
        ("image/webp", "WEBP", "RGB", {"lossless": True}),
        ("image/webp", "WEBP", "RGBA", {}),
        ("image/webp", "WEBP", "RGBA", {"lossless": True}),
        ("image/webp", "WEBP", "L", {"exif": Image.Exif()}),
    ],
)
def test_images_written_by_pillow(media, form, mode, options, size):
    if mode == "I;16":
        file = io.BytesIO()
        Image.fromarray(np.zeros(size[::-1], np.uint16)).save(file, form)
        payload = file.getvalue()
    else:
        payload = image_file(size, form, mode, **options)
    expected = Facts("image", form.lower(), width=size[0], height=size[1])
    assert facts_of(media, payload) == expected
    pixels = size[0] * size[1]
    assert facts_of(media, payload, pixels) == expected
    with pytest.raises(UndecodableRecord, match=r"limits\.pixels"):
        facts_of(media, payload, pixels - 1)


def test_jpeg_with_fill_bytes_and_a_thumbnail():
    payload = image_file((64, 48), "JPEG", exif=Image.Exif())
    thumb = image_file((8, 8), "JPEG")
    app = b"\xff\xe1" + struct.pack(">H", len(thumb) + 2) + thumb
    assert facts_of("image/jpeg", b"\xff\xd8\xff\xff\xff" + app[1:] + payload[2:]).width == 64


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"\xff\xd8\xff" + b"\xff" * 1_000_000, "no marker"),
        (b"\xff\xd8" + b"\xff\xfe\0\x02" * 5_000, "no frame header"),
        (b"\xff\xd8\xff\xda\0\x02", "before the scan"),
        (b"\xff\xd8\xff\xc0\0\x0b\x08\0\0\0\x01\x03", "1 x 0"),
        (b"\xff\xd8\xff\xc0\0\x0b\x08\0\x01\0\x01\x02", "2 components"),
    ],
)
def test_broken_jpeg(payload, why):
    with pytest.raises(UndecodableRecord, match=why):
        facts_of("image/jpeg", payload)


def test_png_whose_header_is_forged():
    payload = bytearray(image_file((4, 4), "PNG"))
    payload[19] = 5
    with pytest.raises(UndecodableRecord, match="checksum"):
        facts_of("image/png", bytes(payload))
    payload[24] = 3
    struct.pack_into(">I", payload, 29, zlib.crc32(payload[12:29]))
    with pytest.raises(UndecodableRecord, match="3 bits"):
        facts_of("image/png", bytes(payload))


def webp(chunk, data):
    body = b"WEBP" + chunk + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"RIFF\x04\0\0\0WAVE", "no RIFF/WEBP"),
        (webp(b"VP8 ", b"\x01\0\0\x9d\x01\x2a\x10\0\x10\0"), "key frame"),
        (webp(b"VP8 ", b"\0\0\0\x9d\x01\x2b\x10\0\x10\0"), "key frame"),
        (webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a\x10\0\0\0"), "16 x 0"),
        (webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a\x10\0\x10"), "cut off"),
        (webp(b"VP8L", b"\x2e\0\0\0\0"), "signature"),
        (webp(b"VP8L", b"\x2f\0\0\0\x20"), "version"),
        (webp(b"VP8L", b"\x2f\0\0\0"), "cut off"),
        (webp(b"VP8X", b"\0" * 9), "cut off"),
        (webp(b"ANIM", b"\0" * 10), "no VP8"),
        (webp(b"VP8X", b"\0" * 4 + b"\xff" * 6), r"16777216 x 16777216 pixels are more"),
    ],
)
def test_broken_webp(payload, why):
    with pytest.raises(UndecodableRecord, match=why):
        facts_of("image/webp", payload)


def opus_packets(seconds=1):
    payload = encoded(tones(48_000 * seconds, 1, 48_000), 48_000, "libopus", "ogg", 64_000)
    return packets_of(payload, "ogg")


class TestOpus:
    @pytest.mark.parametrize("milliseconds", ["2.5", "5", "10", "20", "40", "60", "80", "120"])
    @pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (16_000, 2), (48_000, 6)])
    def test_as_ffmpeg_writes_it(self, rate, channels, milliseconds):
        count, options = rate // 2 + 30, {"frame_duration": milliseconds}
        planes = tones(count, channels, rate)
        payload = encoded(planes, rate, "libopus", "ogg", 48_000 * channels, options)
        facts = facts_of("audio/ogg", payload)
        assert facts == Facts("audio", "ogg", 48_000, channels, count * 48_000 // rate)
        expected = by_libav(payload, "ogg")
        assert expected.shape == (channels, facts.samples)
        found = decode_audio(facts, payload)
        np.testing.assert_allclose(found, expected.mean(0), rtol=0, atol=2e-7)

    def test_eight_channels(self):
        """PyAV reads past the end of such a frame, which ended the process."""
        planes = tones(24_000, 8, 48_000)
        payload = encoded(planes, 48_000, "libopus", "ogg", 512_000)
        facts = facts_of("audio/ogg", payload)
        assert (facts.channels, facts.samples) == (8, 24_000)
        assert np.abs(decode_audio(facts, payload) - planes.mean(0)).max() < 0.1

    @pytest.mark.parametrize("per_page", [1, 7, 100])
    @pytest.mark.parametrize("at", [0, 960, 48_017, 10**12])
    @pytest.mark.parametrize("cut", [0, 300])
    def test_a_piece_of_a_stream_begins_where_its_first_page_does(self, at, per_page, cut):
        payload = opus_piece(opus_packets(), at=at, skip=3_840, per_page=per_page, cut=cut)
        samples = 51 * 960 - 3_840 - cut
        if per_page == 100 and at:
            samples += cut  # of one page that is also the last nothing says that it is cut
        facts = facts_of("audio/ogg", payload)
        assert facts == Facts("audio", "ogg", 48_000, 1, samples)
        assert by_libav(payload, "ogg").shape == (1, samples)

    @pytest.mark.parametrize(("at", "skip"), [(0, 312), (38_405, 3_840)])
    @pytest.mark.parametrize("page", [2, 4])
    def test_a_page_that_is_damaged_is_not_followed_by_a_shift(self, at, skip, page):
        payload = opus_piece(opus_packets(2), at=at, skip=skip)
        facts = facts_of("audio/ogg", payload)
        whole = decode_audio(facts, payload)
        begins = [n for n in range(len(payload)) if payload[n : n + 4] == b"OggS"]
        body = begins[page] + 300
        damaged = payload[:body] + bytes([payload[body] ^ 1]) + payload[body + 1 :]
        assert facts_of("audio/ogg", damaged) == facts
        found = decode_audio(facts, damaged)
        lost = slice(max(0, (page - 2) * 9_600 - skip), (page - 1) * 9_600 - skip)
        assert (found[: lost.start] == whole[: lost.start]).all()
        # libavformat puts the first packet behind the loss before it, and all others right.
        assert not found[lost][960:].any()
        settled = lost.stop + 9_600
        np.testing.assert_allclose(found[settled:], whole[settled:], rtol=0, atol=0.1)
        later = np.arange(settled, len(whole) - 9_600)
        errors = [np.square(found[later + n] - whole[later]).sum() for n in (-1, 0, 1)]
        assert errors[1] < min(errors[0], errors[2])

    def test_frames_are_counted_by_the_first_bytes_of_a_packet(self):
        """Codes 0 to 3 of RFC 6716 3.2; of code 3 the second byte has the number."""
        for toc, more, samples in [
            (0x00, b"x", 480),
            (0x19, b"x", 2 * 2_880),
            (0x3A, b"x", 2 * 2_880),
            (0x60, b"x", 480),
            (0x80, b"x", 120),
            (0x83, b"\x30x", 48 * 120),
            (0xFB, b"\xc3x", 3 * 960),
        ]:
            packet = bytes([toc]) + more
            payload = opus_piece([packet] * 4, at=777, skip=9, samples=samples, per_page=2)
            assert facts_of("audio/ogg", payload).samples == 4 * samples - 9


SEEDS = {
    "audio/wav": audio_file(noise(300, 2), 16_000, "WAVEX", "PCM_24"),
    "audio/flac": audio_file(noise(300), 16_000, "FLAC"),
    "audio/ogg": audio_file(noise(300), 16_000, "OGG", "VORBIS"),
    "audio/ogg;codecs=opus": audio_file(noise(960), 48_000, "OGG", "OPUS"),
    "audio/ogg;codecs=flac": av_file(noise(300), 16_000, "ogg", "flac"),
    "audio/ogg;codecs=ffmpeg": encoded(tones(960, 2, 48_000), 48_000, "libopus", "ogg", 64_000),
    "audio/mpeg": encoded(tones(2_000, 1, 16_000), 16_000, "libmp3lame", "mp3", 32_000),
    "audio/mpeg;layer=2": encoded(tones(9_000, 2, 48_000), 48_000, "mp2", "mp2", 64_000),
    "audio/aac": encoded(tones(5_000, 1, 16_000), 16_000, "aac", "adts", 32_000),
    "image/jpeg": image_file((24, 16), "JPEG", comment=b"hello"),
    "image/png": image_file((24, 16), "PNG"),
    "image/webp": image_file((24, 16), "WEBP"),
    "image/webp;lossless=1": image_file((24, 16), "WEBP", "RGBA", lossless=True),
    "text/plain": "grüße".encode(),
    "audio/x-raw;format=F32LE;rate=16000": noise(300).tobytes(),
}


def mutated(chance, payload):
    """Flipped, overwritten, cut, doubled, inserted: mostly in the header."""
    data = bytearray(payload)
    for _ in range(chance.choice((1, 1, 2, 8))):
        reach = chance.choice((16, 64, len(data)))
        at = chance.randrange(min(reach, len(data)) or 1)
        match chance.randrange(5):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                data[at : at + 4] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1"))
            case 2:
                del data[at:]
            case 3:
                data[at:at] = data[: chance.randrange(40)]
            case 4:
                data[at:at] = chance.randbytes(chance.randrange(9))
    return bytes(data)


@pytest.mark.parametrize("media", SEEDS)
def test_damage_is_undecodable_and_nothing_else(media):
    chance = random.Random(media)
    parsed = parse_media_type(media, strict=False)
    sound = tried = 0
    for turn in range(2_000):
        payload = mutated(chance, SEEDS[media]) if turn % 10 else chance.randbytes(turn % 97)
        try:
            facts = read_facts(parsed, payload, PIXELS)
        except UndecodableRecord:
            continue
        sound += 1
        if turn % 4 or facts.samples > 1 << 22:
            continue
        tried += 1
        decode = {"audio": decode_audio, "image": decode_image, "text": decode_text}[facts.kind]
        with contextlib.suppress(UndecodableRecord):
            decode(facts, payload)
    assert sound > 100  # the damage is fine enough to pass the header
    assert tried > 25


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(sorted(SEEDS)),
    st.floats(0, 1),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=6),
)
def test_cut_or_with_bits_flipped_anywhere_it_decodes_or_is_undecodable(media, keep, flips):
    payload = bytearray(SEEDS[media])
    for where, bit in flips:
        payload[int(where * len(payload))] ^= 1 << bit
    cut = bytes(payload[: round(keep * len(payload))])
    with contextlib.suppress(UndecodableRecord):
        facts = facts_of(media, cut)
        if facts.samples <= 1 << 22:  # as limits.record_span has it
            decode = {"audio": decode_audio, "image": decode_image, "text": decode_text}
            found = decode[facts.kind](facts, cut)
            shape = (facts.samples,) if facts.kind == "audio" else (facts.height, facts.width, 3)
            assert facts.kind == "text" or found.shape == shape


@pytest.mark.parametrize("media", SEEDS)
def test_views_are_read_as_bytes_are(media):
    payload = SEEDS[media]
    facts = facts_of(media, memoryview(payload))
    assert facts == facts_of(media, payload)
    decode = {"audio": decode_audio, "image": decode_image, "text": decode_text}[facts.kind]
    assert np.array_equal(decode(facts, memoryview(payload)), decode(facts, payload))
