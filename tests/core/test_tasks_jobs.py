"""From a closed window to the jobs of its stages, and which of its records are dead-lettered."""

from __future__ import annotations

import pytest
from pipelines import LOBBY, RATE, SECOND_US, closed, load, media

from pipeline.tasks.jobs import JobMaker

CHAIN = {
    "stages": {
        "heard": {"encoder": "user:ToText", "of": "mic"},
        "seen": {"encoder": "user:ToText", "of": "cam"},
        "both": {"encoder": "hash_text", "of": ["seen", "chat", "heard"]},
        "again": {"encoder": "user:ToData", "of": "both", "out": "out.again"},
    },
    "fusion": {"rule": "concat", "of": {"both": 1}},
}


def maker(changes=None):
    return JobMaker(load(LOBBY, changes))


def offsets(job) -> list[tuple[str, int]]:
    return [(r.input, r.log.offset) for r in job.records]


@pytest.mark.parametrize(
    ("present", "running"),
    [
        (["mic"], ["heard", "both", "again"]),
        (["cam"], ["seen", "both", "again"]),
        (["chat"], ["both", "again"]),
        (["mic", "cam", "chat"], ["heard", "seen", "both", "again"]),
    ],
)
def test_a_stage_runs_where_an_input_that_it_reads_through_others_is_present(present, running):
    window = closed(0, *(media(name, 0, 10) for name in present))
    made = maker(CHAIN).make(window)
    assert list(made.jobs) == running
    assert made.missing == tuple(sorted({"mic", "cam", "chat"} - set(present)))


def test_a_job_has_the_records_by_the_order_of_its_inputs_then_of_the_log():
    changes = {"stages": {**CHAIN["stages"]}, "fusion": CHAIN["fusion"]}
    changes["stages"]["all"] = {"encoder": "user:Any", "of": ["chat", "mic", "cam"], "out": "o"}
    window = closed(
        0,
        media("cam", 0, 1, offset=3),
        media("mic", 500, 600, offset=1),
        media("mic", 0, 100, offset=2),
        media("chat", 9, 10, offset=0),
    )
    job = maker(changes).make(window).jobs["all"]
    assert offsets(job) == [("chat", 0), ("mic", 1), ("mic", 2), ("cam", 3)]
    assert (job.stream, job.start_us, job.end_us) == ("s", 0, SECOND_US)
    assert job.upstream == {}


def test_each_stage_gets_its_own_context_and_no_more():
    changes = {
        "stages.words": {"encoder": "hash_text", "of": "chat", "context": {"before": "2s"}},
        "stages.next": {
            "encoder": "hash_text",
            "of": "chat",
            "context": {"before": "1s", "after": "500ms"},
        },
        "stages.plain": {"encoder": "hash_text", "of": "chat"},
        "fusion.of": {"sound": 1, "colour": 1, "words": 1, "next": 1, "plain": 1},
    }
    start, end = 10 * SECOND_US, 11 * SECOND_US
    window = closed(
        start,
        media("chat", start - 2 * SECOND_US - 1, start - 2 * SECOND_US, offset=0),  # before all
        media("chat", start - 2 * SECOND_US, start - 2 * SECOND_US + 1, offset=1),
        media("chat", start - SECOND_US - 1, start - SECOND_US, offset=2),
        media("chat", start - SECOND_US - 1, start - SECOND_US + 1, offset=3),
        media("chat", start - 1, start, offset=4),
        media("chat", start, start + 1, offset=5),
        media("chat", end - 1, end, offset=6),
        media("chat", end, end + 1, offset=7),
        media("chat", end + 499_999, end + 500_000, offset=8),
        media("chat", end + 500_000, end + 500_001, offset=9),
    )
    jobs = maker(changes).make(window).jobs
    found = {name: [offset for _, offset in offsets(job)] for name, job in jobs.items()}
    assert found == {
        "words": [1, 2, 3, 4, 5, 6],
        "next": [3, 4, 5, 6, 7, 8],
        "plain": [5, 6],
    }


