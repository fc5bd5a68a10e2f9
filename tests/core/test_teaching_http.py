"""``/api/teach``: what it says, what it takes, from whom, and what it writes to the topic."""

from __future__ import annotations

import http.client
import json
import sys
import threading
from contextlib import contextmanager

import pytest
from pipelines import CHAT, SECOND_US, broker_for, committed, connector_for, header, load, values
from shown import Answer, Shown, ask, port_of

from pipeline.connectors.partitioner import partition_for
from pipeline.encoders.checking import check_pipeline
from pipeline.monitor import serve
from pipeline.slot.ports import OutRecord
from pipeline.spec.teaching import teachable
from pipeline.teaching import Teaching, teaching, watching
from pipeline.teaching.heads import Heads
from pipeline.teaching.training_process import TrainingProcess
from pipeline.training.labels import topic_labels

RULE = """
import numpy as np

class Last:
    def __init__(self, *, stages, lengths):
        pass

    def fuse(self, vectors):
        return np.zeros(2, np.float32)
"""
TOPIC = "out.results.labels"
WINDOW = {"stream": "s", "start_us": 0, "end_us": SECOND_US}


def spec_of(tmp_path, **changes):
    return teachable(load(CHAT, {"metrics.ingest": True, **changes}, tmp_path))


def result(second: int, stream: str = "s") -> OutRecord:
    start_us = second * SECOND_US
    told = {
        "stream": stream,
        "window": {"start_us": start_us, "end_us": start_us + SECOND_US},
        "present": ["chat"],
        "output": {"vector": [float(second), 1.0]},
        "text": {"words": "x" * 1000},
        "model": "m",
    }
    return OutRecord("out.results", 0, stream.encode(), json.dumps(told).encode(), [])


@contextmanager
def monitor_of(spec, broker, command=None):
    """A monitor that teaches; no thread is left of it."""
    before = set(threading.enumerate())
    connector = connector_for(broker)
    heads = Heads(spec, check_pipeline(spec), named=False)
    monitor = serve(
        spec, connector, ("127.0.0.1", 0), teaching=Teaching(spec, connector, heads, command)
    )
    try:
        monitor.show(Shown())
        yield monitor
    finally:
        monitor.close()
    names = [t.name for t in threading.enumerate() if t not in before]
    assert [name for name in names if name.startswith(("monitor", "teach"))] == []


@pytest.fixture
def made(tmp_path):
    spec = spec_of(tmp_path)
    broker = broker_for(spec)
    broker.create_topic(TOPIC, 3)
    for second in range(4):
        broker.append(result(second))
    with monitor_of(spec, broker) as monitor:
        yield monitor, broker


def state(monitor, query: str = "") -> dict:
    answer = ask(monitor, f"/api/teach{query}")
    assert answer.status == 200, answer.text
    return json.loads(answer.content)


def post(monitor, name: str, given: object, **headers: str | None) -> Answer:
    """As a page of ours sends it; a header of None is left out."""
    own = {
        "Origin": f"http://127.0.0.1:{port_of(monitor)}",
        "Content-Type": "application/json",
        "X-Motet-Session": state(monitor)["session"] if "X_Motet_Session" not in headers else None,
        **{header.replace("_", "-"): value for header, value in headers.items()},
    }
    body = given if isinstance(given, bytes) else json.dumps(given).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port_of(monitor), timeout=20)
    sent = {header: value for header, value in own.items() if value is not None}
    connection.request("POST", f"/api/teach/{name}", body, sent)
    answer = connection.getresponse()
    found = Answer(answer.status, dict(answer.headers), answer.read())
    connection.close()
    return found


def test_windows_without_a_label_are_offered_and_a_label_is_a_row_of_the_topic(made):
    monitor, broker = made
    first = state(monitor)
    assert (first["topic"], first["windows"], first["labels"]) == (TOPIC, 4, 0)
    assert {one["start_us"] for one in first["offered"]} == {n * SECOND_US for n in range(4)}
    assert len(first["offered"][0]["text"]["words"]) == 300
    answer = post(monitor, "label", {**WINDOW, "label": " calm ", "of": "s"})
    told = json.loads(answer.content)
    assert (answer.status, told["counts"]) == (200, {"calm": 1})
    assert 0 not in {one["start_us"] for one in told["offered"]}
    [row] = values(broker, TOPIC)
    assert row == {**WINDOW, "label": "calm"}
    [record] = committed(broker, TOPIC)
    assert record.partition == partition_for(b"s", 3)
    assert (record.key, header(record, "ce_type")) == (b"s", "motet.label.v1")
    assert header(record, "ce_source") == "motet/chat/page"


