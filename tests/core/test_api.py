"""The pipeline as an object: it equals the file, in what it is, refuses and does."""

from __future__ import annotations

import copy
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pipelines import CHAT, SECOND_US, broker_for, connector_for, sent, values

from pipeline.api import Pipeline
from pipeline.errors import InvalidInput
from pipeline.spec import load
from pipeline.spec.yaml_text import write_yaml
from pipeline.spec.yaml_tree import read_tree

LOBBY = Path(__file__).parent / "spec" / "lobby.yaml"  # the contract's example
KEYS = yaml.safe_load(LOBBY.read_text())


def refuse(path, value, wrong):
    raise AssertionError(f"{path}: {wrong}")


def read(text: str):
    return read_tree(text, lambda _path, found, _plain: found, refuse)


def test_an_object_with_the_keys_of_a_file_is_the_pipeline_of_the_file(monkeypatch):
    monkeypatch.setenv("KAFKA", "elsewhere:9092")
    made = Pipeline(folder=LOBBY.parent, **KEYS)
    spec = load(LOBBY)
    assert made.spec == spec
    assert made.spec.kafka.bootstrap == "elsewhere:9092"
    assert made.spec.decision_hash() == spec.decision_hash()
    assert made.spec.model_hash() == spec.model_hash()
    assert made == Pipeline.load(LOBBY)
    other = copy.deepcopy(KEYS)
    other["windows"]["hop"] = "500ms"
    assert made != Pipeline(folder=LOBBY.parent, **other)


def test_the_version_need_not_be_given():
    keys = {key: value for key, value in KEYS.items() if key != "version"}
    assert Pipeline(**keys).spec == Pipeline(**KEYS).spec


def test_to_yaml_is_a_file_that_gives_the_same_pipeline(tmp_path):
    made = Pipeline(folder=tmp_path, **KEYS)
    path = tmp_path / "again.yaml"
    path.write_text(made.to_yaml())
    assert Pipeline.load(path) == made
    assert "${KAFKA:-127.0.0.1:9092}" in made.to_yaml()
    assert list(yaml.safe_load(made.to_yaml())) == list(KEYS), "in the order that was given"


def test_a_loaded_one_gives_the_text_of_its_file_with_its_comments():
    assert Pipeline.load(LOBBY).to_yaml() == LOBBY.read_text()


texts = st.text(max_size=12) | st.sampled_from(
    ["on", "1e3", "0x1F", "1_000", "null", "~", "<<", "2026-01-31T12:00:00Z", "a: b", "- a", "#",
     "${X:-y}", "${X}", "1.5", ".5", ".inf", " padded ", "two\nlines", "ü", "5%", "200ms", "=", ""]
)  # fmt: skip
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
trees = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)


@given(st.dictionaries(texts, trees, max_size=4))
def test_what_is_written_is_read_back_as_the_very_same_values(tree):
    assert read(write_yaml(tree)) == tree


def test_tuples_paths_and_numbers_of_numpy_are_written_plainly():
    tree = {"a": (1, 2), "b": Path("x/y"), "c": np.float32(0.5), "d": np.int64(3)}
    assert read(write_yaml(tree)) == {"a": [1, 2], "b": "x/y", "c": 0.5, "d": 3}


def test_a_value_that_no_file_can_hold_is_named_with_its_place():
    keys = copy.deepcopy(KEYS)
    keys["stages"]["sound"]["encoder"] = Pipeline
    keys["stages"]["colour"]["options"] = {"bins": [1, {2}]}
    keys["windows"][3] = "x"
    with pytest.raises(InvalidInput) as error:
        Pipeline(**keys)
    assert set(map(str, error.value.problems)) == {
        "stages.sound.encoder: a pipeline file cannot hold a type; "
        "name the class: pipeline.api:Pipeline",
        "stages.colour.options.bins[1]: a pipeline file cannot hold a set; "
        "give text, a number, true or false, a list or a map",
        "windows: its key 3 is no text; give keys that are text",
    }


def test_the_errors_are_those_of_the_file(tmp_path):
    keys = copy.deepcopy(KEYS) | {"nmae": "x"}
    keys["windows"] = {"size": 1, "hop": "2 s"}
    keys["fusion"]["of"]["smell"] = 1
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(keys, sort_keys=False))
    with pytest.raises(InvalidInput) as by_file:
        Pipeline.load(path)
    with pytest.raises(InvalidInput) as by_object:
        Pipeline(**keys)
    assert by_object.value.problems == by_file.value.problems
    assert len(by_file.value.problems) >= 4


