"""Another head for a pipeline, running or not: deployed, listed, rolled back (``motet heads``)."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.clock import wall_us
from pipeline.errors import InvalidInput, Problem
from pipeline.fusion.head_files import LoadedHead, load_head
from pipeline.fusion.rules import Fuser
from pipeline.spec import PipelineSpec
from pipeline.spec.head_card import KEY, Card, read_card
from pipeline.spec.head_store import Deployment, HeadStore

HEAD = "HEAD"


class Change(NamedTuple):
    """The hash of the head in force, and of the one before (None: none); the same where
    nothing was to be done."""

    sha256: str | None
    previous: str | None


@dataclass(frozen=True, slots=True)
class Version:
    """A head that was deployed, or that lies in the folder; ``card`` None: no head.

    ``deployed``: when, the oldest first.
    """

    sha256: str | None
    card: Card | None
    deployed: tuple[Deployment, ...]
    in_force: bool


def deploy(spec: PipelineSpec, head: Path | None, lengths: Mapping[str, int], by: str) -> Change:
    """Puts a head in force; a run of the file takes it over. None: no head, results give vectors.

    ``lengths``: as ``check_pipeline`` gave them, ``by``: who deploys. Raises InvalidInput, with
    nothing done, where the head is not whole or is not for this file.
    """
    store = _store(spec)
    loaded = None if head is None else load_head(head, str(head), HEAD)
    _check(spec, lengths, loaded, None if head is None else Problem(HEAD, str(head), "", ""))
    sha256 = None if loaded is None else loaded.sha256
    with store.locked():
        first = []
        if not store.deployments() and (alone := store.alone()) not in (None, sha256):
            store.keep(store.folder, str(alone))
            first = [Deployment(alone, None, None)]
        if head is not None:
            store.keep(head, str(sha256))
        return _put(store, sha256, by, first)


def roll_back(spec: PipelineSpec, to: str | None, lengths: Mapping[str, int], by: str) -> Change:
    """Puts in force what was before, or the version whose hash begins with ``to``.

    It is a deployment like others: what was rolled back is rolled back to by the next one.
    Raises InvalidInput, with nothing done, where there is none or it is not for this file any more.
    """
    store = _store(spec)
    named = str(spec.fusion.head)
    if not store.deployments():
        remedy = "deploy a head first: motet heads deploy FILE HEAD"
        raise InvalidInput(Problem(KEY, named, "nothing was deployed there", remedy))
    with store.locked():
        sha256 = _before(store, named) if to is None else _version(store, to)
        loaded = None if sha256 is None else load_head(store.version(sha256), named)
        _check(spec, lengths, loaded)
        return _put(store, sha256, by)


def versions(spec: PipelineSpec) -> list[Version]:
    """All heads of a file that are known, the one that was deployed last at the end.

    Raises InvalidInput.
    """
    store = _store(spec)
    deployed = store.deployments()
    if not deployed:
        alone = store.alone()
        found = read_card(store.folder, str(spec.fusion.head))  # raises where there is none
        return [Version(alone, found, (), in_force=True)]
    by_hash: dict[str | None, list[Deployment]] = {}
    for each in deployed:
        by_hash[each.sha256] = [*by_hash.pop(each.sha256, []), each]
    return [
        Version(
            sha256,
            None if sha256 is None else read_card(store.version(sha256), str(spec.fusion.head)),
            tuple(each),
            in_force=sha256 == deployed[-1].sha256,
        )
        for sha256, each in by_hash.items()
    ]


def deployer() -> str:
    """``USER@HOST`` of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


# -- how --------------------------------------------------------------------------------------


def _store(spec: PipelineSpec) -> HeadStore:
    store = HeadStore.of(spec)
    if store is None:
        why = "the file names no folder for heads"
        remedy = (
            "write `head: heads/NAME` under fusion, and where no head is there yet begin with "
            "`motet heads deploy FILE --none`; a run of it begins anew with that line"
        )
        raise InvalidInput(Problem(KEY, "", why, remedy))
    return store


def _check(
    spec: PipelineSpec,
    lengths: Mapping[str, int],
    loaded: LoadedHead | None,
    at: Problem | None = None,
) -> None:
    """Raises InvalidInput where it does not fit the file; ``at``: what to name in its place."""
    try:
        Fuser.under(spec, lengths, loaded)
    except InvalidInput as error:
        if at is None:
            raise
        raise InvalidInput(
            *(
                problem._replace(key=at.key, value=at.value)
                if isinstance(problem, Problem) and problem.key == KEY
                else problem
                for problem in error.problems
            )
        ) from None


def _put(store: HeadStore, sha256: str | None, by: str, first: Sequence[Deployment] = ()) -> Change:
    """Under the lock, after ``first``; does nothing where it is in force already."""
    deployed = [*store.deployments(), *first]
    if not deployed:
        previous = None
    elif (previous := deployed[-1].sha256) == sha256:
        return Change(sha256, sha256)
    store.deploy(*first, Deployment(sha256, wall_us(), by))
    return Change(sha256, previous)


def _before(store: HeadStore, named: str) -> str | None:
    deployed = store.deployments()
    if len(deployed) < 2:
        remedy = "see `motet heads list FILE`"
        raise InvalidInput(Problem(KEY, named, "no other head was deployed before", remedy))
    return deployed[-2].sha256


def _version(store: HeadStore, to: str) -> str:
    known = list(dict.fromkeys(d.sha256 for d in store.deployments() if d.sha256))
    found = [sha256 for sha256 in known if sha256.startswith(to)]
    if len(found) == 1 and to:
        return found[0]
    why = "several versions begin so" if len(found) > 1 else "no version begins so"
    shown = ", ".join(sha256[:12] for sha256 in known[-10:]) or "none was deployed"
    raise InvalidInput(Problem("--to", to, why, f"there are: {shown}"))
