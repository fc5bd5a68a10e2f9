"""speech_to_text and voice_activity with their real weights, on real readings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_media import OFFLINE_MODELS
from readings import (
    EPOCH_US,
    RATE,
    SECOND_US,
    joined,
    run_stream,
    sentences,
    speech_pipeline,
    whole_clip,
    window_clips,
    word_errors,
)

from pipeline.encoders.base import Clip
from pipeline.encoders.loading import empty_clip, load_encoder
from pipeline.encoders.models.voice import Grouping, Silero, speech_spans
from pipeline.errors import InvalidInput

pytestmark = OFFLINE_MODELS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def speech_to_text():
    return load_encoder("speech_to_text", {}, CPU)


@pytest.fixture(scope="module")
def voice_activity():
    return load_encoder("voice_activity", {}, CPU)


@pytest.fixture(scope="module")
def silero_vad():
    """Silero's own package, which sets the threads of torch when it is imported."""
    threads = torch.get_num_threads()
    import silero_vad

    torch.set_num_threads(threads)
    return silero_vad


@pytest.fixture(scope="module")
def heard(speech_to_text):
    """The five sentences, each in a window of its own, in one batch."""
    return speech_to_text.encode([whole_clip(reading.samples) for reading in sentences()])


# -- speech to text ---------------------------------------------------------------------------


def test_the_words_are_right(heard):
    errors = word_errors([reading.text for reading in sentences()], heard)
    assert errors.words > 65
    assert errors.rate <= 0.15, heard


def test_words_come_with_their_times_and_probabilities(heard):
    for said, reading in zip(heard, sentences(), strict=True):
        words = said.data["words"]
        assert "".join(word["word"] for word in words).strip() == said
        end_us = EPOCH_US + len(reading.samples) * SECOND_US // RATE
        starts = [word["start_us"] for word in words]
        assert starts == sorted(starts)
        for word in words:
            assert EPOCH_US - 300_000 <= word["start_us"] <= word["end_us"] <= end_us + 300_000
            assert 0 <= word["probability"] <= 1
    spoken_us = [said.data["words"][-1]["end_us"] - EPOCH_US for said in heard]
    for last_us, reading in zip(spoken_us, sentences(), strict=True):
        assert last_us / SECOND_US == pytest.approx(len(reading.samples) / RATE, abs=1.0)


def test_alone_or_in_another_order_it_is_the_same_to_the_bit(speech_to_text, heard):
    chosen = [1, 4]
    clips = {n: whole_clip(sentences()[n].samples) for n in chosen}
    [alone] = speech_to_text.encode([clips[4]])
    backwards = speech_to_text.encode([clips[4], empty_clip(speech_to_text), clips[1]])
    for n, found in ((4, alone), (4, backwards[0]), (1, backwards[2])):
        assert (found, found.data) == (heard[n], heard[n].data)


def test_a_clip_is_not_written_to(speech_to_text):
    clip = whole_clip(sentences()[1].samples[:RATE].copy())
    clip.samples.flags.writeable = False
    speech_to_text.encode([clip])


def test_where_nobody_speaks_there_is_no_text(speech_to_text):
    noise = np.random.default_rng(0).normal(0, 0.01, 2 * RATE).astype(np.float32)
    clips = [whole_clip(line) for line in (np.zeros(RATE, np.float32), noise)]
    clips += [empty_clip(speech_to_text), Clip("s", 0, SECOND_US)]
    assert [(said, said.data) for said in speech_to_text.encode(clips)] == [("", {"words": []})] * 4
    assert speech_to_text.encode([]) == []


def test_the_joined_text_of_a_stream_is_that_of_the_whole(speech_to_text):
    """Windows of one second, 5 s of context before and 1 s after, through a whole local run."""
    line = np.concatenate([sentences()[n].samples for n in (1, 4)])
    results = run_stream(speech_pipeline({"before": "5s", "after": "1s"}), line)
    assert len(results) == 7
    text = joined(results)
    assert text == " ".join(filter(None, (result["text"]["speech"] for result in results)))
    [whole] = speech_to_text.encode([whole_clip(line)])
    assert word_errors([whole], [text]).rate <= 0.15, (whole, text)
    for result in results:
        start_us = result["window"]["start_us"]
        for word in result["data"]["speech"]["words"]:
            assert start_us - 150_000 <= (word["start_us"] + word["end_us"]) // 2
            assert (word["start_us"] + word["end_us"]) // 2 < start_us + SECOND_US


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"model": "/nowhere"}, r"options\.model = /nowhere: .*ct2-transformers-converter"),
        ({"model": 3}, r"options\.model = 3"),
        ({"language": "xx"}, r"options\.language = xx: .*take one of en"),
        ({"beam_size": 0}, r"options\.beam_size = 0"),
        ({"compute_type": "int3"}, r"options\.compute_type = int3: .*int8"),
        ({"vad": "yes"}, r"options\.vad = yes: is neither true nor false"),
        ({"cpu_threads": 0}, r"options\.cpu_threads = 0"),
    ],
)
def test_wrong_options_are_named(options, told):
    with pytest.raises(InvalidInput, match=told) as error:
        load_encoder("speech_to_text", options, CPU, key="stages.speech.encoder")
    assert str(error.value).startswith("stages.speech.options.")
    assert "\n" not in str(error.value)


