"""``motet heads``: deployed, listed and rolled back from the command line."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from made_heads import made_head
from pipelines import CHAT, broker_for, connector_for, load
from shown import Shown, monitor_of, port_of, snapshot

from pipeline.cli import heads
from pipeline.cli.app import main
from pipeline.cli.train_output import say_trained
from pipeline.tasks.view import HeadView
from pipeline.training.feature_set import Row, set_of
from pipeline.training.options import TrainOptions
from pipeline.training.train import train

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
FILE = {"version": 1, "kafka": {"bootstrap": "127.0.0.1:1"}, **CHAT}
SINCE_US = 1_790_000_000_000_000


@pytest.fixture
def motet(capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def file(tmp_path):
    """No run answers where it says."""
    return written(tmp_path, {"host": "127.0.0.1", "port": 1})


def written(folder, metrics, **fusion) -> Path:
    path = folder / "chat.yaml"
    tree = {**FILE, "fusion": {**CHAT["fusion"], "head": "heads/mood", **fusion}}
    path.write_text(yaml.safe_dump({**tree, "metrics": metrics}))
    return path


@pytest.fixture
def made(tmp_path):
    """Folders of two heads and their hashes."""
    folders = [tmp_path / "one", tmp_path / "two"]
    return folders, [made_head(folder, load(CHAT), 90 + n) for n, folder in enumerate(folders)]


def valid(line: str, name: str) -> dict:
    found = json.loads(line)
    jsonschema.validate(found, json.loads((SCHEMAS / f"heads-{name}.schema.json").read_text()))
    return found


def test_heads_of_a_pipeline_that_is_stopped(motet, file, made):
    folders, [one, two] = made
    code, out, err = motet("heads", "deploy", file, folders[0])
    assert (code, err) == (0, "")
    said = f"heads/mood: head {one[:12]} is in force; it takes effect at the next start: no run "
    assert out.startswith(said)
    code, out, _ = motet("heads", "deploy", file, folders[1], "--wait", "--json")
    assert code == 0
    assert valid(out, "deploy") == {
        "folder": "heads/mood", "sha256": two, "previous": one, "running": False, "taken": False,
    }  # fmt: skip
    assert motet("validate", file)[0] == 0
    code, out, _ = motet("heads", "list", file)
    assert code == 0
    head, *rows = [line.split("  ") for line in out.splitlines()]
    assert head[0].strip() == "head"
    assert [row[0] for row in rows] == [one[:12], two[:12]]
    assert "linear" in out
    assert "label 0, label 1" in out
    assert re.search(r"0\.910 +2026-01-31T12:00:00Z", out)
    assert [line.endswith("<-") for line in out.splitlines()] == [False, False, True]
    code, out, _ = motet("heads", "rollback", file, "--json")
    assert (code, valid(out, "rollback")["sha256"]) == (0, one)
    code, out, _ = motet("heads", "rollback", file, "--to", one[:8])
    assert (code, f"head {one[:12]} is in force already" in out) == (0, True)
    listed = valid(motet("heads", "list", file, "--json")[1], "list")["versions"]
    assert [each["sha256"] for each in listed] == [two, one]
    assert [len(each["deployed"]) for each in listed] == [1, 2]
    assert [each["in_force"] for each in listed] == [False, True]
    code, out, _ = motet("heads", "deploy", file, "--none")
    assert (code, "heads/mood: no head is in force, before it head" in out) == (0, True)
    assert valid(motet("heads", "list", file, "--json")[1], "list")["versions"][-1]["kind"] is None


def test_a_folder_that_training_wrote_is_listed(motet, tmp_path, made):
    _, [one, _] = made
    file = written(tmp_path, {"port": 1}, head="one")
    [only] = valid(motet("heads", "list", file, "--json")[1], "list")["versions"]
    assert (only["sha256"], only["deployed"], only["in_force"]) == (one, [], True)
    code, out, _ = motet("heads", "list", file)
    assert (code, out.splitlines()[1].endswith("-         -   <-")) == (0, True)


def test_training_says_what_puts_its_head_in_force(motet, tmp_path, made, capsys):
    rng = np.random.default_rng(0)
    rows = [
        Row(
            f"s{n % 6}", n, n + 1, "ab"[n % 2], None, {"words": np.float32(rng.normal(n % 2, 1, 8))}
        )
        for n in range(60)
    ]
    changes = {"fusion.head": "heads/mood"}
    plain, spec = load(CHAT, {}, tmp_path), load(CHAT, changes, tmp_path)
    data = set_of(rows, {"words": 8}, {"features": {}})
    trained = train(spec.fusion, data, TrainOptions("logistic"))

    def said(folder: str, spec) -> str:
        say_trained(trained, tmp_path / folder, 64 * "f", spec)
        return capsys.readouterr().err.splitlines()[-1].partition("; ")[2]

    deploys = "`motet heads deploy FILE {}` puts it in force, in a run too"
    assert said("heads/new", plain) == "in the file: fusion: {head: heads/new}"
    assert said("heads/mood", spec) == "the next start runs it"
    assert said("heads/new", spec) == deploys.format(tmp_path / "heads" / "new")
    assert motet("heads", "deploy", written(tmp_path, {"port": 1}), made[0][0])[0] == 0
    assert said("heads/mood", spec) == deploys.format(tmp_path / "heads" / "mood")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["deploy", "{file}"], "HEAD, --none: neither is given; name a head's folder, or no head"),
        (["deploy", "{file}", "one", "--none"], "HEAD, --none: both are given"),
        (["deploy", "{file}", "nowhere"], "HEAD = nowhere: nowhere/card.json cannot be read"),
        (["deploy", "{file}", "{one}", "--set", "fusion.normalize=l2"],
         "HEAD = {one}: it was trained on other features: fusion.normalize is l2, and was none"),
        (["deploy", "{file}", "{one}", "--set", "metrics.port=0", "--wait"],
         "metrics.port = 0: a free port was taken"),
        (["rollback", "{file}"], "fusion.head = heads/mood: nothing was deployed there"),
        (["list", "{file}"], "fusion.head = heads/mood: {folder}/heads/mood/card.json cannot be"),
    ],
)  # fmt: skip
def test_what_is_refused_is_told_in_one_line(motet, file, made, arguments, line):
    named = {"file": file, "one": made[0][0], "folder": file.parent}
    code, out, err = motet("heads", *(word.format(**named) for word in arguments))
    assert (code, out) == (2, "")
    assert err.startswith(f"motet: error: {line.format(**named)}"), err
    assert len(err.splitlines()) == 1
    assert not (file.parent / "heads").exists()


def test_a_file_that_names_no_head_is_refused(motet, tmp_path, made):
    file = tmp_path / "plain.yaml"
    file.write_text(yaml.safe_dump(FILE))
    code, _, err = motet("heads", "deploy", file, made[0][0])
    assert code == 2
    assert err.startswith("motet: error: fusion.head: the file names no folder for heads; write")


# -- with a run -------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, made):
    """A run of the file that shows what a test says; the file."""
    spec = load(CHAT)
    view = Shown(snapshot(head=HeadView(made[1][0], "linear", SINCE_US, everywhere=True)))
    with monitor_of(spec, connector_for(broker_for(spec)), view) as monitor:
        yield view, written(tmp_path, {"port": port_of(monitor)})


def show(view, **changes) -> None:
    view.now = replace(view.now, head=replace(view.now.head, **changes))


def test_it_waits_until_every_slot_of_the_run_has_it(motet, run, made, monkeypatch):
    view, file = run
    folders, [_, two] = made
    code, out, _ = motet("heads", "deploy", file, folders[0], "--wait")
    assert (code, "every slot of the run at http://127.0.0.1" in out) == (0, True)
    code, out, _ = motet("heads", "deploy", file, folders[1])
    assert (code, out.strip().endswith("takes it over within seconds")) == (0, True)
    asked = threading.Semaphore(0)
    look = heads.run_state

    def looked(*given, **named):
        asked.release()
        return look(*given, **named)

    monkeypatch.setattr(heads, "run_state", looked)

    def take_over() -> None:
        for changes in ({"sha256": two, "everywhere": False}, {"everywhere": True}):
            assert asked.acquire(timeout=30)
            show(view, **changes)

    taking = threading.Thread(target=take_over)
    taking.start()
    code, out, _ = motet("heads", "deploy", file, folders[1], "--wait", "--json")
    taking.join()
    told = valid(out, "deploy")
    assert (code, told["running"], told["taken"]) == (0, True, True)
    code, out, _ = motet("top", file)
    assert f"head {two[:12]}, since 2026-" in out


def test_a_run_that_does_not_take_it_is_told_why(motet, run, made, monkeypatch):
    view, file = run
    monkeypatch.setattr(heads, "WAIT_S_MAX", 0.4)
    code, _, err = motet("heads", "deploy", file, made[0][1], "--wait")
    assert (code, "did not take it over within 0.4 s" in err) == (1, True)
    show(view, trouble="heads/mood: it hangs")
    code, _, err = motet("heads", "rollback", file, "--to", made[1][1][:9], "--wait")
    assert (code, "does not take it: heads/mood: it hangs" in err) == (1, True)
    view.now = replace(view.now, head=None)
    code, out, _ = motet("heads", "deploy", file, made[0][0], "--wait")
    assert (code, "began without fusion.head: start it anew" in out) == (0, True)


def test_a_run_whose_port_nobody_knows(motet, file, made):
    free = ("--set", "metrics.port=0")
    code, out, _ = motet("heads", "deploy", file, made[0][0], *free, "--json")
    assert (code, valid(out, "deploy")["running"]) == (0, None)
    code, out, _ = motet("heads", "deploy", file, made[0][1], *free)
    assert (code, "a run takes it over within seconds, else the next start" in out) == (0, True)
