"""Options that the encoders with weights share: colours, and files and folders of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.encoders.options import real, wrong_option


def three(name: str, value: Any, least: float, most: float) -> tuple[float, float, float]:
    """A number for each of red, green and blue; one number stands for all three."""
    if not isinstance(value, list | tuple):
        number = real(name, value, least, most)
        return number, number, number
    if len(value) != 3:
        why = f"has {len(value)} numbers"
        raise wrong_option(name, value, why, "write three: for red, green and blue")
    red, green, blue = (real(name, each, least, most) for each in value)
    return red, green, blue


def own_file(name: str, value: Any, suffixes: Sequence[str]) -> Path:
    """A file of the user's by its path, with one of these endings."""
    path = _path(name, value)
    if path.suffix.lower() not in suffixes:
        raise wrong_option(name, value, "is of no kind that is read here", _named(suffixes))
    if not path.is_file():
        raise wrong_option(name, value, f"no such file ({path.absolute()})", _PATH)
    return path


def own_folder(name: str, value: Any) -> Path:
    """A folder of the user's by its path."""
    path = _path(name, value)
    if not path.is_dir():
        raise wrong_option(name, value, f"no such folder ({path.absolute()})", _PATH)
    return path


_PATH = "name it from the pipeline file's folder, where every node that runs the stage must have it"


def _named(suffixes: Sequence[str]) -> str:
    return f"name a file that ends in {' or '.join(suffixes)}"


def _path(name: str, value: Any) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise wrong_option(name, value, "is no path", _PATH)
    return Path(value).expanduser()
