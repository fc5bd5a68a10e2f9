"""The README from top to bottom, on a real Kafka: what it shows runs as it stands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from documents import README, block_with

from pipeline.cli import main

pytestmark = pytest.mark.kafka

block = partial(block_with, README)
PYTHON = [sys.executable, "-u", "-c"]


@pytest.fixture
def folder(kafka, tmp_path, monkeypatch) -> Path:
    """A folder of the reader's own, with KAFKA set, as the README asks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA", kafka)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def test_the_readme_runs_as_it_stands(folder, capsys):
    (folder / "studio.yaml").write_text(block("name: studio"))
    subprocess.run([*PYTHON, block("soundfile.write")], check=True, timeout=60)
    commands = [
        line for line in block("motet kafka start").splitlines() if "kafka start" not in line
    ]
    outputs = {}
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
        outputs[command.split()[1]] = capsys.readouterr().out

    summary = json.loads(outputs["run"])
    [shown] = re.findall(r'`(\{"records".*?), \.\.\.\}`', README.read_text("utf-8"))
    expected = json.loads(shown + "}")
    assert {key: summary[key] for key in expected} == expected
    assert len(outputs["tail"].splitlines()) == expected["windows"]

    command = [*PYTHON, block("KafkaConsumer(")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        lines = [reader.stdout.readline() for _ in range(expected["windows"])]
        reader.kill()
    assert all(line.startswith("cam-7 ") for line in lines)
    assert "'camera', 'chat', 'mic'" in lines[0]
    assert "'words': " in lines[0]

    said = subprocess.run([*PYTHON, block("Pipeline(")], check=True, capture_output=True, text=True)
    assert "'windows': 2" in said.stdout

    loudness = block("class Loudness")
    (folder / "loudness.py").write_text(loudness)
    assert main(["try", "loudness:Loudness", "talk.wav", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["windows"]
    stages, fusion = block('loudness:Loudness", of').split("fusion: {")
    sets = [f"stages.loud={stages.partition('loud:')[2].strip()}"]
    sets.append(f"fusion.of={re.search(r'of: ({.*?})', fusion)[1]}")
    command = ["run", "studio.yaml", "--local", "--until-end", "--set", "name=studio-loud"]
    assert main([*command, *(arg for each in sets for arg in ("--set", each))]) == 0
    assert json.loads(capsys.readouterr().out)["windows"] == expected["windows"]
    assert main(["tail", "studio.yaml", "--from-beginning", "--until-end", "--json"]) == 0
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    ours = [result for result in results if result["model"].startswith("studio-loud@")]
    assert len(ours) == expected["windows"]
    assert all("loud" in result["weights"] for result in ours)
