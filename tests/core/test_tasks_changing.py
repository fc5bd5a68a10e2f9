"""Changes of a running pipeline: what is taken, what is refused and how, and how long it holds."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import jsonschema
import pytest
import yaml
from pipelines import LOBBY, load

from pipeline.cli import main
from pipeline.errors import InvalidInput
from pipeline.spec import load as load_file
from pipeline.spec.change_store import CHANGES_MAX, Change, ChangeStore, in_force
from pipeline.tasks.change_watch import ChangeWatch
from pipeline.tasks.changing import (
    at_start,
    changed,
    changed_keys,
    live_values,
    record,
    record_file,
    resolved,
)
from pipeline.tasks.planning import Resources, owner_count

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "scale.schema.json"
KEYS = ("stages.sound.replicas.min", "stages.sound.replicas.max")


def test_limits_of_stages_replicas_and_the_head_may_change_while_it_runs(tmp_path):
    spec = load(LOBBY, folder=tmp_path)
    new = load(
        LOBBY,
        {
            "stages.sound.replicas": {"min": 2, "max": 5},
            "stages.sound.batch_max": 7,
            "stages.colour.timeout": "9s",
            "stages.words.latency_target": "100ms",
            "fusion.head": "heads/x",
        },
        tmp_path,
    )
    assert changed_keys(new, resolved(spec)) == {
        "stages.sound.replicas.min": 2,
        "stages.sound.replicas.max": 5,
        "stages.sound.batch_max": 7,
        "stages.colour.timeout": 9_000_000,
        "stages.words.latency_target": 100_000,
        "fusion.head": "heads/x",
    }
    assert changed_keys(spec, resolved(spec)) == {}
    after = changed(spec, live_values(new))
    assert resolved(after) == resolved(new)
    assert after.stages["sound"].name == "sound"
    assert after.folder == tmp_path
    assert after.decision_hash() == spec.decision_hash()


@pytest.mark.parametrize(
    ("key", "value", "named", "remedy"),
    [
        ("windows.size", "2s", "windows.size = 2000000: decides", "motet reset FILE"),
        ("windows.idle", "9s", "windows.idle = 9000000: decides", "a new name"),
        ("inputs.mic.out_of_orderness", "9s", "inputs.mic.out_of_orderness", "motet reset"),
        ("stages.sound.context", {"after": "1s"}, "stages.sound.context.after", "motet reset"),
        ("slots", 3, "slots = 3: is taken when a run starts", "stop the run and start it again"),
        ("stages.sound.options.n_mels", 9, "stages.sound.options.n_mels", "start it again"),
        ("fusion.of.sound", 3, "fusion.of.sound", "start it again"),
        ("name", "other", "name = other: is another pipeline", "beside this one"),
    ],
)
def test_what_decides_about_windows_or_is_taken_at_the_start_is_refused_by_name(
    key, value, named, remedy
):
    with pytest.raises(InvalidInput) as refused:
        changed_keys(load(LOBBY, {key: value, "stages.sound.batch_max": 3}), resolved(load(LOBBY)))
    text = str(refused.value)
    assert named in text
    assert remedy in text
    assert "batch_max" not in text


def test_secrets_of_the_file_are_not_told():
    spec = load(LOBBY, {"kafka.client": {"sasl_plain_password": "geheim"}, "metrics.token": "tok"})
    assert "geheim" not in json.dumps(resolved(spec))
    assert "tok" not in json.dumps(resolved(spec)["metrics.token"])


def test_a_number_holds_over_restarts_until_the_file_says_another(tmp_path):
    spec = load(LOBBY, folder=tmp_path)
    store = ChangeStore.of(spec)
    assert at_start(spec, store) == (spec, {})
    record(store, dict.fromkeys(KEYS, 3), spec, "me@here")
    found, values = at_start(spec, store)
    assert values == dict.fromkeys(KEYS, 3)
    assert (found.stages["sound"].replicas_min, found.stages["sound"].replicas_max) == (3, 3)
    assert found.stages["colour"].replicas_max == 1
    edited = load(LOBBY, {"stages.sound.replicas": 2}, tmp_path)
    assert at_start(edited, store) == (edited, {})
    record_file(store, spec, "me@here")
    assert at_start(spec, store) == (spec, {}), "the file as it is was applied"


def test_a_run_takes_what_was_changed_after_its_start_and_nothing_older(tmp_path):
    spec = load(LOBBY, folder=tmp_path)
    store = ChangeStore.of(spec)
    record(store, {"stages.colour.batch_max": 9}, spec, "me@here")
    edited = load(LOBBY, {"stages.colour.batch_max": 5}, tmp_path)
    watch = ChangeWatch(edited)
    assert watch.changed() == []
    record(store, dict.fromkeys(KEYS, 3), edited, "me@here")
    watch.look()
    assert watch.changed() == list(KEYS)
    assert watch.spec.stages["sound"].replicas_min == 3
    assert watch.spec.stages["colour"].batch_max == 5, "not the older change"
    watch.look()
    assert watch.changed() == []


def test_a_file_of_changes_that_is_broken_is_told_and_changes_nothing(tmp_path):
    spec = load(LOBBY, folder=tmp_path)
    watch, store = ChangeWatch(spec), ChangeStore.of(spec)
    store.path.parent.mkdir()
    store.path.write_text("{")
    with pytest.raises(InvalidInput, match="is no list of changes; remove it"):
        watch.look()
    assert watch.changed() == []
    with pytest.raises(InvalidInput, match="changes = "):
        at_start(spec, store)


def test_many_changes_are_folded_and_two_writers_lose_none(tmp_path):
    store = ChangeStore(tmp_path / ".motet" / "x.json")

    def write(name: str) -> None:
        for number in range(CHANGES_MAX):
            store.add(Change(number, "me", {name: number}, {name: 0}))

    writers = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = store.changes()
    assert len(found) == CHANGES_MAX
    assert {key: each.value for key, each in in_force(found).items()} == {"a": 99, "b": 99}


def test_scale_without_a_run_takes_effect_at_the_next_start(tmp_path, capsys):
    path = tmp_path / "lobby.yaml"
    path.write_text(yaml.safe_dump({**LOBBY, "metrics": {"port": 1}}, sort_keys=False))
    assert main(["scale", str(path), "sound=2:6", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    jsonschema.validate(told, json.loads(SCHEMA.read_text()))
    assert told == {
        "values": {"stages.sound.replicas.min": 2, "stages.sound.replicas.max": 6},
        "running": False,
        "taken": False,
    }
    assert main(["scale", str(path), "sound=file"]) == 0
    assert "sound: 1 replica; it takes effect at the next start" in capsys.readouterr().out
    assert main(["scale", str(path), "sound=2", "owners=1"]) == 0
    assert "sound: 2 replicas, 1 owner; it takes effect" in capsys.readouterr().out
    spec = load_file(path)
    now, values = at_start(spec, ChangeStore.of(spec))
    assert (now.ray.owners, values["ray.owners"]) == (1, 1)
    assert owner_count(now, Resources(64, 0)) == 1
    assert owner_count(spec, Resources(64, 0)) == 2, "by CPUs, and no more than slots"
    assert main(["scale", str(path), "owners=file"]) == 0
    assert "owners by CPUs" in capsys.readouterr().out
    assert at_start(spec, ChangeStore.of(spec))[0].ray.owners is None
    for wrong, said in (
        ("owners=0", "is not a number of 1 to 2: each owner has a slot at least"),
        ("owners=3", "write owners=2, or raise `slots`"),
        ("nose=2", "no such stage; stages are: sound, colour, words"),
        ("sound=0", "write sound=2 or sound=1:4"),
        ("sound=4:2", "write sound=2 or sound=1:4"),
    ):
        assert main(["scale", str(path), wrong]) == 2
        assert said in capsys.readouterr().err
    assert main(["apply", str(path)]) == 3
    assert "no run answers at" in capsys.readouterr().err
