"""The three questions that are asked of a run, and its verdict: pure functions of a state."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipelines import LOBBY, load
from states import healthy, recent

from pipeline.monitor.answers import answers_to
from pipeline.monitor.answers.phrases import many, names, number, size, span
from pipeline.monitor.state import StateWriter

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "schemas" / "state.schema.json").read_text("utf-8")
)
ANSWERS = jsonschema.Draft202012Validator(SCHEMA["properties"]["answers"])
LEVELS = ["good", "look", "bad"]
SINCE = "2026-09-21T14:13:20.000Z"


def put(state, path, value):
    """``stages.1.busy_ratio``: a name or a place at a time."""
    *way, last = [int(step) if step.isdecimal() else step for step in path.split(".")]
    for step in way:
        state = state[step]
    assert last in (state if isinstance(state, dict) else range(len(state))), path
    state[last] = value


def changed(**changes):
    """A healthy state with ``stages__1__busy_ratio=0.97`` and the like."""
    state = healthy()
    for path, value in changes.items():
        put(state, path.replace("__", "."), value)
    return state


def hold(*inputs, still=0.1, left=4.0):
    told = [{"input": name, "newest": newest, "needed": "2026-09-21T14:13:21.200Z"}
            for name, newest in inputs]  # fmt: skip
    return {"stream": "cam-7", "start": SINCE, "end": "2026-09-21T14:13:21.000Z", "inputs": told,
            "still_seconds": still, "left_seconds": left}  # fmt: skip


def behind(name="mic", seconds=4.2, unknown=False):
    return {"input": name, "unknown_end": unknown, "seconds": seconds}


SLOW = {
    "stages__1__busy_ratio": 0.98,
    "stages__1__queue__p50_seconds": 5.6,
    "stages__1__queue_windows": 40,
}
ALONE = {"stages__1__busy_ratio": 0.98, "stages__1__queue_windows": 1, "stages__1__holds": True}
GPU = {"stages__1__replicas": [{"name": "colour-0", "device": "cuda:0", "gpus": ["0"]}]}
TABLE = [
    ("well", {}, "verdict", "well", None,
     ["All is well: 3 inputs, 2.0 results a second, half of them within"]),
    ("starting", {"ready": False, "not_ready": "starting"}, "verdict", "not-ready", None,
     ["Not ready: starting."]),
    ("nothing comes", {"rates__records_per_second": 0.0}, "verdict", "well", None,
     ["Ready. No record comes in just now."]),
    ("a stage that fails",
     {"stages__1__failing": {"windows": 9, "failed": 8, "since": SINCE, "error": "no"}},
     "verdict", "failing", ("stage", "colour"), ["colour fails: 8 of 9 windows", "(no)"]),
    ("lag that grows", {**SLOW, "inputs__0__lag_records": 5_000, "lag_growth_per_second": 12.0},
     "verdict", "behind", ("stage", "colour"),
     ["It falls behind: 5,000 records wait, 12 more a second.", "stages.colour.replicas"]),
    ("a stage that does one window at a time within its timeout",
     {**ALONE, "inputs__0__lag_records": 5_000, "lag_growth_per_second": 12.0},
     "bottleneck", "stage", ("stage", "colour"), ["The stage colour: its replica", "98 %"]),
    ("lag that is worked off", {"inputs__0__lag_records": 5_000, "lag_growth_per_second": -40.0},
     "verdict", "well", None, ["All is well"]),
    ("no commits", {"lately__commits": 0, "lately__seconds": 60.0, "slots__0__in_flight_bytes": 5},
     "verdict", "no-commits", None, ["Nothing was committed for 60 s"]),
    ("dead letters",
     {"lately__dead_letters": 3,
      "dead_letters": [{"reason": "undecodable", "count": 9, "lately": 3},
                       {"reason": "future", "count": 4, "lately": 0}]},
     "verdict", "dead-letters", None, ["3 dead letters in the last minute (undecodable)"]),
    ("late records", {"lately__late": 180}, "verdict", "late", None, ["10 % of the records"]),
    ("one late record", {"lately__late": 1}, "verdict", "well", None, []),
    ("restarts", {"lately__restarts": 1}, "verdict", "restarts", None, ["1 actor ended"]),
    ("drift", {"stages__0__drift": 1.2}, "verdict", "drift", ("stage", "sound"), []),
    ("an input that is silent",
     {"lanes__1__hold": hold(("mic", SINCE), still=8.2), "lanes__1__overdue": True},
     "verdict", "held", ("lane", "1"),
     ["mic of cam-7 is silent: its windows wait for it in lane 1, and come 5.0 s later"]),
    # -- why does my window not fire
    ("it fires", {}, "window", "fires", ("lane", "0"), ["They do fire: 2.0 a second."]),
    ("held by one",
     {"lanes__1__hold": hold(("mic", SINCE), still=8.2, left=3.1), "lanes__1__overdue": True},
     "window", "held", ("lane", "1"),
     ["Lane 1: the window from 2026-09-21T14:13:20.000Z of cam-7 waits for mic",
      "newest record there ends at 2026-09-21T14:13:20.000Z, and so it has stood for 8.2 s",
      "a record of mic that ends at 2026-09-21T14:13:21.200Z or later",
      "without one in 3.1 s (windows.idle)"]),
    ("held by two", {"lanes__0__hold": hold(("cam", None), ("mic", SINCE)),
                     "lanes__0__overdue": True},
     "window", "held", ("lane", "0"),
     ["waits for cam and mic: cam has records, but none of this stream: are the keys the same?"]),
    ("an input that never sent",
     {"lanes__0__hold": hold(("cam", None)), "lanes__0__overdue": True, "inputs__1__records": 0},
     "window", "held", ("lane", "0"), ["cam has sent nothing yet: does its source run"]),
    ("a log that is not sent", {"lanes__0__behind": behind()}, "window", "log", ("lane", "0"),
     ["Lane 0 has waited 4.2 s for the log of mic", "have not been fetched"]),
    ("an end that is not told", {"lanes__1__behind": behind(unknown=True)}, "window", "log",
     ("lane", "1"), ["the broker does not say where it ends"]),
    ("a fetch on its way", {"lanes__0__behind": behind(seconds=0.3)}, "window", "fires",
     ("lane", "0"), []),
    ("credit", {"lanes__1__full": True, "slots__1__in_flight_bytes": 1 << 28}, "window", "credit",
     ("lane", "1"), ["limits.in_flight_bytes allows, 256 MiB (256 MiB)"]),
    ("slow stages", SLOW, "window", "encoding", ("stage", "colour"),
     ["wait for colour: 40 windows are queued or under way"]),
    ("nothing at all",
     {"rates__records_per_second": 0.0, "lanes__0__hold": None, "lanes__1__hold": None,
      **{f"inputs__{n}__records": 0 for n in range(3)}},
     "window", "no-records", None, ["nobody has sent to in.mic, in.cam and in.chat"]),
    # -- where is the bottleneck
    ("none", {}, "bottleneck", "none", ("stage", "sound"), ["about 10 times as much"]),
    ("none, though busy", {"stages__1__busy_ratio": 0.95}, "bottleneck", "none",
     ("stage", "colour"), ["busy 95 %, and keeps up"]),
    ("a stage", SLOW, "bottleneck", "stage", ("stage", "colour"),
     ["its replica on cpu is busy 98 %, and 40 windows are there; a batch takes 75 ms.",
      "a GPU or a smaller model"]),
    ("a stage on GPUs", {**SLOW, **GPU}, "bottleneck", "stage", ("stage", "colour"),
     ["its replica on cuda:0 is busy", "on more GPUs"]),
    ("decoding", {**SLOW, **GPU, "stages__1__prepare_ratio": 0.62}, "bottleneck", "decode",
     ("stage", "colour"), ["62 % of its time goes into decoding", "a faster GPU does not"]),
    ("the broker", {**SLOW, "lanes__0__behind": behind()}, "bottleneck", "kafka", ("lane", "0"),
     ["Kafka: 1 lane waits for the log of mic"]),
    ("the commit", {"commit__p50_seconds": 2.0}, "bottleneck", "commit", None,
     ["a transaction takes 2.0 s, longer than commit_interval (20 ms)"]),
    ("memory", {"lanes__1__full": True}, "bottleneck", "memory", ("slot", "1"), ["slot 1"]),
    ("reading", {"inputs__0__lag_records": 900, "lag_growth_per_second": 9.0}, "bottleneck",
     "ingest", None, ["900 records wait and their number grows"]),
    ("a backlog", {"inputs__0__lag_records": 900, "lag_growth_per_second": -9.0}, "bottleneck",
     "none", ("stage", "sound"), ["A backlog of 900 records is being worked off."]),
    # -- why is my batch not full, my GPU idle
    ("arrivals", GPU, "batch", "arrivals", ("stage", "colour"),
     ["colour on cuda:0 is busy 10 % with batches of 2.0 of at most 64: only 2.0 windows a"]),
    ("used fully", {**GPU, "stages__1__busy_ratio": 1.0, "stages__1__batch_size": 63.0}, "batch",
     "full", ("stage", "colour"), ["used fully"]),
    ("a batch takes what waits", {"stages__1__busy_ratio": 0.97}, "batch", "latency",
     ("stage", "colour"), ["more did not wait"]),
    ("decoding starves it", {"stages__1__busy_ratio": 0.5, "stages__1__prepare_ratio": 0.7},
     "batch", "decode", ("stage", "colour"), ["70 % of the time of a batch"]),
    ("no replica", {**GPU, "stages__0__replicas": []}, "batch", "arrivals", ("stage", "colour"),
     []),
    ("credit starves it", {"lanes__0__full": True}, "batch", "credit", ("stage", "sound"),
     ["limits.in_flight_bytes (256 MiB)"]),
    ("the broker starves it",
     {"lanes__0__behind": behind(), "inputs__0__lag_records": 900}, "batch", "kafka",
     ("stage", "sound"), ["the log of mic"]),
    ("transport", {"stages__0__transfer_ratio": 0.8}, "batch", "transfer", ("stage", "sound"),
     ["80 % of the way of a batch is transport"]),
    ("upstream", {**SLOW, **{"stages__0__of": ["colour"]}}, "batch", "latency",
     ("stage", "colour"), []),
    ("a clock", {"lanes__0__hold": hold(("mic", SINCE)), "lanes__0__overdue": True,
                 "stages__0__windows_per_second": 0.0}, "batch", "clock", ("stage", "sound"),
     ["no window closes: lane 0 waits for mic"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "question", "cause", "at", "told"),
    [row[1:] for row in TABLE],
    ids=[f"{row[2]}: {row[0]}" for row in TABLE],
)
def test_what_is_wrong_is_named(changes, question, cause, at, told):
    state = changed(**changes)
    answer = answers_to(state)[question]
    assert (answer["cause"], answer["at"]) == (
        cause,
        at and {"kind": at[0], "name": at[1]},
    ), answer["words"]
    for words in told:
        assert words in answer["words"]


def test_a_stage_that_waits_for_another_says_so():
    answer = answers_to(changed(**SLOW, **{"stages__0__of": ["colour"]}))["batch"]
    of = {each["at"]["name"]: each for each in answer["more"]}
    assert of["sound"]["cause"] == "upstream"
    assert "it waits for colour" in of["sound"]["words"]


def test_every_lane_is_told_of_the_worst_first():
    state = changed(lanes__1__hold=hold(("mic", SINCE)), lanes__1__overdue=True)
    more = answers_to(state)["window"]["more"]
    assert [each["at"]["name"] for each in more] == ["1", "0"]


share = st.none() | st.floats(0, 1)
seconds = st.none() | st.floats(0, 400)
counts = st.integers(0, 10_000)
CHANGES = {
    **{f"stages__{n}__{key}": values for n in range(3) for key, values in {
        "busy_ratio": share, "prepare_ratio": share, "transfer_ratio": share,
        "batch_size": st.none() | st.floats(1, 64), "queue_windows": counts,
        "holds": st.booleans(), "queue__p50_seconds": seconds, "compute__p50_seconds": seconds,
        "windows_per_second": seconds, "replicas": st.just([]),
        "drift": st.none() | st.floats(0, 9)}.items()},
    **{f"inputs__{n}__{key}": counts for n in range(3) for key in ("lag_records", "records")},
    **{f"lanes__{n}__{key}": values for n in range(2) for key, values in {
        "overdue": st.booleans(), "full": st.booleans(),
        "behind": st.none() | st.builds(behind, seconds=st.floats(0, 99), unknown=st.booleans()),
        "hold": st.none() | st.builds(hold, st.tuples(st.sampled_from(["mic", "cam"]),
                                                      st.none() | st.just(SINCE)),
                                      still=st.floats(0, 99), left=st.floats(-9, 99))}.items()},
    **{f"lately__{key}": counts for key in
       ("late", "dead_letters", "forced", "restarts", "commits", "retried")},
    "ready": st.booleans(),
    "rates__records_per_second": seconds,
    "rates__windows_per_second": seconds,
    "latency__p50_seconds": seconds,
    "commit__p50_seconds": seconds,
    "lag_growth_per_second": st.none() | st.floats(-99, 99),
    "slots__0__in_flight_bytes": counts,
}  # fmt: skip
SOME = st.fixed_dictionaries({}, optional=CHANGES)


@given(SOME)
@settings(max_examples=100, deadline=None)
def test_whatever_the_state_is_there_are_words_about_a_part_that_is_there(changes):
    state = changed(**changes)
    if not state["ready"]:
        state["not_ready"] = "starting"
    answers = answers_to(state)
    ANSWERS.validate(answers)
    parts = {
        "stage": {each["name"] for each in state["stages"]},
        "input": {each["name"] for each in state["inputs"]},
        "lane": {str(each["lane"]) for each in state["lanes"]},
        "slot": {str(each["slot"]) for each in state["slots"]},
    }
    verdict = answers["verdict"]
    every = [verdict, *verdict["troubles"]]
    every += [one for name in ("window", "batch", "bottleneck") for one in
              (answers[name], *answers[name]["more"])]  # fmt: skip
    for one in every:
        assert one["words"].endswith((".", "?"))
        assert "  " not in one["words"]
        assert "None" not in one["words"]
        assert one["at"] is None or one["at"]["name"] in parts[one["at"]["kind"]]
    levels = [LEVELS.index(one["level"]) for one in verdict["troubles"]]
    assert levels == sorted(levels, reverse=True)
    assert LEVELS.index(verdict["level"]) == max(levels, default=0)


@given(SOME, st.sampled_from(["failing", "dead_letters", "restarts", "drift"]))
@settings(max_examples=50, deadline=None)
def test_one_more_trouble_never_makes_the_verdict_better(changes, more):
    worse = {
        "failing": {"stages__2__failing": {"windows": 2, "failed": 2, "since": SINCE, "error": ""}},
        "dead_letters": {"lately__dead_letters": 5},
        "restarts": {"lately__restarts": 2},
        "drift": {"stages__2__drift": 3.0},
    }[more]
    changes = {path: value for path, value in changes.items() if path not in worse}
    before, after = (
        answers_to(changed(**each))["verdict"] for each in (changes, {**changes, **worse})
    )
    assert LEVELS.index(after["level"]) >= LEVELS.index(before["level"])
    if changes.get("ready", True):
        assert len(after["troubles"]) == len(before["troubles"]) + 1


def test_a_run_that_shows_nothing_yet_is_starting():
    state = StateWriter(load(LOBBY)).state(None, [])
    jsonschema.validate(state, SCHEMA)
    assert {state["answers"][name]["cause"] for name in ("verdict", "window", "bottleneck")} == {
        "not-ready"
    }
    assert state["answers"]["batch"]["cause"] == "starting"


def test_the_state_of_a_run_has_its_answers():
    state = StateWriter(load(LOBBY)).state(recent(), ["s"], stream_count=7)
    jsonschema.validate(state, SCHEMA)
    assert state["answers"]["verdict"]["level"] == "good"
    assert (state["stream_count"], state["lag_growth_per_second"]) == (7, 0)
    hold = state["lanes"][0]["hold"]
    assert hold["inputs"][0]["newest"] < hold["end"] < hold["inputs"][0]["needed"]


def test_numbers_as_words():
    assert [span(s) for s in (0, 0.0004, 0.02, 1, 9.94, 42.4, 400, 9_000)] == [
        "0 s", "0 s", "20 ms", "1.0 s", "9.9 s", "42 s", "7 min", "2 h"]  # fmt: skip
    assert [number(n) for n in (0, 0.4, 9.9, 12.3, 4_700)] == ["0", "0.4", "9.9", "12", "4,700"]
    assert [size(n) for n in (0, 2_048, 5 << 30)] == ["0 B", "2 KiB", "5.0 GiB"]
    assert (many(1, "lane"), many(2_000, "lane")) == ("1 lane", "2,000 lanes")
    assert names(["a"]) == "a"
    assert names(["a", "b", "c"]) == "a, b and c"
    assert names(["a", "b", "c", "d", "e", "f"]) == "a, b, c, d and 2 more"
