"""State dicts of the user's, for the networks that come with weights: read, and compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.encoders.models.weights import model_library
from pipeline.encoders.options import wrong_option
from pipeline.errors import InvalidInput
from pipeline.spec.user_class import one_line

SUFFIXES = (".pth", ".pt", ".safetensors")


def state_dict(path: Path) -> dict[str, Any]:
    """The tensors of a checkpoint; of a .pth only tensors are read, no code."""
    try:
        if path.suffix == ".safetensors":
            found = model_library("safetensors.torch").load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except InvalidInput:
        raise  # a library that is not installed
    except Exception as error:  # each format has errors of its own
        why = f"it cannot be read ({one_line(error)})"
        remedy = "give a state dict: torch.save(net.state_dict(), PATH), or safetensors"
        raise wrong_option("weights", str(path), why, remedy) from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict):
        why = f"it holds a {type(found).__name__}, not a state dict"
        raise wrong_option("weights", str(path), why, "save net.state_dict() and nothing else")
    return found


def check_tensors(
    given: Mapping[str, Any], wanted: Mapping[str, Any], path: Path, remedy: str
) -> None:
    """One line where the checkpoint is of another network: torch tells each tensor in one."""
    missing = [name for name in wanted if name not in given]
    unknown = [name for name in given if name not in wanted]
    other = [n for n in wanted if n in given and given[n].shape != wanted[n].shape]
    if not (missing or unknown or other):
        return
    told = [("lacks", missing), ("also has", unknown), ("has in another shape", other)]
    why = "; ".join(f"it {how} {_few(names)}" for how, names in told if names)
    raise wrong_option("weights", str(path), why, remedy)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more
