"""MPEG audio and AAC: real files against libavcodec and libsndfile, and frames built by hand."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import soundfile
from coded import adts_frame, by_libav, encoded, tones

from pipeline.errors import UndecodableRecord
from pipeline.media import adts, mpeg_audio
from pipeline.media.adts import BLOCK_SAMPLES, read_adts
from pipeline.media.decode import decode_audio
from pipeline.media.facts import read_facts
from pipeline.media.mpeg_audio import DECODER_DELAY, read_mpeg_audio
from pipeline.spec.media_type import parse_media_type

MPEG_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
AAC_RATES = (7_350, *MPEG_RATES, 64_000, 88_200, 96_000)


def facts_of(media, payload):
    return read_facts(parse_media_type(media), payload, 1)


def decoded(media, payload):
    facts = facts_of(media, payload)
    samples = decode_audio(facts, payload)
    assert samples.shape == (facts.samples,)
    assert samples.dtype == np.float32
    return samples


def by_libsndfile(payload):
    samples, _ = soundfile.read(io.BytesIO(payload), dtype="float32", always_2d=True)
    return samples.mean(1)


def lag(found, sent):
    """By how many samples, of two at most, what was found is later than what was sent."""
    middle = np.arange(len(found) // 4, len(found) // 2)
    errors = {n: np.square(found[middle + n] - sent.mean(0)[middle]).sum() for n in range(-2, 3)}
    return min(errors, key=lambda n: errors[n])


def mp3_file(count=16_123, channels=1, rate=16_000, bit_rate=64_000, **how):
    planes = tones(count, channels, rate)
    return encoded(planes, rate, "libmp3lame", "mp3", bit_rate, **how)


def aac_file(count=16_123, channels=1, rate=16_000, bit_rate=64_000):
    return encoded(tones(count, channels, rate), rate, "aac", "adts", bit_rate)


PLAIN = {"write_xing": "0", "id3v2_version": "0"}  # frames and nothing else
WHOLE = mp3_file()
FRAMES = mp3_file(muxing=PLAIN)
AAC = aac_file()


class TestMp3:
    @pytest.mark.parametrize("channels", [1, 2])
    @pytest.mark.parametrize("rate", MPEG_RATES)
    @pytest.mark.parametrize(
        ("bit_rate", "options"),
        [(64_000, {}), (None, {"q": "4"}), (32_000, {"compression_level": "9"})],
        ids=["constant", "variable", "low"],
    )
    def test_whole_files_have_the_samples_that_went_in(self, rate, channels, bit_rate, options):
        count = rate // 2 + 123
        payload = mp3_file(count, channels, rate, bit_rate, options=options)
        facts = facts_of("audio/mpeg", payload)
        assert (facts.format, facts.rate, facts.channels) == ("mpeg", rate, channels)
        samples, expected = decoded("audio/mpeg", payload), by_libav(payload, "mp3")
        assert (samples == expected.mean(0, dtype=np.float32)).all()
        np.testing.assert_allclose(samples, by_libsndfile(payload), rtol=0, atol=3e-6)
        assert 0 <= facts.samples - count < 100  # libavformat states too little at some lengths
        assert lag(samples, tones(count, channels, rate)) == 0

    @pytest.mark.parametrize("rate", MPEG_RATES)
    def test_files_that_libsndfile_writes(self, rate):
        file = io.BytesIO()
        soundfile.write(file, tones(rate, 2, rate).T, rate, format="MP3")
        samples = decoded("audio/mpeg", file.getvalue())
        assert len(samples) == rate
        np.testing.assert_allclose(samples, by_libsndfile(file.getvalue()), rtol=0, atol=3e-6)

    def test_frames_without_a_tag_count_as_they_are(self):
        audio = read_mpeg_audio(FRAMES)
        assert (audio.skip, audio.samples) == (0, 576 * len(audio.frames))
        assert (decoded("audio/mpeg", FRAMES) == by_libav(FRAMES, "mp3")[0]).all()

    def test_a_piece_of_a_stream_has_its_frames_in_their_places(self):
        whole = decoded("audio/mpeg", FRAMES)
        audio = read_mpeg_audio(FRAMES)
        first, _ = audio.frames[10]
        piece = decoded("audio/mpeg", FRAMES[first:])
        assert len(piece) == len(whole) - 10 * 576
        # Its first frames want bits of those before it, and the overlap of the one before.
        assert (piece[4 * 576 :] == whole[14 * 576 :]).all()

    def test_the_beginning_of_a_file_leaves_out_the_encoder_and_no_padding(self):
        audio = read_mpeg_audio(WHOLE)
        at, _ = audio.frames[12]
        begun = read_mpeg_audio(WHOLE[:at])
        assert (begun.skip, begun.samples) == (audio.skip, 12 * 576 - audio.skip)
        assert audio.skip == 576 + DECODER_DELAY
        whole = decoded("audio/mpeg", WHOLE)
        assert (decoded("audio/mpeg", WHOLE[:at]) == whole[: begun.samples]).all()

    def test_frames_behind_those_that_the_tag_counts_are_kept(self):
        audio = read_mpeg_audio(WHOLE)
        more = read_mpeg_audio(WHOLE + FRAMES)
        assert len(more.frames) == len(audio.frames) + len(read_mpeg_audio(FRAMES).frames)
        assert more.samples == 576 * len(more.frames) - audio.skip

    @pytest.mark.parametrize("cut", [1, 50, 400])
    def test_a_last_frame_that_is_cut_off_does_not_count(self, cut):
        audio = read_mpeg_audio(FRAMES[:-cut])
        frames = read_mpeg_audio(FRAMES).frames
        assert audio.frames == [(at, n) for at, n in frames if at + n <= len(FRAMES) - cut]
        assert len(audio.frames) < len(frames)

    def test_tags_around_the_frames_are_passed_over(self):
        plain = read_mpeg_audio(FRAMES)
        front = b"ID3\x04\0\0\0\0\x01\x05" + bytes(133)
        footed = b"ID3\x04\0\x10\0\0\0\x05" + bytes(15)
        ape = b"APETAGEX" + (2_000).to_bytes(4, "little") + (48).to_bytes(4, "little")
        ape = bytes(16) + ape + bytes(4) + bytes(4) + bytes(8)
        tagged = front + footed + FRAMES + ape + b"TAG" + bytes(125)
        found = read_mpeg_audio(tagged)
        shift = len(front) + len(footed)
        assert found.frames == [(at + shift, size) for at, size in plain.frames]
        assert (decoded("audio/mpeg", tagged) == decoded("audio/mpeg", FRAMES)).all()

    def test_a_tag_of_fraunhofers_is_no_sound(self):
        at, size = read_mpeg_audio(FRAMES).frames[0]
        silent = bytearray(FRAMES[at : at + size])
        silent[4:] = bytes(size - 4)
        silent[36:40] = b"VBRI"
        assert read_mpeg_audio(bytes(silent) + FRAMES).samples == read_mpeg_audio(FRAMES).samples

    @pytest.mark.parametrize("channels", [1, 2])
    @pytest.mark.parametrize("rate", [16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
    def test_layer_2(self, rate, channels):
        payload = encoded(tones(rate, channels, rate), rate, "mp2", "mp2", 128_000)
        samples = decoded("audio/mpeg", payload)
        assert read_mpeg_audio(payload).layer == 2
        assert len(samples) % 1152 == 0
        np.testing.assert_allclose(samples, by_libsndfile(payload), rtol=0, atol=3e-6)

    def test_a_frame_that_is_broken_is_not_followed_by_a_shift(self):
        whole = decoded("audio/mpeg", FRAMES)
        at, size = read_mpeg_audio(FRAMES).frames[8]
        broken = FRAMES[: at + 4] + b"\xff" * (size - 4) + FRAMES[at + size :]
        found = decoded("audio/mpeg", broken)
        assert (found[: 8 * 576] == whole[: 8 * 576]).all()
        assert (found[8 * 576 : 9 * 576] != whole[8 * 576 : 9 * 576]).any()
        assert (found[13 * 576 :] == whole[13 * 576 :]).all()

    @pytest.mark.parametrize(
        ("payload", "why"),
        [
            (FRAMES[1:], "byte 0: no sync word"),
            (b"\xff\xfb\x00\xc0" + bytes(500), "free format"),
            (b"\xff\xff\x90\xc0" + bytes(500), "layer I is not read"),
            (b"\xff\xfb\xf0\xc0" + bytes(500), "reserved"),
            (b"\xff\xfb\x9c\xc0" + bytes(500), "reserved"),
            (b"\xff\xeb\x90\xc0" + bytes(500), "reserved"),
            (FRAMES[:100], "no whole frame"),
            (b"ID3", "cut off or broken"),
            (b"ID3\x04\0\0\0\0\0\xff", "cut off or broken"),
            (b"ID3\x04\0\0\0\0\0\0" * 20, "more than 16 ID3 tags"),
            (FRAMES + mp3_file(rate=24_000, muxing=PLAIN), "another layer, rate or number"),
            (FRAMES + mp3_file(channels=2, muxing=PLAIN), "another layer, rate or number"),
            (FRAMES + b"junk", "no sync word"),
        ],
    )
    def test_refuses(self, payload, why):
        with pytest.raises(UndecodableRecord, match=why):
            facts_of("audio/mpeg", payload)

    def test_a_tag_without_a_frame_behind_it(self):
        at, _ = read_mpeg_audio(WHOLE).frames[0]
        with pytest.raises(UndecodableRecord, match="no samples"):
            facts_of("audio/mpeg", WHOLE[:at])

    def test_work_is_bounded(self, monkeypatch):
        monkeypatch.setattr(mpeg_audio, "FRAMES_MAX", 20)
        with pytest.raises(UndecodableRecord, match="more than 20 frames"):
            facts_of("audio/mpeg", FRAMES)


class TestAac:
    @pytest.mark.parametrize(
        ("rate", "channels"),
        [*itertools.product(AAC_RATES, (1, 2)), *((48_000, n) for n in (3, 4, 5, 6))],
    )
    def test_as_libavcodec_decodes_it(self, rate, channels):
        count = rate // 2
        payload = aac_file(count, channels, rate, 48_000 * channels)
        facts = facts_of("audio/aac", payload)
        assert (facts.format, facts.rate, facts.channels) == ("aac", rate, channels)
        samples = decoded("audio/aac", payload)
        np.testing.assert_allclose(samples, by_libav(payload, "aac").mean(0), rtol=0, atol=2e-7)
        # FFmpeg's encoder puts one frame in front, which ADTS cannot say.
        assert lag(samples[BLOCK_SAMPLES:], tones(count, channels, rate)) == 0

    @pytest.mark.parametrize("checksums", [False, True])
    @pytest.mark.parametrize("together", [1, 2, 3, 4])
    def test_several_blocks_in_a_frame(self, together, checksums):
        plain = read_adts(AAC)
        blocks = [AAC[at : at + size] for at, size, _ in plain.packets]
        payload = b"".join(
            adts_frame(plain.form, blocks[n : n + together], checksums=checksums, private=n % 2)
            for n in range(0, len(blocks), together)
        )
        assert facts_of("audio/aac", payload) == facts_of("audio/aac", AAC)
        assert (decoded("audio/aac", payload) == decoded("audio/aac", AAC)).all()

    def test_spectral_band_replication_is_left_to_others(self):
        """HE-AAC without its upper half: the rate and the samples that the headers state."""
        plain = read_adts(AAC)
        filled = []
        for number, (at, size, _) in enumerate(plain.packets):
            block = bytearray(AAC[at : at + size])
            # FIL, 8 bytes, EXT_SBR_DATA, and then END, in place of the END that is there.
            bits = int.from_bytes(block, "big")
            spare = (bits & -bits).bit_length() - 1
            bits = bits >> spare + 3
            extra = 0xD << 60 | (0x5A3C_91F0_2468_ACE >> number % 4)
            bits = ((bits << 7 | 6 << 4 | 8) << 64 | extra) << 3 | 7
            length = len(block) * 8 - spare + 71
            bits <<= -length % 8
            filled.append(adts_frame(plain.form, [bits.to_bytes(-(-length // 8), "big")]))
        payload = b"".join(filled)
        assert by_libav(payload, "aac").shape[1] > 1.5 * facts_of("audio/aac", AAC).samples
        assert facts_of("audio/aac", payload) == facts_of("audio/aac", AAC)
        assert (decoded("audio/aac", payload) == decoded("audio/aac", AAC)).all()

    def test_a_piece_of_a_stream_has_its_frames_in_their_places(self):
        whole, audio = decoded("audio/aac", AAC), read_adts(AAC)
        at, _, _ = audio.packets[5]
        piece = decoded("audio/aac", AAC[at - 7 :])
        assert len(piece) == len(whole) - 5 * BLOCK_SAMPLES
        assert not np.allclose(piece[:BLOCK_SAMPLES], whole[5 * BLOCK_SAMPLES :][:BLOCK_SAMPLES])
        # All but the first frame, whose first half is laid over the end of the one before.
        later = slice(BLOCK_SAMPLES, None)
        np.testing.assert_allclose(piece[later], whole[5 * BLOCK_SAMPLES :][later], atol=1e-6)

    def test_a_frame_that_cannot_be_decoded_is_silence_in_its_place(self):
        whole, audio = decoded("audio/aac", AAC), read_adts(AAC)
        at, size, _ = audio.packets[6]
        broken = decoded("audio/aac", AAC[:at] + b"\xff" * size + AAC[at + size :])
        assert (broken[: 6 * BLOCK_SAMPLES] == whole[: 6 * BLOCK_SAMPLES]).all()
        np.testing.assert_allclose(
            broken[8 * BLOCK_SAMPLES :], whole[8 * BLOCK_SAMPLES :], atol=1e-6
        )
        assert not broken[6 * BLOCK_SAMPLES : 7 * BLOCK_SAMPLES].any()

    def test_nothing_that_can_be_decoded(self):
        form = read_adts(AAC).form
        payload = adts_frame(form, [b"\xff" * 40]) * 3
        with pytest.raises(UndecodableRecord, match="no sample can be decoded"):
            decoded("audio/aac", payload)

    def test_tags_around_the_frames_are_passed_over(self):
        stamp = b"ID3\x04\0\0\0\0\0\x3f" + bytes(63)  # as HLS begins each segment
        assert read_adts(stamp + AAC + b"TAG" + bytes(125)).samples == read_adts(AAC).samples

    def test_a_last_frame_that_is_cut_off_does_not_count(self):
        assert read_adts(AAC[:-1]).samples == read_adts(AAC).samples - BLOCK_SAMPLES

    def head(self, profile=1, rate_index=8, configuration=1, size=100, sync=0xFFF, layer=0):
        bits = sync << 44 | layer << 41 | 1 << 40 | profile << 38 | rate_index << 34
        return (bits | configuration << 30 | size << 13).to_bytes(7, "big") + bytes(93)

    @pytest.mark.parametrize(
        ("forged", "why"),
        [
            ({"sync": 0xFFE}, "byte 0: no sync word"),
            ({"layer": 1}, "no sync word"),
            ({"rate_index": 13}, "sampling index 13 is reserved"),
            ({"configuration": 0}, "configuration 0"),
            ({"profile": 2}, "SSR"),
            ({"size": 7}, "is of 7 bytes"),
            ({"size": 101}, "no whole frame"),
        ],
    )
    def test_refuses(self, forged, why):
        with pytest.raises(UndecodableRecord, match=why):
            facts_of("audio/aac", self.head(**forged))

    @pytest.mark.parametrize("other", [{"rate": 24_000}, {"channels": 2}])
    def test_refuses_another_stream_behind(self, other):
        with pytest.raises(UndecodableRecord, match="another profile, rate or number"):
            facts_of("audio/aac", AAC + aac_file(**other))

    def test_refuses_blocks_that_lie_outside(self):
        form = read_adts(AAC).form
        frame = bytearray(adts_frame(form, [b"a" * 30, b"b" * 30], checksums=True))
        for edge in (0, 1, 2, 63, 64, 65_535):
            frame[7:9] = edge.to_bytes(2, "big")
            with pytest.raises(UndecodableRecord, match="lie outside"):
                facts_of("audio/aac", bytes(frame))

    def test_work_is_bounded(self, monkeypatch):
        monkeypatch.setattr(adts, "BLOCKS_MAX", 10)
        with pytest.raises(UndecodableRecord, match="more than 10 raw data blocks"):
            facts_of("audio/aac", AAC)
