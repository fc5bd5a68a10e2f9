"""Conversions in whole pipelines: sound cleaned, drawn and read as a picture, text drawn and read.

What they write to topics of their own is what other programs play and show, and what another
pipeline takes as an input.
"""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from pipelines import SECOND_US, broker_for, committed, connector_for, header, load, sent, values

from pipeline.demo import assets
from pipeline.encoders.base import Clip
from pipeline.encoders.text_clean import TextClean
from pipeline.encoders.text_image import TextImage
from pipeline.local import run_local
from pipeline.tasks.host import RunControl

RATE, SECONDS = 16_000, 6
SPEECH = Path(assets.__file__).parent / "media" / "speech" / "sentence-1.flac"
CHAT = "Lift\u200b ２ is  out: https://a.b/c"

FILE = {
    "name": "conversions",
    "inputs": {
        "mic": {"topic": "in.mic", "type": f"audio/L16;rate={RATE};channels=1"},
        "chat": {"topic": "in.chat", "type": "text/plain", "gating": False},
    },
    "windows": {"size": "1s"},
    "stages": {
        "clean": {
            "encoder": "audio_clean",
            "of": "mic",
            "context": {"before": "2s", "after": "100ms"},
            "out": "out.clean",
        },
        "melody": {"encoder": "log_mel", "of": "clean"},
        "picture": {"encoder": "spectrogram_image", "of": "clean", "out": "out.picture"},
        "heard": {"encoder": "color_histogram", "of": "picture"},
        "tidy": {"encoder": "text_clean", "of": "chat", "options": {"urls": "tag"}, "out": "out.t"},
        "drawn": {"encoder": "text_image", "of": "tidy", "out": "out.drawn"},
        "read": {"encoder": "color_histogram", "of": "drawn"},
    },
    "fusion": {"rule": "concat", "of": {"melody": 1, "heard": 1, "read": 1}},
    "outputs": {"results": "out.results", "late": "out.late", "dead_letter": "out.dead"},
    "commit_interval": "20ms",
    "slots": 1,
}


@pytest.fixture(scope="module")
def ran():
    """Six seconds of a reading and a line of text in every second, to the end."""
    spec = load(FILE)
    broker = broker_for(spec, lanes=1)
    speech, rate = soundfile.read(SPEECH, dtype="int16")
    assert rate == RATE
    for second in range(SECONDS):
        piece = speech[second * RATE : (second + 1) * RATE]
        broker.append(sent("in.mic", piece.astype(">i2").tobytes(), second * SECOND_US))
        broker.append(sent("in.chat", CHAT.encode(), second * SECOND_US + 5))
    run_local(spec, connector_for(broker), RunControl(until_end=True))
    return broker


def test_every_stage_gives_its_part_of_every_result(ran):
    results = values(ran, "out.results")
    assert len(results) == SECONDS
    for result in results:
        assert result["failed"] == {}
        vector = np.array(result["output"]["vector"])
        assert vector.shape == (64 + 24 + 24,)
        for block in (vector[:64], vector[64:88], vector[88:]):
            assert np.any(block)
        assert result["text"] == {"tidy": "Lift 2 is out: <url>"}
    heard = {tuple(result["output"]["vector"][64:88]) for result in results}
    assert len(heard) == SECONDS


def test_cleaned_sound_can_be_played_and_its_records_follow_each_other(ran):
    records = committed(ran, "out.clean")
    assert [header(r, "ce_time") for r in records] == [
        f"1970-01-01T00:00:0{second}.000Z" for second in range(SECONDS)
    ]
    assert {header(r, "content-type") for r in records} == {f"audio/L16;rate={RATE};channels=1"}
    assert {len(r.value) for r in records} == {2 * RATE}
    raw = io.BytesIO(b"".join(r.value for r in records))
    options = {"sample_rate": str(RATE), "ch_layout": "mono"}
    with av.open(raw, format="s16be", options=options) as played:
        assert played.streams.audio[0].rate == RATE
        heard = np.concatenate([f.to_ndarray().ravel() for f in played.decode(audio=0)])
    assert len(heard) == SECONDS * RATE
    speech, _ = soundfile.read(SPEECH, dtype="int16")
    likeness = np.corrcoef(heard, speech[: len(heard)].astype(float))[0, 1]
    assert likeness > 0.9  # what was said, from the first sample to the last


def test_pictures_can_be_shown(ran):
    spoken, drawn = committed(ran, "out.picture"), committed(ran, "out.drawn")
    for record in (*spoken, *drawn):
        assert header(record, "content-type") == "image/png"
        with Image.open(io.BytesIO(record.value)) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (224, 224))
    assert len({record.value for record in spoken}) == SECONDS
    assert len({record.value for record in drawn}) == 1
    cpu = torch.device("cpu")
    [tidy] = TextClean(cpu, urls="tag").encode([Clip("s", 0, 1, text=CHAT)])
    [expected] = TextImage(cpu).encode([Clip("s", 0, 1, text=tidy)])
    with Image.open(io.BytesIO(drawn[0].value)) as image:
        np.testing.assert_array_equal(np.asarray(image), expected)


def test_another_pipeline_reads_the_topics_as_inputs(ran):
    """And finds in them what the stages of the first one found."""
    inputs = {
        "sound": {"topic": "out.clean", "type": f"audio/L16;rate={RATE};channels=1"},
        "shown": {"topic": "out.picture", "type": "image/png"},
    }
    changes = {
        "name": "second",
        "inputs": inputs,
        "stages": {
            "melody": {"encoder": "log_mel", "of": "sound"},
            "heard": {"encoder": "color_histogram", "of": "shown"},
        },
        "fusion.of": {"melody": 1, "heard": 1},
        "outputs": {"results": "second.results", "late": "second.late", "dead_letter": "second.d"},
    }
    spec = load(FILE, changes)
    for topic in spec.topics_out():
        ran.create_topic(topic, 1)
    run_local(spec, connector_for(ran), RunControl(until_end=True))
    first, second = values(ran, "out.results"), values(ran, "second.results")
    assert [r["window"] for r in second] == [r["window"] for r in first]
    for ours, theirs in zip(second, first, strict=True):
        assert ours["coverage"] == {"sound": 1.0}
        vector, expected = (np.array(each["output"]["vector"]) for each in (ours, theirs))
        np.testing.assert_array_equal(vector[64:], expected[64:88])
        # 16 bits a sample add noise, which only bands with next to nothing in them can tell
        filled = expected[:64] > -70
        assert filled.sum() > 40
        np.testing.assert_allclose(vector[:64][filled], expected[:64][filled], atol=0.3)
