"""The chains of docs/examples/chains on a real Kafka: every one gives what it is made for.

Bounds are loose; tests/bench/chains.py measures, and docs/CHAINS.md has its figures.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from chain_runs import FOLDER, LINES, Chains, header, pictures, played, sounds, texts, time_of
from kafka_user import BEGIN_US
from model_media import NEEDS_MODELS, written
from PIL import Image
from readings import sentences, word_errors

from pipeline.encoders.models.speech_synthesis import espeak
from pipeline.evaluation.text import Pair, scored_text

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300), *NEEDS_MODELS]

S = 1_000_000
SPOKEN = LINES[:3]
SIGNS = ("Platform seven is closed", "Mind the gap", "Ring the bell for the nurse")


@pytest.fixture(scope="module")
def chains(user):
    return Chains(user)


def character_errors(references, read) -> float:
    pairs = [Pair("s", n, *both) for n, both in enumerate(zip(references, read, strict=True))]
    return scored_text(pairs, "plain")["cer"]["rate"]


def assert_audio_has_its_times(records, results) -> None:
    """Playable, at the window's start, within the window: what follows is not talked over."""
    windows = [result["window"] for result in results]
    assert [time_of(record) for record in records] == [window["start_us"] for window in windows]
    for record, window in zip(records, windows, strict=True):
        assert header(record, "content-type") == f"audio/L16;rate={espeak().rate};channels=1"
        samples, rate = played(record)
        assert rate == espeak().rate
        assert len(samples) == len(record.value) // 2
        seconds = len(samples) / rate
        assert 0.5 < seconds <= (window["end_us"] - window["start_us"]) / S


def test_every_file_is_tried_here() -> None:
    source = Path(__file__).read_text("utf-8")
    for file in FOLDER.glob("*.yaml"):
        assert f'chains.run("{file.stem}"' in source


def test_speech_becomes_a_vector_near_what_was_said(chains):
    readings = [sentences()[1], sentences()[4]]
    chains.send("speech_to_embedding", sounds([r.samples for r in readings], 10 * S))
    ran = chains.run("speech_to_embedding")
    assert ran.summary["windows"] == len(readings)
    assert [r.value.decode() for r in ran.out["heard"]] == ran.texts("heard")
    assert word_errors([r.text for r in readings], ran.texts("heard")).rate <= 0.3
    vectors = np.array([result["output"]["vector"] for result in ran.results])
    tables = [pa.ipc.open_stream(r.value).read_all() for r in ran.out["meaning"]]
    rows = {row["start_us"]: row["vector"] for t in tables for row in t.to_pylist()}
    told = [rows[result["window"]["start_us"]] for result in ran.results]
    np.testing.assert_allclose(told, vectors, rtol=1e-6)
    meant = embedded([r.text for r in readings])
    assert (vectors @ meant.T).argmax(axis=1).tolist() == [0, 1]
    assert np.all(np.sum(vectors * meant, axis=1) > 0.5)


def embedded(lines):
    import torch

    from pipeline.encoders.base import Clip
    from pipeline.encoders.loading import load_encoder

    encoder = load_encoder("text_embedding", {}, torch.device("cpu"))
    return np.stack(encoder.encode([Clip("s", 0, 1, text=line) for line in lines]))


def test_what_a_picture_says_is_read_aloud(chains):
    frames = [written(sign, size=40) for sign in SIGNS]
    chains.send("image_to_speech", pictures(frames, 10 * S))
    ran = chains.run("image_to_speech")
    assert ran.summary["windows"] == len(SIGNS)
    assert character_errors(SIGNS, ran.texts("read")) <= 0.1
    spoken = ran.out["spoken"]
    assert_audio_has_its_times(spoken, ran.results)
    for record, text in zip(spoken, ran.texts("read"), strict=True):
        expected = espeak().say(text, "en-us", 175, 50)
        samples, _ = played(record)
        np.testing.assert_array_equal(samples, np.rint(expected * 32768))


