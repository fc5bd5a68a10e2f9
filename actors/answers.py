"""What actors answer when they are asked for the first time, or have ended, in words."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from pipeline.errors import MotetError

START_S_MAX = 120.0
ROOM_S_MAX = 600.0  # that a node which is to be added may take to come


def answered(reference: Any) -> bool:
    """Whether a ready reference holds an answer, and not a death."""
    try:
        ray.get(reference)
    except (RayActorError, RayTaskError):
        return False
    return True


def why_of(reference: Any) -> str:
    """Why an actor has ended whose watch this is."""
    try:
        ray.get(reference)
    except (RayActorError, RayTaskError) as error:
        return cause_of(error)
    return "it ended"


def device_of(name: str, reference: Any, limit_s: float = START_S_MAX) -> dict[str, object]:
    """Waits for a replica: one whose device is not as demanded ends the run here."""
    try:
        told: dict[str, object] = ray.get(reference, timeout=limit_s)
    except GetTimeoutError as error:
        raise MotetError(
            f"stage replica {name}: Ray placed it nowhere within "
            f"{limit_s:g} s; free CPUs or GPUs, or lower replicas and num_gpus"
        ) from error
    except (RayActorError, RayTaskError) as error:
        raise MotetError(f"stage replica {name}: {cause_of(error)}") from error
    return told


def cause_of(error: BaseException) -> str:
    """The line of one of Ray's errors that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # behind that stand half a page of guesses about the machine
    return lines[-1].partition(" Worker exit type:")[0] if lines else repr(error)
