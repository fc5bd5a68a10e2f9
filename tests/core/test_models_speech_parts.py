"""The parts of speech_to_text and voice_activity that need no weights: laws of words and spans."""

from __future__ import annotations

import itertools
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipelines import LOBBY, load

from actors.packing import pack_results, unpack_results
from pipeline.batching.batch import JobResult
from pipeline.encoders.base import Clip, Said
from pipeline.encoders.models.speech import NEAR_US, Hearing, View, views, window_words
from pipeline.encoders.models.voice import (
    FRAME_US,
    FramedAudio,
    Grouping,
    Silero,
    duration_us,
    padded,
    speech_spans,
)
from pipeline.encoders.models.whisper import Word
from pipeline.encoders.outputs import checked
from pipeline.errors import InvalidInput
from pipeline.fusion.linear import Fused
from pipeline.slot.ledger import Entry, Ledger
from pipeline.tasks.fusion_slot import Pending
from pipeline.tasks.messages import Opened
from pipeline.tasks.results import ResultWriter

SECOND_US = 1_000_000
RATE = 16_000


def word(text: str, start_us: int, end_us: int) -> Word:
    return Word(f" {text}", start_us, end_us, 1.0)


# -- words and windows ----------------------------------------------------------------------


@st.composite
def speech(draw: st.DrawFn) -> list[Word]:
    """Words of 40 ms to 1.2 s, one after another, in six seconds at most; some are repeated."""
    at_us, words = 0, []
    for text in draw(st.lists(st.sampled_from(["a", "had", "he", "been", "made"]), max_size=20)):
        at_us += draw(st.integers(0, 300_000))
        end_us = at_us + draw(st.integers(40_000, 1_200_000))
        words.append(word(text, at_us, end_us))
        at_us = end_us
    return words


def windows_of(transcripts: list[list[Word]]) -> list[list[Word]]:
    """Window k hears transcript k, and that the window before heard transcript k - 1."""
    said = []
    for k, own in enumerate(transcripts):
        earlier = transcripts[k - 1] if k else []
        said.append(window_words(own, earlier, k * SECOND_US, (k + 1) * SECOND_US))
    return said


