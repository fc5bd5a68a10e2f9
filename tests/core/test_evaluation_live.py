"""Labels that are published after the results: what a run then says, to the digit."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from made_heads import made_head
from onlookers import scraped, total
from pipelines import CHAT, SECOND_US, broker_for, connector_for, load, sent, values
from shown import ask, port_of

from pipeline.cli.topic_plan import problems_of, wanted_topics
from pipeline.clock import wall_us
from pipeline.connectors import topic_reader
from pipeline.errors import InvalidInput
from pipeline.evaluation import live as live_module
from pipeline.evaluation.live import live_evaluation
from pipeline.local import run_local
from pipeline.monitor import serve
from pipeline.slot.ports import OutRecord, TopicInfo
from pipeline.tasks.host import RunControl

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "schemas" / "state.schema.json").read_text("utf-8")
)
PATIENCE_S = 30.0
WINDOWS = 8
CHANGES = {
    "fusion.head": "heads/mood",
    "windows.idle": "0ms",
    "stages.upper": {"encoder": "user_encoders:Upper", "of": "chat"},
    "evaluation": {"labels": "truth", "text": "upper", "normalizer": "plain"},
    # nobody but the evaluation reads what it says
    "stages.upper.out": "out.upper",
}
SAID = ["one two three", "four five six"]


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.setattr(live_module, "EVERY_US", 10_000)
    monkeypatch.setattr(topic_reader, "RETRY_S", 0.01)
    made = load(CHAT, CHANGES, tmp_path)
    made_head(tmp_path / "heads" / "mood", made, 1)
    return made


def labelled(broker, start_us: int, end_us: int, **what: str) -> None:
    value = json.dumps({"start_us": start_us, "end_us": end_us, **what}).encode()
    broker.append(OutRecord("truth", 0, b"s", value, []))  # the stream is its key


def state_when(monitor, holds):
    """The evaluation as ``/api/state`` has it, once that is so."""
    pause, deadline_us = threading.Event(), wall_us() + PATIENCE_S * 1e6
    while True:
        state = json.loads(ask(monitor, "/api/state").content)
        found = state["evaluation"]
        if found is not None and holds(found):
            Draft202012Validator(SCHEMA).validate(state)
            return found
        assert wall_us() < deadline_us, found
        pause.wait(0.01)


def run_of(spec, broker) -> None:
    for number in range(WINDOWS):
        text = SAID[number % 2].encode()
        broker.append(sent("in.chat", text, number * SECOND_US, length_us=SECOND_US))
    run_local(spec, connector_for(broker), RunControl(until_end=True))


@pytest.fixture
def shown(spec):
    """A broker with results, and a monitor that looks at them."""
    broker = broker_for(spec)
    broker.create_topic("truth", 1)
    run_of(spec, broker)
    connector = connector_for(broker)
    monitor = serve(spec, connector, ("127.0.0.1", 0), live=live_evaluation(spec, connector))
    try:
        yield broker, monitor
    finally:
        monitor.close()


def test_labels_that_come_after_the_results_give_the_figures_by_hand(spec, shown):
    broker, monitor = shown
    answered = [v["output"]["label"] for v in values(broker, "out.results")]
    state = state_when(monitor, lambda found: found["unlabelled"] == WINDOWS)
    assert (state["classes"], state["text"]["wer"]) == (None, None)
    names = sorted(values(broker, "out.results")[0]["output"]["scores"])
    other = dict(zip(names, reversed(names), strict=True))
    truth = [*answered[:3], other[answered[3]]]
    for number, label in enumerate(truth):
        labelled(broker, number * SECOND_US, (number + 1) * SECOND_US, label=label)
    labelled(broker, 0, 2 * SECOND_US, text="One two three, four five six.")
    labelled(broker, 2 * SECOND_US, 4 * SECOND_US, text="one two four four six")
    labelled(broker, 7 * SECOND_US, 9 * SECOND_US, text="its end is to come")
    broker.append(OutRecord("truth", 0, b"s", b"no JSON", []))
    foreign = {**values(broker, "out.results")[0], "window": {"start_us": "0", "end_us": "1"}}
    for value in (b"no result", json.dumps(foreign).encode()):
        broker.append(OutRecord("out.results", 0, b"s", value, []))
    state = state_when(monitor, lambda found: found["labels"]["unreadable"] == 3)
    assert state["classes"]["accuracy"] == 3 / 4
    assert state["unlabelled"] == WINDOWS - 4
    assert state["text"]["wer"] == 2 / 11  # one word wrong, one put in
    assert (state["text"]["texts"], state["text"]["waiting"]) == (2, 1)
    assert state["labels"] == {"met": 6, "unmet": 0, "unreadable": 3}
    recalls = [
        sum(a == t == name for a, t in zip(answered, truth, strict=False)) / truth.count(name)
        for name in set(truth)
    ]
    assert state["classes"]["balanced_accuracy"] == pytest.approx(sum(recalls) / len(recalls))
    found = scraped(monitor)
    assert total(found, "motet_live_accuracy") == 3 / 4
    assert total(found, "motet_live_word_error_rate", stage="upper") == 2 / 11
    assert total(found, "motet_live_windows", answer="right") == 3
    assert total(found, "motet_live_windows", answer="wrong") == 1
    assert total(found, "motet_live_windows", answer="unlabelled") == WINDOWS - 4
    assert total(found, "motet_live_labels_total", outcome="met") == 6
    assert state["label_delay_seconds"] == total(found, "motet_live_label_delay_seconds") > 0
    assert 0 < total(found, "motet_live_bleu", stage="upper") < 100


def test_after_a_restart_the_figures_are_the_same(spec, shown):
    broker, monitor = shown
    labelled(broker, 0, 5 * SECOND_US, label="never learned")
    before = state_when(monitor, lambda found: found["labels"]["met"] == 1)
    assert before["classes"]["right"] == 0
    connector = connector_for(broker)
    again = serve(spec, connector, ("127.0.0.1", 0), live=live_evaluation(spec, connector))
    try:
        assert port_of(again) != port_of(monitor)
        assert state_when(again, lambda found: found["classes"] is not None) == before
    finally:
        again.close()


def test_a_topic_that_is_not_there_is_told_and_waited_for(spec):
    broker = broker_for(spec)
    run_of(spec, broker)
    connector = connector_for(broker)
    said: list[str] = []
    live = live_evaluation(spec, connector, said.append)
    monitor = serve(spec, connector, ("127.0.0.1", 0), live=live)
    try:
        state_when(monitor, lambda found: found["problem"] is not None)
        assert said == [
            "motet: warning: live evaluation: topic truth: it is not there; "
            "`motet topics create FILE` makes it"
        ]
        broker.create_topic("truth", 3)
        found = state_when(monitor, lambda found: found["problem"] is None)
        assert found["unlabelled"] in (0, WINDOWS)
        state_when(monitor, lambda found: found["unlabelled"] == WINDOWS)
    finally:
        monitor.close()


@pytest.mark.parametrize("package", ["jiwer", "sacrebleu"])
def test_texts_need_what_measures_them_and_labels_do_not(spec, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    connector = connector_for(broker_for(spec))
    with pytest.raises(InvalidInput) as raised:
        live_evaluation(spec, connector)
    said = f"evaluation.text = upper: {package} is not installed; pip install 'motet[train]'"
    assert str(raised.value) == said
    labels = load(CHAT, {**CHANGES, "evaluation": {"labels": "truth"}}, spec.folder)
    live = live_evaluation(labels, connector)
    assert live is not None
    live.close()


def test_a_file_without_it_has_none():
    spec = load(CHAT)
    assert live_evaluation(spec, connector_for(broker_for(spec))) is None


# -- the file -------------------------------------------------------------------------------


def test_it_changes_neither_windows_nor_results(spec):
    without = load(CHAT, {k: v for k, v in CHANGES.items() if k != "evaluation"}, spec.folder)
    assert without.decision_hash() == spec.decision_hash()
    assert without.model_hash() == spec.model_hash()


def test_its_topic_is_made_and_checked_and_need_not_have_the_lanes(spec):
    wanted = wanted_topics(spec)
    assert wanted[-1].name == "truth"
    assert "truth" not in spec.topics_out()  # a replay would delete it at its end
    there = {topic.name: TopicInfo(4, "id", True, False, 1 << 30) for topic in wanted}
    assert problems_of(wanted, there | {"truth": there["truth"]._replace(partitions=1)}, "") == (
        [],
        [],
    )
    [error], _ = problems_of(wanted, there | {"truth": None}, "make it")
    assert str(error) == "evaluation.labels = truth: it is not there; make it"


@pytest.mark.parametrize(
    ("evaluation", "line"),
    [
        ({"labels": "out.results"}, "evaluation.labels = out.results: is the topic of "
         "outputs.results too; give each its own topic"),
        ({"labels": "in.chat"}, "evaluation.labels = in.chat: is the topic of inputs.chat.topic "
         "too; give each its own topic"),
        ({"labels": "truth", "text": "words"}, "evaluation.text = words: gives vector, not text; "
         "name a stage that gives text"),
        ({"labels": "truth", "text": "uper"},
         "evaluation.text = uper: is no stage; did you mean 'upper'?"),
        ({"text": "upper"}, "evaluation.labels: is missing; add it: 'labels: ...'"),
        ({"labels": "truth", "span": "0s"}, "evaluation.span = 0s: "),
        ({"labels": "truth", "windows": 2_000_000},
         "evaluation.windows = 2000000: must be at most 1000000; give a smaller number"),
        ({"labels": "truth", "window": 5},
         "evaluation.window = 5: is not a key of the file; did you mean 'windows'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_its_key(evaluation, line, tmp_path):
    with pytest.raises(InvalidInput) as raised:
        load(CHAT, {**CHANGES, "evaluation": evaluation}, tmp_path)
    [said] = str(raised.value).splitlines()
    assert said.startswith(line)
