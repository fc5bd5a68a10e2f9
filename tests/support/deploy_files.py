"""The files of deploy/, read once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROMETHEUS = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
INSTRUCTIONS = [
    (line.partition(" ")[0], line.partition(" ")[2].strip())
    for line in (line.strip() for line in DOCKERFILE.splitlines())
    if re.match(r"[A-Z]+ ", line)
]


def environment_of_the_image() -> dict[str, str]:
    """What ENV sets in the stage that all images of motet have."""
    found: dict[str, str] = {}
    stage = ""
    for word, argument in INSTRUCTIONS:
        stage = argument.rpartition(" ")[2] if word == "FROM" else stage
        if (word, stage) == ("ENV", "runtime"):
            found |= dict(pair.split("=", 1) for pair in argument.split())
    return found