@given(speech())
def test_one_transcript_gives_every_word_to_the_window_of_its_middle(words):
    count = 1 + max((w.end_us for w in words), default=0) // SECOND_US
    said = windows_of([words] * count)
    assert [w for window in said for w in window] == words
    for k, window in enumerate(said):
        assert all(w.middle_us // SECOND_US == k for w in window)


@given(st.data(), speech())
def test_transcripts_that_differ_in_their_times_give_every_word_once(data, words):
    """Each window puts each word up to 60 ms elsewhere, in their order; no spelling comes twice."""
    words = [Word(f" {i}{w.text[1:]}", *w[1:]) for i, w in enumerate(words)]
    count = 2 + max((w.end_us for w in words), default=0) // SECOND_US
    shift = st.integers(-60_000, 60_000)
    transcripts = []
    for _ in range(count):
        moved = [(w.start_us + by, w.end_us + by) for w in words for by in [data.draw(shift)]]
        spans = zip(words, sorted(moved, key=sum), strict=True)
        transcripts.append([w._replace(start_us=start, end_us=end) for w, (start, end) in spans])
    said = [w.text for window in windows_of(transcripts) for w in window]
    first = [w.text for w in words if w.middle_us < 60_000 and w.text not in said]
    assert sorted([*said, *first]) == sorted(w.text for w in words)


def test_without_the_window_before_a_word_that_moves_is_said_twice():
    """What the rule is for: the middle alone gives " himself" to both windows."""
    before = [word("himself", 740_000, 1_240_000)]
    own = [word("himself", 740_000, 1_340_000)]
    assert before[0].middle_us < SECOND_US <= own[0].middle_us
    assert window_words(own, [], SECOND_US, 2 * SECOND_US) == own
    assert window_words(own, before, SECOND_US, 2 * SECOND_US) == []


def test_a_word_that_neither_window_would_take_is_taken():
    before = [word("John", 900_000, 1_140_000)]
    own = [word("John", 860_000, 1_080_000), word("came", 1_080_000, 1_500_000)]
    assert window_words(own, before, SECOND_US, 2 * SECOND_US) == own


def test_a_word_far_from_the_border_moves_nothing():
    before = [word("had", 100_000, 200_000)]
    own = [word("he", 950_000, 1_100_000), word("had", 1_300_000, 1_400_000)]
    assert window_words(own, before, SECOND_US, 2 * SECOND_US) == own
    assert SECOND_US - before[0].middle_us > NEAR_US


# -- what a window hears ---------------------------------------------------------------------


def clip(number: int, before_us: int, after_us: int, line: np.ndarray) -> Clip:
    start_us = number * SECOND_US
    low, high = ((t * RATE) // SECOND_US for t in (start_us - before_us, start_us + after_us))
    samples = line[low : high + RATE]
    return Clip("s", start_us, start_us + SECOND_US, samples, RATE, start_us - before_us)


def test_the_view_of_the_window_before_is_its_own_view():
    line = np.random.default_rng(0).standard_normal(20 * RATE).astype(np.float32)
    for before_us, after_us in ((SECOND_US, 0), (3_500_000, 1_500_000), (9_000_000, 3_000_000)):
        own, _ = views(clip(10, before_us, after_us, line))
        _, earlier = views(clip(11, before_us, after_us, line))
        assert earlier is not None
        assert earlier.start_us == own.start_us == 11_000_000 - before_us
        np.testing.assert_array_equal(earlier.samples, own.samples)


def test_with_less_context_than_a_window_the_view_is_the_clip():
    line = np.zeros(20 * RATE, np.float32)
    made = clip(5, 900_000, 0, line)
    own, earlier = views(made)
    assert own.samples is made.samples
    assert earlier is None
    assert views(Clip("s", 0, 0))[1] is None


class FakeSilero(Silero):
    """Loud frames are speech."""

    def __init__(self) -> None:
        pass

    def probabilities(self, samples):
        frames = np.pad(samples, (0, -len(samples) % 512)).reshape(-1, 512)
        return (np.abs(frames).max(axis=1) > 0.5).astype(np.float32)


class FakeTranscriber:
    """One word for each utterance, its length in frames; counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def words(self, samples):
        self.asked += 1
        return [Word(f" {len(samples) // 512}", 0, len(samples) * SECOND_US // RATE, 0.5)]


def test_an_utterance_that_two_views_hold_whole_is_transcribed_once():
    line = np.zeros(10 * RATE, np.float32)
    line[3 * RATE : 4 * RATE] = 1  # from 3 s to 4 s: 33 frames with what they cut, 6 around
    transcriber = FakeTranscriber()
    hearing = Hearing(FakeSilero(), Grouping(min_silence_us=320_000), transcriber)
    found = [
        hearing.words(View(line[first * RATE :], first * SECOND_US), 0, 10 * SECOND_US)
        for first in (0, 1, 2)
    ]
    assert transcriber.asked == 1
    assert found[0] == found[1] == found[2]
    [said] = found[0]
    assert said.start_us <= 3 * SECOND_US - 5 * FRAME_US
    assert said.end_us >= 4 * SECOND_US + 5 * FRAME_US


def test_only_utterances_that_reach_into_the_range_are_transcribed():
    line = np.zeros(10 * RATE, np.float32)
    line[2 * RATE : 3 * RATE] = line[7 * RATE : 8 * RATE] = 1
    transcriber = FakeTranscriber()
    hearing = Hearing(FakeSilero(), Grouping(min_silence_us=320_000), transcriber)
    assert hearing.words(View(line, 0), 4 * SECOND_US, 6 * SECOND_US) == []
    assert transcriber.asked == 0
    assert len(hearing.words(View(line, 0), 7 * SECOND_US, 8 * SECOND_US)) == 1


@pytest.mark.parametrize(("pause_us", "utterances"), [(320_000, 2), (500_000, 1)])
def test_a_longer_pause_joins_what_lies_between(pause_us, utterances):
    line = np.zeros(10 * RATE, np.float32)
    line[2 * RATE : 3 * RATE] = line[round(3.4 * RATE) : 4 * RATE] = 1  # 0.4 s between them
    hearing = Hearing(FakeSilero(), Grouping(min_silence_us=pause_us), FakeTranscriber())
    assert len(hearing.words(View(line, 0), 0, 10 * SECOND_US)) == utterances


# -- spans ------------------------------------------------------------------------------------

PROBABILITIES = st.lists(st.sampled_from([0.0, 0.2, 0.34, 0.4, 0.5, 0.6, 1.0]), max_size=80)


@given(PROBABILITIES, st.sampled_from([0, 100_000, 250_000]), st.sampled_from([0, 64_000, 100_000]))
def test_spans_are_in_order_and_long_enough(probabilities, min_speech_us, min_silence_us):
    spans = speech_spans(probabilities, Grouping(0.5, min_speech_us, min_silence_us))
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(set(edges))
    for span in spans:
        assert probabilities[span.first] >= 0.5
        assert (span.end - span.first) * FRAME_US > min_speech_us
    around = list(padded(spans, 3, len(probabilities)))
    for wide, span in zip(around, spans, strict=True):
        assert 0 <= wide.first <= span.first < span.end <= wide.end <= len(probabilities)
    assert all(a.end <= b.first for a, b in itertools.pairwise(around))


@given(st.integers(0, 10**12), st.integers(1, 5_000))
def test_frames_lie_on_the_grid_of_event_time(start_us, count):
    audio = FramedAudio.of(np.ones(count, np.float32), start_us)
    assert audio.first_us % FRAME_US == 0
    assert 0 <= start_us - audio.first_us < FRAME_US
    lead = len(audio.samples) - count
    assert abs(lead * SECOND_US - (start_us - audio.first_us) * RATE) <= SECOND_US // 2
    assert not audio.samples[:lead].any()


@pytest.mark.parametrize("given_as", ["250ms", 250, 250.0, "0.25s"])
def test_durations_of_options(given_as):
    assert duration_us("min_speech", given_as) == 250_000


@pytest.mark.parametrize("wrong", [-1, True, None, "250", "1 week", float("nan"), 10**6])
def test_wrong_durations_name_the_option(wrong):
    with pytest.raises(InvalidInput, match=r"options\.min_speech"):
        duration_us("min_speech", wrong)


# -- text with data ---------------------------------------------------------------------------


def test_said_is_text_and_keeps_its_data_where_it_travels():
    said = Said("he had", {"words": [{"word": " he"}]})
    assert said == "he had"
    assert type(said.upper()) is str
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        back = pickle.loads(pickle.dumps(said, protocol))
        assert (type(back), back, back.data) == (Said, said, said.data)
    assert Said("plain").data == {}


def test_the_data_of_a_text_is_checked_as_data_is():
    found = checked("text", Said("x", {"a": (1, 2)}))
    assert (found, found.data) == ("x", {"a": [1, 2]})
    assert type(checked("text", "plain")) is str
    for wrong in ({"a": float("nan")}, {"a": {1}}, ["a"]):
        with pytest.raises((TypeError, ValueError)):
            checked("text", Said("x", wrong))


def test_a_result_holds_the_text_and_the_data_of_what_was_said():
    opened = Opened(0, 0, "s", 0, SECOND_US, ("mic",), (), {"mic": 1.0}, ("speech", "plain"))
    outputs = {"speech": Said("he had", {"words": [], "a": 1}), "plain": "yes", "faces": {"n": 2}}
    fused = Fused(None, {}, {}, None)
    window = Pending(opened, Entry(opened.lane), Ledger(), None, outputs, {})
    [record] = ResultWriter(load(LOBBY)).write([window], [fused])
    found = json.loads(record.value)
    assert found["text"] == {"plain": "yes", "speech": "he had"}
    assert found["data"] == {"faces": {"n": 2}, "speech": {"a": 1, "words": []}}


def test_said_travels_between_actors_as_it_is():
    said = Said("he had", {"words": [1]})
    sent = pack_results([JobResult(said), JobResult(np.zeros(2, np.float32)), JobResult("plain")])
    first, _, plain = unpack_results(pickle.loads(pickle.dumps(sent)))
    assert (first.output, first.output.data, type(plain.output)) == ("he had", said.data, str)