def test_a_text_comes_back_from_its_speech(chains):
    chains.send("text_speech_text", texts(SPOKEN, 10 * S))
    ran = chains.run("text_speech_text")
    assert ran.summary["windows"] == len(SPOKEN)
    assert_audio_has_its_times(ran.out["spoken"], ran.results)
    assert [r.value.decode() for r in ran.out["heard"]] == ran.texts("heard")
    assert word_errors(SPOKEN, ran.texts("heard")).rate <= 0.4
    # the words lie where they are in the speech, in event time
    for result, record in zip(ran.results, ran.out["spoken"], strict=True):
        samples, rate = played(record)
        end_us = result["window"]["start_us"] + len(samples) * S // rate
        words = result["data"]["heard"]["words"]
        assert words
        for word in words:
            assert result["window"]["start_us"] - 300_000 <= word["start_us"] <= word["end_us"]
            assert word["end_us"] <= end_us + 300_000


def test_what_is_said_is_heard_in_german(chains, tmp_path):
    """By a model of a few phrases, trained in seconds."""
    from small_pairs import PHRASES, phrase_pairs

    from pipeline.training.translate.pairs import part
    from pipeline.training.translate.train import train_translation

    train_translation(part(phrase_pairs(), 0), PHRASES).save(tmp_path, {})
    told = {pair.source: pair.target for pair in phrase_pairs()}
    said = ["the school is open again", "the station is closed tonight", "the street is empty now"]
    chains.send("text_speech_translation", texts(said, 10 * S))
    ran = chains.run("text_speech_translation", german__model=tmp_path)
    assert ran.summary["windows"] == len(said)
    german = ran.texts("german")
    assert [r.value.decode() for r in ran.out["german"]] == german
    assert german == translated(ran.texts("heard"), tmp_path)
    rows = zip(range(len(said)), said, german, strict=True)
    pairs = [Pair("s", n, told[line], text) for n, line, text in rows]
    assert scored_text(pairs, "none")["bleu"]["score"] >= 40


def translated(lines, model):
    import torch

    from pipeline.encoders.base import Clip
    from pipeline.encoders.loading import load_encoder

    encoder = load_encoder("text_to_text", {"model": str(model)}, torch.device("cpu"))
    return encoder.encode([Clip("s", 0, 1, text=line) for line in lines])


def test_a_sound_is_looked_at_as_a_picture(chains):
    times = np.arange(16_000) / 16_000
    tones = [0.3 * np.sin(2 * np.pi * hertz * times) for hertz in (300, 3_000)]
    again = [0.7 * tone for tone in tones]  # fainter, and with scale: peak the same picture
    chains.send("sound_picture_embedding", sounds([*tones, *again], S))
    ran = chains.run("sound_picture_embedding")
    assert ran.summary["windows"] == 4
    for number, record in enumerate(ran.out["picture"]):
        assert time_of(record) == BEGIN_US + number * S
        with Image.open(io.BytesIO(record.value)) as image:
            assert (image.format, image.size) == ("PNG", (224, 224))
    seen = np.array([result["output"]["vector"] for result in ran.results])
    assert seen.shape == (4, 1280)
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    likeness = seen @ seen.T
    assert min(likeness[0, 2], likeness[1, 3]) > max(likeness[0, 1], likeness[0, 3]) + 0.05


def test_a_text_comes_back_from_its_picture(chains):
    chains.send("text_picture_text", texts(SPOKEN, S))
    ran = chains.run("text_picture_text")
    assert ran.summary["windows"] == len(SPOKEN)
    assert character_errors(SPOKEN, ran.texts("read")) <= 0.1
    assert [r.value.decode() for r in ran.out["read"]] == ran.texts("read")
    for record in ran.out["picture"]:
        with Image.open(io.BytesIO(record.value)) as image:
            assert image.size == (640, 224)
