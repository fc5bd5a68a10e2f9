"""Runs over a part of event time: each gives what the run over all of it gives there."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from pipelines import (
    LOBBY,
    SECOND_US,
    broken_jpeg,
    broker_for,
    committed,
    connector_for,
    header,
    jpeg,
    load,
    sent,
    tone,
    values,
)

from pipeline.local import run_local
from pipeline.slot.ports import TopicPartition
from pipeline.spec import Span, beside, spanned
from pipeline.tasks import ingest
from pipeline.tasks.host import RunControl

LANES = 2
SECONDS = 30
MEDIA = {
    "windows": {"size": "2s", "hop": "500ms", "idle": "500ms", "future_max": "3s"},
    "stages.sound.context": {"before": "1s", "after": "500ms"},
    "stages.words.out": "out.words",
    "limits.dead_letter_rate": "100%",
}


def produce(broker) -> None:
    """Sound, pictures and words of two streams a lane; some come late, some cannot be decoded."""
    rng = random.Random(3)
    pictures = [jpeg((n * 20, 80, 200)) for n in range(6)] + [broken_jpeg()]
    for number in range(SECONDS * 2):
        at_us = number * 500_000
        for lane in range(LANES):
            for name in "ab":
                place = {"stream": f"{name}-{lane}", "lane": lane, "append_us": at_us + SECOND_US}
                late_us = rng.choice([0, 0, 0, 0, 4 * SECOND_US])
                mic_us = max(0, at_us - late_us)
                broker.append(sent("in.mic", tone(300, 0.5), mic_us, **place))
                cam = rng.choice(pictures)
                broker.append(sent("in.cam", cam, at_us, length_us=700_000, **place))
                if number % 3 == 0:
                    broker.append(sent("in.chat", b"said %d" % number, at_us, **place))


def whole():
    spec = load(LOBBY, MEDIA)
    broker = broker_for(spec, lanes=LANES)
    produce(broker)
    totals, _ = run_local(spec, connector_for(broker), RunControl(until_end=True))
    return spec, broker, totals


def restricted(spec, broker, span: Span, name: str):
    made = spanned(beside(spec, name), span, start_given=False)
    for topic in made.topics_out():
        broker.create_topic(topic, LANES)
    totals, _ = run_local(made, connector_for(broker), RunControl(until_end=True))
    return made, totals


def results(broker, topic: str, span: Span) -> list:
    found = []
    for value in values(broker, topic):
        del value["model"]
        window = value["window"]
        if span.holds(window["start_us"], window["end_us"]):
            found.append(value)
    return sorted(found, key=lambda v: (v["stream"], v["window"]["start_us"]))


def late(broker, topic: str, span: Span) -> Counter:
    """Pairs of record and missed window that lie in the span."""
    found: Counter = Counter()
    for record in committed(broker, topic):
        place = tuple(header(record, f"motet-{key}") for key in ("topic", "partition", "offset"))
        for start in map(int, header(record, "motet-windows").split(",")):
            if span.holds(start, start + 2 * SECOND_US):
                found[place, start] += 1
    return found


@pytest.fixture(scope="module")
def all_of_it():
    return whole()


@pytest.mark.parametrize(
    ("begin", "end"), [(None, 9.7), (12.25, None), (12, 14), (10.25, 19.9), (0, 30), (40, 50)]
)
def test_a_span_gives_what_the_whole_run_gives_there(all_of_it, begin, end):
    spec, broker, _ = all_of_it
    span = Span(*(None if s is None else round(s * SECOND_US) for s in (begin, end)))
    name = f"fix-{begin}-{end}".replace(".", "")[:60].lower()
    made, totals = restricted(spec, broker, span, name)
    expected = results(broker, spec.outputs.results, span)
    assert results(broker, made.outputs.results, Span()) == expected
    assert bool(expected) == (begin != 40)
    assert totals.windows == len(expected)
    assert late(broker, made.outputs.late, Span()) == late(broker, spec.outputs.late, span)
    fates = Counter(totals.fates)
    missed = sum(n for (_, fate), n in fates.items() if fate == "late")
    assert missed == late(broker, made.outputs.late, Span()).total()
    assert len(committed(broker, made.outputs.late)) == totals.late


def test_an_undecodable_record_is_told_with_the_last_window_of_the_span(all_of_it):
    """Each once, also where the last window that it overlaps lies behind the span."""
    spec, broker, _ = all_of_it
    span = Span(10 * SECOND_US, 13 * SECOND_US)
    made, _ = restricted(spec, broker, span, "letters")
    told = Counter(
        (header(r, "motet-topic"), header(r, "motet-partition"), header(r, "motet-offset"))
        for r in committed(broker, made.outputs.dead_letter)
        if header(r, "motet-reason") == "undecodable"
    )
    broken = {
        ("in.cam", str(r.partition), str(r.offset))
        for r in committed(broker, "in.cam")
        if r.value == broken_jpeg()
        and span.from_us < r.timestamp_us - SECOND_US + 700_000
        and r.timestamp_us - SECOND_US < span.to_us
    }
    assert broken
    assert told == Counter(broken)


def test_it_reads_only_what_the_span_needs_and_ends_when_that_is_over(all_of_it, monkeypatch):
    monkeypatch.setattr(ingest, "STEPS_MAX", 16)
    spec, broker, totals = all_of_it
    made, some = restricted(spec, broker, Span(14 * SECOND_US, 16 * SECOND_US), "short")
    read, there = sum(some.records.values()), sum(totals.records.values())
    assert read < there / 2
    places = [TopicPartition(t, lane) for t in spec.topics_in() for lane in range(LANES)]
    ends = connector_for(broker).control().stable_ends(places)
    for place in places:
        assert 0 < broker.committed("short", place).offset < ends[place]
    again, _ = run_local(made, connector_for(broker), RunControl(until_end=True))
    assert (again.windows, sum(again.records.values())) == (0, 0)


def test_records_that_come_later_are_still_taken_up_to_the_end_of_the_span(all_of_it):
    spec = load(LOBBY, MEDIA)
    broker = broker_for(spec, lanes=LANES)
    made = spanned(spec, Span(None, 25 * SECOND_US), start_given=False)
    run_local(made, connector_for(broker), RunControl(until_end=True))
    produce(broker)
    run_local(made, connector_for(broker), RunControl(until_end=True))
    _, whole_broker, _ = all_of_it
    expected = results(whole_broker, spec.outputs.results, made.span)
    assert results(broker, spec.outputs.results, Span()) == expected
