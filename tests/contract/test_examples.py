"""The worked pipelines of docs/examples: the commands of their pages, on a real Kafka, made small.

What they find is measured by `make example`, and stands on their pages.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
from kafka_user import KafkaUser
from model_media import NEEDS_MODELS

from pipeline.cli import main
from pipeline.spec import load

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
sys.path.append(str(EXAMPLES))

import run as runner  # noqa: E402

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300), *NEEDS_MODELS]

# Streams, and windows of each: enough of them for three parts of a training.
SIZES = {
    "ward": {"learn": (4, 10), "told": (2, 5)},
    "call_desk": {"learn": (4, 3), "told": (1, 2)},
    "road": {"learn": (4, 6), "told": (2, 6)},
}


def test_every_example_is_tried_here() -> None:
    assert sorted(SIZES) == runner.NAMES


LONG = ("call_desk", "road")  # by `make test-long`: they take a minute each beside the rest


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.long if n in LONG else ()) for n in SIZES]
)
def test_the_commands_of_its_page_lead_from_media_to_figures(
    name: str, user: KafkaUser, tmp_path: Path, monkeypatch, capfd
) -> None:
    commands = runner.prepared(name, tmp_path / name, SIZES[name]).splitlines()
    assert commands[:2] == ["KAFKA=$(motet kafka start --data kafka)", "export KAFKA"]
    monkeypatch.setenv("KAFKA", user.bootstrap)
    monkeypatch.chdir(tmp_path / name)
    for line in commands[2:]:
        program, *arguments = shlex.split(line)
        assert program == "motet"
        free_port = ["--set", "metrics.port=0"] if arguments[0] == "run" else []
        assert main([*arguments, *free_port]) == 0, line
    assert main(["validate", "pipeline.yaml"]) == 0  # now that it has a head
    capfd.readouterr()

    spec = load(tmp_path / name / "pipeline.yaml", environ={"KAFKA": user.bootstrap})
    streams, windows = SIZES[name]["told"]
    results = [json.loads(record.value) for record in user.read(spec.outputs.results)]
    assert len(results) == streams * windows
    for result in results:
        assert result["failed"] == {}
        assert sum(result["output"]["scores"].values()) == pytest.approx(1)
    assert user.read(spec.outputs.late) == []
    assert user.read(spec.outputs.dead_letter) == []


def test_people_are_boxed_where_they_are() -> None:
    """Of drawn places: most that have people, and none that have nobody."""
    import numpy as np
    import torch
    from road import road_encoders, scene

    from pipeline.encoders.base import Clip

    people = road_encoders.People(torch.device("cpu"), zoom=1.5)
    seen: dict[str, list[bool]] = {"clear": [], "people": []}
    for place in scene.scenes("told", 3, 8):
        for label, picture in zip(place.labels, place.pictures, strict=True):
            if label in seen:
                [said] = people.encode(
                    [Clip("s", 0, 1, frames=[np.asarray(picture)], times_us=[7])]
                )
                boxes = said.data["people"]
                seen[label].append(bool(boxes))
                assert (said == "nobody") == (not boxes)
                for box in boxes:
                    assert (box["time_us"], box["frame_width"], box["frame_height"]) == (
                        7,
                        480,
                        320,
                    )
                    assert 0 <= box["x"] < 480
                    assert 0 <= box["y"] < 320
    assert not any(seen["clear"])
    assert sum(seen["people"]) > len(seen["people"]) / 2