def test_a_clip_of_another_rate_fails():
    clip = Clip("s", 0, SECOND_US, np.zeros(8_000, np.float32), 8_000, 0)
    encoder = load_encoder("voice_activity", {}, CPU)
    with pytest.raises(ValueError, match="8000 Hz"):
        encoder.encode([clip])


# -- voice activity ---------------------------------------------------------------------------


def test_speech_is_where_it_is(voice_activity):
    spoken = sentences()[1].samples
    line = np.concatenate((np.zeros(RATE), spoken, np.zeros(RATE))).astype(np.float32)
    [found] = voice_activity.encode([whole_clip(line)])
    [segment] = found["segments"]
    length_us = len(spoken) * SECOND_US // RATE
    assert segment["start_us"] - EPOCH_US == pytest.approx(SECOND_US, abs=400_000)
    assert segment["end_us"] - EPOCH_US == pytest.approx(SECOND_US + length_us, abs=400_000)
    span_us = segment["end_us"] - segment["start_us"]
    assert found["speech_ratio"] == pytest.approx(span_us / (length_us + 2 * SECOND_US))
    assert len(found["probabilities"]) == pytest.approx(len(line) / 512, abs=1)


def test_silence_is_silence(voice_activity):
    clips = [whole_clip(np.zeros(RATE, np.float32)), empty_clip(voice_activity), Clip("s", 0, 1)]
    for found in voice_activity.encode(clips):
        assert (found["speech_ratio"], found["segments"]) == (0.0, [])
        assert all(p < 0.2 for p in found["probabilities"])


def test_windows_with_context_say_what_the_whole_stream_says(voice_activity):
    line = np.concatenate([sentences()[n].samples for n in (1, 4)])[: 6 * RATE]
    whole = voice_activity.encode(window_clips(line, 30, 1))
    windows = voice_activity.encode(window_clips(line, 4, 1))
    frames = 6 * SECOND_US // 32_000
    for found in (whole, windows):
        assert sum(len(each["probabilities"]) for each in found) == pytest.approx(frames, abs=1)
        firsts = [each["first_us"] + 32_000 * len(each["probabilities"]) for each in found]
        assert firsts[:-1] == [each["first_us"] for each in found[1:]]
    ours, theirs = (np.concatenate([e["probabilities"] for e in x]) for x in (windows, whole))
    assert np.mean(np.abs(ours - theirs) > 0.1) < 0.02
    for clip, found in zip(window_clips(line, 4, 1), windows, strict=True):
        for segment in found["segments"]:
            assert clip.start_us <= segment["start_us"] < segment["end_us"] <= clip.end_us


def test_a_batch_is_its_singles(voice_activity):
    clips = window_clips(sentences()[3].samples, 2, 0.5)
    together = voice_activity.encode(clips)
    assert together == voice_activity.encode(clips[::-1])[::-1]
    assert together == [voice_activity.encode([clip])[0] for clip in clips]


def test_the_network_is_that_of_silero(silero_vad):
    """Frame by frame, against the package's own streaming model."""
    samples = sentences()[1].samples[: 64 * 512]
    model = silero_vad.load_silero_vad(onnx=True)
    frames = torch.from_numpy(samples).reshape(-1, 512)
    theirs = np.array([float(model(frame, RATE)) for frame in frames])
    np.testing.assert_allclose(Silero().probabilities(samples), theirs, atol=1e-4)


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.2, 0.34, 0.4, 0.5, 0.6, 1.0]), min_size=1, max_size=80),
       st.sampled_from([0, 100, 250]), st.sampled_from([64, 100, 320]))  # fmt: skip
def test_spans_are_those_of_silero(silero_vad, probabilities, min_speech_ms, min_silence_ms):
    theirs = silero_vad.get_speech_timestamps_from_probs(
        probabilities, min_speech_duration_ms=min_speech_ms,
        min_silence_duration_ms=min_silence_ms, speech_pad_ms=0,
    )  # fmt: skip
    ours = speech_spans(probabilities, Grouping(0.5, min_speech_ms * 1000, min_silence_ms * 1000))
    assert [(s.first * 512, s.end * 512) for s in ours] == [(s["start"], s["end"]) for s in theirs]
