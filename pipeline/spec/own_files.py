"""Files of the user's among the options of built-in encoders: where they are, what is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.spec.catalog import BUILTIN

if TYPE_CHECKING:
    from pipeline.spec.models import PipelineSpec


class Digests(dict[str, str]):
    """SHA-256 (hex) by path, of what was read.

    It is no part of what the file says, so it makes no two specs differ. It travels with the spec
    of a run: the process that fuses need not have the weights of an encoder on its disk.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digests)

    __hash__ = None


def resolved(encoder: str, options: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """The options with relative paths of a built-in's made paths in ``folder``."""
    if folder is None:
        return dict(options)
    paths = own_paths(encoder, options, folder)
    return {**options, **{name: str(path) for name, path in paths.items()}}


def own_paths(encoder: str, options: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """By option, the file or folder that it names; a class of the user's finds its own."""
    builtin = BUILTIN.get(encoder)
    return {
        name: folder / Path(value).expanduser()
        for name in (builtin.paths if builtin else ())
        if isinstance(value := options.get(name), str) and value
    }


def digests(spec: PipelineSpec, stage: str) -> dict[str, str]:
    """By option of the stage, the hash of what it names: read once, then remembered in the spec.

    What cannot be read counts as empty: the encoder that needs it says so.
    """
    declared, found = spec.stages[stage], {}
    for name, path in own_paths(declared.encoder, declared.options, spec.folder).items():
        if str(path) not in spec.digests:
            spec.digests[str(path)] = _digest(path)
        found[name] = spec.digests[str(path)]
    return found


def _digest(path: Path) -> str:
    """Of a file's bytes; of a folder's, with the names of its files in order."""
    whole = hashlib.sha256()
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    for each in files:
        if each != path:
            whole.update(
                f"{each.relative_to(path).as_posix()}\0".encode("utf-8", "surrogateescape")
            )
        with suppress(OSError), each.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
