"""``motet replay --diff`` over a thousand windows: nothing changes by itself, and a weight changes
exactly the windows that it has a part in."""

from __future__ import annotations

import json
import random

import pytest
import yaml
from pipelines import LOBBY, RATE, broker_for, connector_for, load, sent, tone

from pipeline.cli import connect
from pipeline.cli.app import main
from pipeline.local import run_local
from pipeline.spec import format_rfc3339
from pipeline.tasks.host import RunControl

BEGIN_US = 1_790_000_000_000_000
S = 1_000_000
STREAMS = 20
SECONDS = 50
LANES = 4


@pytest.fixture(scope="module")
def lobby():
    """A thousand windows, read in crumbs: sound in all, texts in some, some of them late.

    Gives the broker, the pipeline's tree, and the windows in which a text was in time.
    """
    tree = {
        "version": 1,
        **LOBBY,
        "kafka": {"bootstrap": "127.0.0.1:1"},
        "windows": {"size": "1s", "idle": "1s"},
        "metrics": {"port": 0},
    }
    tree["inputs"] = {name: LOBBY["inputs"][name] for name in ("mic", "chat")}
    tree["stages"] = {name: LOBBY["stages"][name] for name in ("sound", "words")}
    tree["fusion"] = {"rule": "concat", "of": {"sound": 1, "words": 1}}
    spec = load(tree)
    broker = broker_for(spec, LANES)
    worded = spoken(broker, random.Random(16))
    connector = connector_for(broker, fetch_records=7)
    totals, _ = run_local(spec, connector, RunControl(until_end=True))
    assert totals.windows == STREAMS * SECONDS
    assert totals.late > 50
    return broker, tree, worded


def spoken(broker, rng: random.Random) -> set[str]:
    worded = set()
    for second in range(SECONDS):
        at_us = BEGIN_US + second * S
        for number in range(STREAMS):
            stream, lane = f"cam-{number}", number % LANES
            sound = tone(200 + 7 * number + second, 1.0)[: 2 * RATE]
            broker.append(sent("in.mic", sound, at_us, stream=stream, lane=lane))
            if rng.random() < 0.3:
                text = f"word {rng.randrange(9)}".encode()
                broker.append(sent("in.chat", text, at_us + 500, stream=stream, lane=lane))
                worded.add(f"{stream}/{at_us}")
                if second > 5 and rng.random() < 0.3:  # behind that one: its window has closed
                    late = {"stream": stream, "lane": lane, "append_us": at_us + 500}
                    broker.append(sent("in.chat", b"late", at_us - 5 * S, **late))
    return worded


@pytest.fixture
def replay(lobby, tmp_path, monkeypatch, capsys):
    """Runs the command on the log in memory."""
    broker, tree, _ = lobby
    file = tmp_path / "lobby.yaml"
    file.write_text(yaml.safe_dump(tree))
    monkeypatch.setattr(connect, "connect", lambda *_given, **_named: connector_for(broker))
    span = ["--from", format_rfc3339(BEGIN_US), "--to", format_rfc3339(BEGIN_US + SECONDS * S)]

    def run(*arguments: str):
        capsys.readouterr()
        assert main(["replay", str(file), *span, "--diff", "--json", *arguments]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_the_same_file_answers_a_thousand_windows_the_same(replay):
    found = replay()
    assert found == {
        "windows": STREAMS * SECONDS,
        "changed": [],
        "only_before": [],
        "only_after": [],
    }


def test_one_weight_changes_the_windows_that_have_its_stage_and_no_others(replay, lobby):
    _, _, worded = lobby
    found = replay("--set", "fusion.of.words=2")
    assert (found["windows"], found["only_before"], found["only_after"]) == (1000, [], [])
    assert 200 < len(worded) < 400
    assert {one["result_id"] for one in found["changed"]} == worded
    weight = {"weights.words": {"before": 1.0, "after": 2.0}}
    assert all(one["fields"] == weight for one in found["changed"])
