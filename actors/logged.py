"""The logs of an actor's process: whose they are, and at which level."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pipeline import logs
from pipeline.spec import PipelineSpec
from pipeline.spec.secret import secrets_in

_log = logging.getLogger(__name__)


class Logged:
    """An actor whose lines name pipeline, role, slots and epochs (of an encoder: its stage).

    Format and level at the start are the driver's (``actors/remote.py``).
    """

    def _begin_logs(self, spec: PipelineSpec, role: str, **more: Any) -> None:
        context = {"pipeline": spec.name, "role": role, **more}
        logs.belongs(context, secrets_in([spec.kafka.client, spec.metrics.token]))

    def _owns(self, epochs: Mapping[int, int]) -> None:
        """The slots of an owner, each with its epoch."""
        slots = sorted(epochs)
        logs.belongs({"slot": slots, "epoch": [epochs[slot] for slot in slots]})

    def log_level(self, level: str) -> None:
        """From now on, as the driver's."""
        logs.set_level(level)
        _log.info("log level is %s", level)
