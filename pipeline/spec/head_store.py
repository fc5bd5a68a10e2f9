"""The heads of a pipeline file: the folder that it names, and what was deployed there.

A folder that ``motet train`` wrote holds one head. Once something is deployed there, it holds
versions, each a head folder of its own, and ``deployed.json``: what was deployed when and by whom,
the last of which is in force. Standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.errors import InvalidInput, Problem
from pipeline.spec.head_card import CARD, KEY, TENSORS, card_hash, features_of, misfit, read_card
from pipeline.spec.units import Wrong, format_rfc3339, parse_rfc3339_us

if TYPE_CHECKING:
    from pipeline.spec.models import PipelineSpec

DEPLOYED, VERSIONS = "deployed.json", "versions"
FORMAT = 1
DEPLOYMENTS_MAX = 200  # older ones are forgotten, and versions that none of the rest names


class Deployment(NamedTuple):
    """``sha256``: the head's; None: no head, results give the vector.

    ``at_us``: wall clock; None of the head that was in the folder before the first deployment.
    """

    sha256: str | None
    at_us: int | None
    by: str | None


class HeadStore:
    """The folder that ``fusion.head`` names.

    Invariants: which head is in force changes by one rename, so a reader finds the one before or
    the one after; a version is never changed, and is there before anything names it.
    """

    def __init__(self, folder: Path, named: str) -> None:
        """``named``: the folder as the user wrote it, for errors."""
        self.folder = folder
        self._named = named
        self.path = folder / DEPLOYED

    @classmethod
    def of(cls, spec: PipelineSpec) -> HeadStore | None:
        """That of a pipeline file; None where it names no head."""
        named = spec.fusion.head
        return None if named is None else cls(spec.folder / named, named)

    def deployments(self) -> tuple[Deployment, ...]:
        """The oldest first; none where the folder holds one head. Raises InvalidInput."""
        try:
            found = json.loads(self.path.read_bytes())
            if found["format"] != FORMAT:
                raise self._wrong(f"has format {found['format']}, and this version reads {FORMAT}")
            return tuple(_deployment(each) for each in found["deployments"])
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._wrong(f"cannot be read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError, Wrong):
            raise self._wrong("is no list of deployments") from None

    def in_force(self) -> Path | None:
        """The folder of the head that is in force; None where none is. Raises InvalidInput."""
        deployed = self.deployments()
        if not deployed:
            return self.folder
        sha256 = deployed[-1].sha256
        return None if sha256 is None else self.version(sha256)

    def version(self, sha256: str) -> Path:
        return self.folder / VERSIONS / sha256

    def alone(self) -> str | None:
        """The hash of the head that lies in the folder itself; None where none does."""
        if not (self.folder / CARD).exists():
            return None
        return card_hash(read_card(self.folder, self._named))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One deployment at a time; makes the folder. Raises InvalidInput where it cannot write."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / ".deploying").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            why = f"{error.filename or self.folder} cannot be written ({error.strerror})"
            remedy = "give yourself the right to write there, or free space"
            raise InvalidInput(Problem(KEY, self._named, why, remedy)) from error

    def keep(self, source: Path, sha256: str) -> None:
        """Makes a version of the head in ``source``, which has this hash; under the lock.

        Raises InvalidInput where it has another one by now.
        """
        version = self.version(sha256)
        if version.exists() and self._is(version, sha256):
            return
        beside = self.folder / VERSIONS / ".new"
        shutil.rmtree(beside, ignore_errors=True)  # of one that was interrupted
        beside.mkdir(parents=True)
        for name in (TENSORS, CARD):
            shutil.copyfile(source / name, beside / name)
            _sync(beside / name)
        if not self._is(beside, sha256):
            why = "it was changed while it was copied"
            raise InvalidInput(Problem(KEY, self._named, f"{source}: {why}", "try again"))
        _sync(beside)
        if version.exists():  # somebody has changed it: it is made whole again
            shutil.rmtree(version)
        beside.rename(version)
        _sync(self.folder / VERSIONS)

    def _is(self, folder: Path, sha256: str) -> bool:
        """Whether a folder holds the head with this hash, whole."""
        try:
            card = read_card(folder, self._named)
            tensors = hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest()
        except (InvalidInput, OSError):
            return False
        return card_hash(card) == sha256 and card["tensors"].get("sha256") == tensors

    def deploy(self, *added: Deployment) -> None:
        """Appends to what was deployed; the last is in force from now on. Under the lock."""
        kept = (*self.deployments(), *added)[-DEPLOYMENTS_MAX:]
        told = {"format": FORMAT, "deployments": [_as_json(each) for each in kept]}
        beside = self.folder / f".{DEPLOYED}"
        beside.write_text(f"{json.dumps(told, indent=1)}\n", encoding="utf-8")
        _sync(beside)
        beside.replace(self.path)
        _sync(self.folder)
        named = {each.sha256 for each in kept}
        for version in (self.folder / VERSIONS).glob("[0-9a-f]*"):
            if version.name not in named:
                shutil.rmtree(version, ignore_errors=True)

    def _wrong(self, why: str) -> InvalidInput:
        remedy = "put it back from a copy, or remove it and deploy a head again"
        return InvalidInput(Problem(KEY, self._named, f"{self.path} {why}", remedy))


def head_folder(spec: PipelineSpec) -> Path | None:
    """Of the head that is in force for a file; None where none is. Raises InvalidInput."""
    store = HeadStore.of(spec)
    return None if store is None else store.in_force()


def head_hash(spec: PipelineSpec) -> str | None:
    """That of the head that is in force for a file; None where none is."""
    folder = head_folder(spec)
    return None if folder is None else card_hash(read_card(folder, str(spec.fusion.head)))


def check_head(spec: PipelineSpec) -> None:
    """Raises InvalidInput where the head that is in force is not there, or is for another file.

    Its arrays are not looked at, nor the lengths of vectors.
    """
    folder = head_folder(spec)
    if folder is not None:
        card = read_card(folder, str(spec.fusion.head))
        wrong = misfit(card, spec.fusion, features_of(spec))
        if wrong is not None:
            raise InvalidInput(wrong)


def _deployment(given: dict[str, Any]) -> Deployment:
    sha256, at, by = given["sha256"], given["at"], given["by"]
    if not (sha256 is None or (len(sha256) == 64 and set(sha256) <= set("0123456789abcdef"))):
        raise ValueError(sha256)
    return Deployment(sha256, None if at is None else parse_rfc3339_us(at), by)


def _as_json(each: Deployment) -> dict[str, str | None]:
    at = None if each.at_us is None else format_rfc3339(each.at_us, "microseconds")
    return {"sha256": each.sha256, "at": at, "by": each.by}


def _sync(path: Path) -> None:
    """A file or a folder is on the disk when this returns."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
