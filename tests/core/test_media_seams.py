"""A stream whose records are compressed one by one: what is heard where two of them meet."""

from __future__ import annotations

import io

import librosa
import numpy as np
import pytest
import soundfile
from coded import encoded, opus_piece, packets_of, tones

from pipeline.media.adts import read_adts
from pipeline.media.clips import RESAMPLE_MARGIN_US, assemble_audio
from pipeline.media.decode import decode_audio
from pipeline.media.facts import read_facts
from pipeline.media.mpeg_audio import read_mpeg_audio
from pipeline.record import MediaRecord
from pipeline.slot.ports import LogRecord
from pipeline.spec.media_type import parse_media_type

LOG = LogRecord("t", 0, 0, 0, b"k", b"", [])
RATE, SECONDS = 48_000, 6
SOUND = tones(RATE * SECONDS, 1, RATE)
SEAM_MS = 20  # on each side
PLAIN = {"write_xing": "0", "id3v2_version": "0"}


def files(container, codec=None):
    """Each second a file of its own."""
    payloads = []
    for second in range(SECONDS):
        part = SOUND[:, second * RATE : (second + 1) * RATE]
        if codec is not None:
            payloads.append(encoded(part, RATE, codec, container, 96_000))
            continue
        file = io.BytesIO()
        soundfile.write(file, part.T, RATE, format=container)
        payloads.append(file.getvalue())
    return payloads


def opus_of_one_encoder():
    """Packets of one encoder; each record but the first begins 80 ms early, which it skips."""
    packets = packets_of(encoded(SOUND, RATE, "libopus", "ogg", 96_000), "ogg")
    pieces = [opus_piece(packets[:50])]
    for first in range(50, SECONDS * 50, 50):
        at = 960 * (first - 4)
        pieces.append(opus_piece(packets[first - 4 : first + 50], at=at, skip=4 * 960))
    return pieces


def cut_frames(container, together=40):
    """Frames of one encoder, cut between frames as a capture of a running stream has them."""
    codec = {"mp3": "libmp3lame", "adts": "aac"}[container]
    muxing = PLAIN if container == "mp3" else {}
    whole = encoded(SOUND, RATE, codec, container, 96_000, muxing=muxing)
    if container == "mp3":
        frames = [whole[at : at + size] for at, size in read_mpeg_audio(whole).frames]
    else:
        frames = [whole[at - 7 : at + size] for at, size, _ in read_adts(whole).packets]
    return [b"".join(frames[n : n + together]) for n in range(0, len(frames), together)]


def records_of(media, payloads):
    """Back to back, from the samples that their headers state."""
    found, at = [], 0
    for payload in payloads:
        facts = read_facts(parse_media_type(media), payload, 1)
        ends = (at + facts.samples) * 1_000_000 // facts.rate
        found.append(MediaRecord("mic", "k", at * 1_000_000 // RATE, ends, facts, payload, LOG))
        at += facts.samples
    return found


def seam_db(records, late):
    """The error within SEAM_MS of where records meet, in dB above the error elsewhere.

    ``late``: samples by which the codec delays the sound.
    """
    decoded = [decode_audio(each.facts, each.payload) for each in records]
    joints = np.cumsum([len(each) for each in decoded])[:-1]
    samples = np.concatenate(decoded)[late:]
    count = min(len(samples), SOUND.shape[1])
    errors = np.square(samples[:count] - SOUND[0, :count])
    near = np.zeros(count, bool)
    for joint in joints[:-1] - late:
        near[joint - SEAM_MS * RATE // 1_000 : joint + SEAM_MS * RATE // 1_000] = True
    inner = slice(RATE // 2, count - RATE // 2)
    there, elsewhere = errors[inner][near[inner]], errors[inner][~near[inner]]
    return 10 * np.log10(there.mean() / elsewhere.mean())


WHOLE_FILES = {
    "flac": ("audio/flac", lambda: files("FLAC")),
    "vorbis": ("audio/ogg", lambda: files("OGG")),
    "opus": ("audio/ogg", lambda: files("ogg", "libopus")),
    "mp3": ("audio/mpeg", lambda: files("mp3", "libmp3lame")),
}
PIECES = {
    "opus": ("audio/ogg", opus_of_one_encoder, 0),
    "mp3": ("audio/mpeg", lambda: cut_frames("mp3"), 576 + 529),
    "aac": ("audio/aac", lambda: cut_frames("adts"), 1_024),
}


@pytest.mark.parametrize("name", WHOLE_FILES)
def test_files_of_their_own_have_no_seam(name):
    """What the encoder put in front is stated and left out: the samples are those that went in."""
    media, make = WHOLE_FILES[name]
    records = records_of(media, make())
    assert [each.facts.samples for each in records] == [RATE] * SECONDS
    assert abs(seam_db(records, 0)) < 1.5


def test_opus_packets_of_one_encoder_meet_where_they_are_cut():
    records = records_of("audio/ogg", opus_of_one_encoder())
    lengths = [each.facts.samples for each in records]
    assert lengths == [RATE - 312, *[RATE] * (SECONDS - 1)]
    assert seam_db(records, 0) < 6  # the decoder has 80 ms to settle, and has not quite


@pytest.mark.parametrize(("name", "at_least"), [("mp3", 6), ("aac", 12)])
def test_frames_out_of_a_running_stream_lose_their_beginning(name, at_least):
    """Said in docs/PIPELINE.md: what a frame needs of those before it is not in its record."""
    media, make, late = PIECES[name]
    records = records_of(media, make())
    assert seam_db(records, late) > at_least


@pytest.mark.parametrize("name", [*WHOLE_FILES, "opus pieces", "mp3 pieces", "aac pieces"])
def test_resampling_window_by_window_adds_no_seam(name):
    media, make, *_ = PIECES[name.split()[0]] if "pieces" in name else WHOLE_FILES[name]
    records = records_of(media, make())
    sounds = [decode_audio(each.facts, each.payload) for each in records]
    stream = np.concatenate(sounds)
    target = 16_000
    whole = librosa.resample(stream, orig_sr=RATE, target_sr=target, res_type="soxr_hq")
    for start_us in range(0, (SECONDS - 1) * 1_000_000, 500_000):
        low, high = start_us - RESAMPLE_MARGIN_US, start_us + 1_000_000 + RESAMPLE_MARGIN_US
        read = [n for n, each in enumerate(records) if each.end_us > low and each.ts_us < high]
        given = [records[n] for n in read], [sounds[n] for n in read]
        found = assemble_audio(*given, start_us, start_us + 1_000_000, target).samples
        first = start_us * target // 1_000_000
        expected = whole[first : first + target]
        # soxr itself rings in over the first samples of a stream.
        settled = 4 if start_us == 0 else 0
        np.testing.assert_allclose(found[settled:], expected[settled:], rtol=0, atol=3e-6)
