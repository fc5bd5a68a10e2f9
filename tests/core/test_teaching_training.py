"""`motet train` in a process of its own: what is told of it, that it ends, and what it leaves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_heads import made_head
from pipelines import CHAT, load

from pipeline.cli.teaching import begin_teaching, train_command
from pipeline.cli.terminal import progress
from pipeline.encoders.checking import check_pipeline
from pipeline.errors import InvalidInput, Refused
from pipeline.fusion.rules import head_in_force
from pipeline.spec.evaluation_model import EvaluationSpec
from pipeline.spec.head_card import features_of
from pipeline.spec.head_store import HeadStore
from pipeline.spec.teaching import labels_topic, teachable
from pipeline.tasks.deploying import deploy
from pipeline.teaching.figures import summary
from pipeline.teaching.heads import Heads
from pipeline.teaching.training_process import TrainingProcess
from pipeline.training.feature_set import Row, writing

ALLOWED = {"metrics.ingest": True}


@pytest.fixture
def training():
    made = TrainingProcess()
    yield made
    made.close()


def ended(training: TrainingProcess) -> dict:
    """What is told of it once it has ended."""
    assert training._thread is not None
    training._thread.join(120)
    found = training.view()
    assert found is not None
    assert not found["running"]
    return found


def written(folder, spec) -> str:
    """An exported set in which the first number tells the label."""
    rng = np.random.default_rng(0)
    lengths = check_pipeline(spec)
    with writing(folder, lengths) as writer:
        for number in range(60):
            vector = rng.standard_normal(lengths["words"]).astype(np.float32)
            label = "low" if vector[0] < 0 else "high"
            vector[0] *= 20
            window = f"s{number % 5}", number * 1_000_000, (number + 1) * 1_000_000
            writer.add(Row(*window, label, None, {"words": vector}, None))
        told = {"pipeline": spec.name, "features": features_of(spec), "lengths": lengths}
        writer.close({**told, "windows": None, "sequences": {}})
    return str(folder)


def test_what_is_trained_in_a_process_of_its_own_is_told_deployed_and_taken_back(
    tmp_path, training
):
    file = tmp_path / "chat.yaml"
    changes = {"fusion.rule": "weighted_sum", **ALLOWED}
    made = teachable(load(CHAT, changes, tmp_path))
    file.write_text(json.dumps(_tree(changes)))
    heads = Heads(made, check_pipeline(made), named=False)
    assert head_in_force(made) is None
    features = written(tmp_path / "set", made)
    command = train_command(str(file), ["slots=1"])
    training.start(
        [
            *command,
            "--features",
            features,
            "--out",
            str(heads.taught),
            "--json",
            "--head",
            "logistic",
        ]
    )
    with pytest.raises(Refused, match="a training is at work already"):
        training.start(["--version"])
    found = ended(training)
    assert found["error"] is None, found
    assert found["step"] == "training logistic"
    assert not any(line.startswith("{") for line in found["lines"])
    told = summary(training.told() or {})
    assert told["accuracy"] > 0.8
    assert [one["label"] for one in told["classes"]] == ["high", "low"]
    assert sum(one["labelled"] for one in told["classes"]) == 60
    assert sum(one["held_out"] for one in told["classes"]) == told["split"]["test"]
    right = sum(one["right"] for one in told["classes"])
    assert right / told["split"]["test"] == pytest.approx(told["accuracy"])

    before = heads.told()
    assert (before["before"], [one["sha256"] for one in before["versions"]]) == (False, [None])
    with pytest.raises(InvalidInput, match="train again"):
        heads.deploy("0" * 64)
    assert heads.deploy(told["sha256"]).sha256 == told["sha256"]
    loaded = head_in_force(made)
    assert loaded is not None
    assert loaded.sha256 == told["sha256"]
    after = heads.told()
    assert after["keep"] == "fusion: {head: heads/chat}"
    assert [(one["sha256"], one["in_force"]) for one in after["versions"]] == [
        (told["sha256"], True),
        (None, False),
    ]
    assert after["versions"][0]["accuracy"] == told["accuracy"]
    assert heads.roll_back().sha256 is None
    assert head_in_force(made) is None


def _tree(changes):
    tree = json.loads(json.dumps(CHAT))
    for key, value in changes.items():
        part, name = key.split(".")
        tree.setdefault(part, {})[name] = value
    return tree


def test_an_error_is_told_in_its_own_words(tmp_path, training, monkeypatch):
    monkeypatch.setenv("MOTET_LOG_FORMAT", "json")  # of the run
    training.start(["train", str(tmp_path / "none.yaml"), "--labels", "x", "-o", str(tmp_path)])
    found = ended(training)
    assert "none.yaml" in found["error"]
    assert training.told() is None
    training.start(["--version"])
    assert ended(training)["error"] == "it printed no figures"


def test_it_is_ended_when_it_is_stopped_when_it_is_too_long_and_with_the_run(tmp_path):
    training = TrainingProcess(0.05)
    training.start(["kafka", "status"])
    assert "it took longer than 0.05 s" in ended(training)["error"]
    training = TrainingProcess()
    training.start(["kafka", "status"])
    training.stop()
    assert ended(training)["error"] == "it was stopped"
    training.start(["kafka", "status"])
    process = training._process
    training.close()
    assert process is not None
    assert process.poll() is not None
    with pytest.raises(Refused, match="about to end"):
        training.start(["kafka", "status"])


def test_progress_is_lines_of_json_for_who_started_it(monkeypatch, capsys):
    monkeypatch.setenv("MOTET_PROGRESS", "json")
    with progress("reading", 4.0) as done:
        for step in range(1000):
            done(step / 250)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines[0] == {"progress": "reading", "done": 0.0, "total": 4.0}
    assert len(lines) < 100


# -- what a file gets ------------------------------------------------------------------------


def test_a_file_gets_a_topic_of_labels_and_a_place_for_heads_where_it_says_none(tmp_path):
    bare = load(CHAT, {}, tmp_path)
    assert labels_topic(bare) is None
    assert teachable(bare) == bare
    compared = load(CHAT, {"evaluation.labels": "truth"}, tmp_path)
    assert teachable(compared) == compared
    made = teachable(load(CHAT, ALLOWED, tmp_path))
    assert made.evaluation == EvaluationSpec(labels="out.results.labels")
    assert made.fusion.head == "heads/chat"
    own = load(CHAT, {**ALLOWED, "evaluation.labels": "truth", "fusion.head": "h"}, tmp_path)
    assert teachable(own) == own
    assert labels_topic(own) == "truth"
    for key in ("late", "dead_letter"):
        clash = load(CHAT, {**ALLOWED, f"outputs.{key}": "out.results.labels"}, tmp_path)
        with pytest.raises(
            InvalidInput, match=r"evaluation.labels = out.results.labels: .*another"
        ):
            teachable(clash)


def test_a_head_that_no_longer_fits_is_put_out_of_force_and_said(tmp_path, capsys):
    one = load(CHAT, ALLOWED, tmp_path)
    made = teachable(one)
    lengths = check_pipeline(one)
    sha256 = made_head(tmp_path / "new", made, 3)
    spec, teaching = begin_teaching(one, None, lengths, None)
    assert spec == made
    assert teaching is not None
    assert "heads that are deployed on the page go to heads/chat" in capsys.readouterr().err
    deploy(made, tmp_path / "new", lengths, "me")
    assert head_in_force(begin_teaching(one, None, lengths, None)[0]).sha256 == sha256
    assert "warning" not in capsys.readouterr().err
    other = load(CHAT, {**ALLOWED, "stages.words.options.dim": 4}, tmp_path)
    spec, teaching = begin_teaching(other, None, check_pipeline(other), None)
    assert "trained on other features" in (said := capsys.readouterr().err)
    assert "(no head is in force now)" in said
    assert head_in_force(spec) is None


def test_a_file_in_the_place_of_the_folder_ends_teaching_and_not_the_run(tmp_path, capsys):
    spec = load(CHAT, ALLOWED, tmp_path)
    (tmp_path / "heads").write_text("")
    assert begin_teaching(spec, None, check_pipeline(spec), None) == (spec, None)
    assert "nothing can be taught on the page" in capsys.readouterr().err
    assert HeadStore.of(spec) is None