def test_secrets_show_in_no_repr():
    client = {"security_protocol": "SASL_SSL", "sasl_plain_password": "hunter2"}
    made = Pipeline(**{**KEYS, "kafka": {"client": client}})
    assert "hunter2" not in repr(made)
    assert "hunter2" not in repr(made.spec)
    assert made.spec.kafka.client["sasl_plain_password"] == "hunter2"


def chat() -> Pipeline:
    return Pipeline(**CHAT)


def log_with(pipeline: Pipeline, records: int):
    broker = broker_for(pipeline.spec, lanes=1)
    for number in range(records):
        broker.append(sent("in.chat", b"said %d" % number, number * SECOND_US))
    return broker


def test_it_runs_in_this_process_and_gives_the_summary():
    pipeline = chat()
    broker = log_with(pipeline, 5)
    summary = pipeline.run(local=True, until_end=True, connector=connector_for(broker))
    assert {key: summary[key] for key in ("records", "windows", "late", "dead_letter")} == {
        "records": 5,
        "windows": 5,
        "late": 0,
        "dead_letter": 0,
    }
    assert len(values(broker, "out.results")) == 5


def test_it_runs_on_a_host_that_is_handed_in():
    pipeline = chat()
    asked = []

    def host(spec, connector, control):
        from pipeline.local import run_local

        asked.append((spec, control.until_end))
        return run_local(spec, connector, control)

    broker = log_with(pipeline, 2)
    summary = pipeline.run(host=host, until_end=True, connector=connector_for(broker))
    assert summary["windows"] == 2
    assert asked == [(pipeline.spec, True)]


@pytest.mark.parametrize("how", [{}, {"local": True, "host": lambda *_: None}])
def test_where_it_runs_has_to_be_said_once(how):
    with pytest.raises(InvalidInput, match="pass local=True, or host=run_on_cluster"):
        chat().run(**how)


def test_a_topic_that_is_missing_is_an_error_that_names_the_command():
    pipeline = chat()
    broker = log_with(pipeline, 0)
    broker.delete_topic("out.late")
    with pytest.raises(InvalidInput, match=r"outputs.late = out.late: .*`motet topics create"):
        pipeline.run(local=True, until_end=True, connector=connector_for(broker))
    assert broker.info("out.late") is None


@pytest.mark.parametrize("by", ["event", "ctrl-c"])
def test_it_drains_when_it_is_told_to(by):
    pipeline = chat()
    broker = log_with(pipeline, 8)
    before = signal.getsignal(signal.SIGINT)
    stop = threading.Event() if by == "event" else None

    def host(spec, connector, control):
        from pipeline.local import run_local

        def when_ready() -> None:
            assert control.ready.wait(30)
            if stop is None:
                os.kill(os.getpid(), signal.SIGINT)
            else:
                stop.set()

        teller = threading.Thread(target=when_ready)
        teller.start()
        try:
            return run_local(spec, connector, control)
        finally:
            teller.join()

    summary = pipeline.run(host=host, stop=stop, connector=connector_for(broker))
    assert summary["windows"] <= 8
    assert signal.getsignal(signal.SIGINT) is before
    rest = pipeline.run(local=True, until_end=True, connector=connector_for(broker))
    assert summary["windows"] + rest["windows"] == 8
    assert len(values(broker, "out.results")) == 8


@pytest.mark.parametrize("demand", [1, 2, 0.5, "1/3"])
def test_gpus_that_are_demanded_and_not_there_are_told_as_by_the_command(monkeypatch, demand):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    keys = copy.deepcopy(CHAT)
    keys["stages"]["words"]["num_gpus"] = demand
    made = Pipeline(**keys)
    broker = broker_for(made.spec)
    with pytest.raises(InvalidInput, match=r"stages.words.num_gpus = .*: the stages demand .*GPU"):
        made.run(local=True, until_end=True, connector=connector_for(broker))


@pytest.mark.parametrize("demand", [0.3, 1.5, -1, True, "half", float("nan"), None])
def test_a_number_of_gpus_that_is_none_is_refused_as_in_a_file(demand):
    keys = copy.deepcopy(CHAT)
    keys["stages"]["words"]["num_gpus"] = demand
    with pytest.raises(InvalidInput, match=r"stages.words.num_gpus.*; write auto, 0, a whole"):
        Pipeline(**keys)