def test_a_stage_that_may_resample_gets_fifty_milliseconds_around():
    changes = {"inputs.mic.type": "audio/wav"}
    start, end = SECOND_US, 2 * SECOND_US
    records = [
        media("mic", start - 60_000, start - 50_000, offset=0),
        media("mic", start - 60_000, start - 49_999, offset=1),
        media("mic", start, end, offset=2),
        media("mic", end + 49_999, end + 60_000, offset=3),
        media("mic", end + 50_000, end + 60_000, offset=4),
    ]
    assert offsets(maker(changes).make(closed(start, *records)).jobs["sound"]) == [
        ("mic", 1),
        ("mic", 2),
        ("mic", 3),
    ]
    stated = {"inputs.mic.type": f"audio/L16;rate={RATE};channels=1"}
    assert offsets(maker(stated).make(closed(start, *records)).jobs["sound"]) == [("mic", 2)]


def test_context_alone_makes_no_stage_run():
    changes = {"stages.words.context": {"before": "2s"}}
    start = 5 * SECOND_US
    window = closed(start, media("chat", start - 10, start), media("mic", start, start + 9))
    made = maker(changes).make(window)
    assert list(made.jobs) == ["sound"]
    assert made.missing == ("cam", "chat")


def test_coverage_is_the_share_that_records_of_a_present_audio_input_cover():
    window = closed(
        0,
        media("mic", -SECOND_US, 250_000),
        media("mic", 200_000, 400_000),
        media("mic", 900_000, 3 * SECOND_US),
        media("cam", 0, SECOND_US),
    )
    assert maker().make(window).coverage == {"mic": 0.5}
    assert maker().make(closed(0, media("cam", 0, SECOND_US))).coverage == {}


def test_what_a_window_costs_is_all_that_it_holds():
    window = closed(0, media("mic", 0, 9, payload=b"x" * 40), media("cam", -5, 0, payload=b"y" * 2))
    assert maker().make(window).size_bytes == 42


def test_a_stage_that_failed_has_read_what_overlaps_the_window_itself():
    window = closed(
        0,
        media("chat", -10, 0, offset=1),  # context
        media("chat", 0, 1, offset=2),
        media("mic", -5, 3, offset=4),
        media("cam", 5, 6, offset=7),
        media("cam", SECOND_US, SECOND_US + 1, offset=8),
    )
    jobs = maker(CHAIN)
    assert jobs.read_by("heard", window) == (("in.mic", 0, 4),)
    assert jobs.read_by("again", window) == (
        ("in.cam", 0, 7),
        ("in.chat", 0, 2),
        ("in.mic", 0, 4),
    )


@pytest.mark.parametrize(
    ("hop", "start_us", "last_us"),
    [
        ("1s", 250_000, 0),
        ("250ms", 250_000, 250_000),
        ("250ms", 250_001, 250_000),
        ("250ms", 499_999, 250_000),
        ("400ms", 900_000, 800_000),
        ("300ms", -1, -300_000),
    ],
)
def test_a_record_is_dead_lettered_with_the_last_window_that_it_overlaps(hop, start_us, last_us):
    spec = load(LOBBY, {"windows.hop": hop})
    jobs = JobMaker(spec)
    bad = media("cam", start_us, start_us + 1, offset=5)
    name = ("in.cam", 0, 5)
    hop_us = spec.windows.hop_us
    windows = range(-4 * SECOND_US // hop_us, 4 * SECOND_US // hop_us)
    lettered = [
        k * hop_us
        for k in windows
        if jobs.to_letter("colour", closed(k * hop_us, bad), [(name, "it is broken")])
    ]
    assert lettered == [last_us]
    assert last_us <= start_us < last_us + SECOND_US
    assert jobs.to_letter("colour", closed(last_us, bad), [(name, "it is broken")]) == [
        (bad, "it is broken")
    ]


def test_only_the_first_stage_of_the_file_that_reads_the_input_dead_letters_its_record():
    changes = {
        "stages": {
            "late": {"encoder": "user:ToText", "of": ["other", "cam"], "out": "out.late-text"},
            "other": {"encoder": "user:ToText", "of": "cam"},
            **LOBBY["stages"],
        }
    }
    jobs = maker(changes)
    bad = media("cam", 0, 1, offset=5)
    told = [(("in.cam", 0, 5), "broken")]
    found = {stage: jobs.to_letter(stage, closed(0, bad), told) for stage in changes["stages"]}
    assert found.pop("late") == [(bad, "broken")]
    assert found == {"other": [], "sound": [], "colour": [], "words": []}