def test_a_window_that_is_labelled_again_has_the_newest_label_and_null_takes_it_back(made):
    monitor, broker = made
    connector = connector_for(broker)
    for label in ("calm", "loud"):
        assert post(monitor, "label", {**WINDOW, "label": label}).status == 200
    assert state(monitor)["counts"] == {"loud": 1}
    assert [row.label for row in topic_labels(connector, TOPIC)] == ["loud"]
    assert post(monitor, "label", {**WINDOW, "label": None}).status == 200
    told = state(monitor)
    assert (told["counts"], told["labels"]) == ({}, 0)
    assert 0 in {one["start_us"] for one in told["offered"]}


def test_what_is_skipped_is_not_offered_until_it_is_asked_for_again(made):
    monitor, _ = made
    told = json.loads(post(monitor, "skip", WINDOW).content)
    assert {one["start_us"] for one in told["offered"]} == {n * SECOND_US for n in (1, 2, 3)}
    told = json.loads(post(monitor, "skip", {**WINDOW, "again": True}).content)
    assert len(told["offered"]) == 4
    assert [one["stream"] for one in state(monitor, "?stream=t")["offered"]] == []
    assert len(state(monitor, "?count=2")["offered"]) == 2


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": None}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"X_Motet_Session": None}, 403),
        ({"X_Motet_Session": "guessed"}, 403),
        ({"X_Motet_Session": "gu\xe9ssed"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Host": "evil.example"}, 403),
    ],
)
def test_only_the_page_of_this_run_may_send(made, headers, status):
    monitor, broker = made
    assert post(monitor, "label", {**WINDOW, "label": "calm"}, **headers).status == status
    assert values(broker, TOPIC) == []


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("label", b"{", "send one JSON object"),
        ("label", [], "send one JSON object"),
        ("label", {**WINDOW, "label": ""}, "label: write the name of a class"),
        ("label", {**WINDOW, "label": "a\nb"}, "label: write the name of a class"),
        ("label", {**WINDOW, "label": 3}, "label: write the name of a class"),
        ("label", {**WINDOW, "label": "x" * 65}, "label: 65 characters; at most 64"),
        ("label", {**WINDOW, "stream": "", "label": "x"}, "stream: write the window's stream"),
        ("label", {**WINDOW, "stream": "é" * 129, "label": "x"}, "stream: write"),
        ("label", {**WINDOW, "end_us": 7, "label": "x"}, "those of a window of this pipeline"),
        ("skip", {**WINDOW, "start_us": True}, "those of a window of this pipeline"),
        ("train", {}, "a broker in memory does not allow"),
        ("deploy", {}, "nothing was trained here yet"),
        ("rollback", {}, "no other head was deployed before"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(made, name, given, words):
    monitor, broker = made
    answer = post(monitor, name, given)
    assert (answer.status, words in answer.text) == (400, True), answer.text
    assert values(broker, TOPIC) == []


def test_bodies_and_classes_are_bounded(made, monkeypatch):
    monitor, broker = made
    assert post(monitor, "label", b" " * 5_000).status == 413
    monkeypatch.setattr(teaching, "CLASSES_MAX", 2)
    for second, label in enumerate(["a", "b", "a"]):
        window = {"stream": "s", "start_us": second * SECOND_US, "end_us": (second + 1) * SECOND_US}
        assert post(monitor, "label", {**window, "label": label}).status == 200
    answer = post(monitor, "label", {**WINDOW, "label": "c"})
    assert (answer.status, "2 classes already" in answer.text) == (400, True)
    assert len(values(broker, TOPIC)) == 3
    assert ask(monitor, "/api/teach?count=x").status == 400


def test_training_needs_labels_of_two_classes(tmp_path):
    spec = spec_of(tmp_path)
    broker = broker_for(spec)
    broker.create_topic(TOPIC, 1)
    with monitor_of(spec, broker, ["train", "chat.yaml"]) as monitor:
        command = state(monitor)["training"]["command"]
        assert command.startswith(f"motet train chat.yaml --labels {TOPIC} --out ")
        post(monitor, "label", {**WINDOW, "label": "calm"})
        answer = post(monitor, "train", {})
        assert (answer.status, "1 class has labels" in answer.text) == (400, True), answer.text


def test_a_kind_of_head_is_chosen_among_those_that_the_file_takes(tmp_path, monkeypatch):
    started: list[list[str]] = []
    monkeypatch.setattr(TrainingProcess, "start", lambda _self, asked: started.append(list(asked)))
    spec = spec_of(tmp_path)
    broker = broker_for(spec)
    broker.create_topic(TOPIC, 1)
    with monitor_of(spec, broker, ["train", "chat.yaml"]) as monitor:
        training = state(monitor)["training"]
        on_f = ["linear", "mlp", "logistic", "svm", "naive_bayes"]
        assert training["kinds"] == ["auto", *on_f]
        assert (training["usual"], training["unfit"]) == ("linear", None)
        for second, label in enumerate(["calm", "loud"]):
            start_us = second * SECOND_US
            window = {"stream": "s", "start_us": start_us, "end_us": start_us + SECOND_US}
            post(monitor, "label", {**window, "label": label})
        for head in (None, "svm", "auto"):
            assert post(monitor, "train", {"head": head}).status == 200
        for head in ("gated", "--json", ["svm"], 3):
            answer = post(monitor, "train", {"head": head})
            assert (answer.status, "take one of auto, linear" in answer.text) == (400, True)
    usual, *named = started
    assert usual[-2:] == ["--keep-rule", "--json"]
    assert "--head" not in usual
    assert [each[each.index("--head") + 1] for each in named] == ["svm", "auto"]


def test_a_rule_of_ones_own_has_no_head_and_training_says_so_before_it_begins(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "rule_that_teaches.py").write_text(RULE)
    spec = spec_of(tmp_path, **{"fusion.rule": "rule_that_teaches:Last"})
    broker = broker_for(spec)
    broker.create_topic(TOPIC, 1)
    remedy = "write rule: concat or rule: weighted_sum"
    with monitor_of(spec, broker, ["train", "chat.yaml"]) as monitor:
        training = state(monitor)["training"]
        assert training["kinds"] == []
        assert remedy in training["unfit"]
        answer = post(monitor, "train", {})
        assert (answer.status, remedy in answer.text) == (400, True)
        assert state(monitor)["training"]["now"] is None


def test_a_topic_that_is_missing_is_said_with_the_remedy(tmp_path):
    spec = spec_of(tmp_path)
    broker = broker_for(spec)
    with monitor_of(spec, broker) as monitor:
        told = state(monitor)
        assert told["problem"] == (
            f"topic {TOPIC}: it is not there; `motet topics create FILE` makes it"
        )
        answer = post(monitor, "label", {**WINDOW, "label": "calm"})
        assert (answer.status, "motet topics create" in answer.text) == (409, True)


def test_nobody_asking_costs_nothing_and_who_asks_again_is_shown_what_came_since(made, monkeypatch):
    monitor, broker = made
    state(monitor)
    [thread] = [each for each in threading.enumerate() if each.name == "teach-watch"]
    monkeypatch.setattr(watching, "LINGER_US", 0)
    thread.join(10)
    assert not thread.is_alive()
    broker.append(result(9))
    row = {**WINDOW, "label": "calm"}
    broker.append(OutRecord(TOPIC, 0, b"s", json.dumps(row).encode(), []))
    monkeypatch.setattr(watching, "LINGER_US", 15_000_000)
    told = state(monitor)
    assert 9 * SECOND_US in {one["start_us"] for one in told["offered"]}
    assert told["counts"] == {"calm": 1}


def test_a_token_is_demanded_of_all_of_it(tmp_path):
    spec = spec_of(tmp_path, **{"metrics.token": "secret"})
    broker = broker_for(spec)
    broker.create_topic(TOPIC, 1)
    with monitor_of(spec, broker) as monitor:
        assert ask(monitor, "/api/teach").status == 401
        assert post(monitor, "label", {**WINDOW, "label": "x"}, X_Motet_Session="x").status == 401
        assert ask(monitor, "/api/teach?token=secret").status == 200


def test_it_is_off_unless_the_file_allows_it(tmp_path):
    spec = load(CHAT, {}, tmp_path)
    monitor = serve(spec, connector_for(broker_for(spec)), ("127.0.0.1", 0))
    try:
        assert json.loads(ask(monitor, "/api/teach").content) == {"ingest": False}
        assert post(monitor, "label", WINDOW, X_Motet_Session="x").status == 405
    finally:
        monitor.close()
