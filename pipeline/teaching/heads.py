"""The heads of a run, for the page: the one in force, those before it, and another one."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import InvalidInput, Problem
from pipeline.fusion.rules import Fuser
from pipeline.spec import PipelineSpec
from pipeline.spec.head_card import card_hash, read_card
from pipeline.spec.head_store import HeadStore
from pipeline.spec.units import format_rfc3339
from pipeline.tasks.deploying import Change, deploy, deployer, roll_back, versions

TAUGHT = "taught"  # below the folder of heads: what was trained on the page last
SHOWN = 6


class Heads:
    """What ``motet heads`` does, told by the page; the run sees it as it sees that command.

    Invariant: one change at a time, each by ``pipeline.tasks.deploying``, which checks it first.
    """

    def __init__(
        self, spec: PipelineSpec, lengths: Mapping[str, int], *, named: bool, kept: bool = True
    ) -> None:
        """``spec``: with ``fusion.head``. ``named``: whether the file itself says so.

        ``lengths``: as ``check_pipeline`` gave them. ``kept``: whether the folder outlives the run.
        Where the file names no folder, one that has no head for it (any more) is given none, so
        that the run begins. Raises InvalidInput where the folder cannot be read or written.
        """
        store = HeadStore.of(spec)
        assert store is not None
        self.taught = store.folder / TAUGHT
        self._spec, self._lengths, self._store = spec, lengths, store
        self._keep = f"fusion: {{head: {spec.fusion.head}}}" if kept and not named else None
        self._lock = threading.Lock()
        self._known: tuple[Any, dict[str, Any]] | None = None
        self.warning: str | None = None
        if not named:
            self.warning = self._begin()

    def _begin(self) -> str | None:
        if not self._store.deployments() and self._store.alone() is None:
            deploy(self._spec, None, self._lengths, deployer())
            return None
        try:
            Fuser.of(self._spec, self._lengths)
        except InvalidInput as error:
            deploy(self._spec, None, self._lengths, deployer())
            return f"{'; '.join(str(error).splitlines())} (no head is in force now)"
        return None

    def deploy(self, sha256: str) -> Change:
        """Puts the head with this hash in force, which was trained into ``taught``.

        Raises InvalidInput, with nothing done, where another one lies there or it does not fit
        the run.
        """
        with self._lock:
            found = card_hash(read_card(self.taught, str(self.taught)))
            if found != sha256:
                why = f"it holds head {found[:12]} by now, and {sha256[:12]} was trained here"
                raise InvalidInput(Problem("HEAD", str(self.taught), why, "train again"))
            return deploy(self._spec, self.taught, self._lengths, f"{deployer()}, page")

    def roll_back(self) -> Change:
        with self._lock:
            return roll_back(self._spec, None, self._lengths, f"{deployer()}, page")

    def told(self) -> dict[str, Any]:
        """What ``/api/teach`` says; read again only where something was deployed since."""
        with self._lock:
            at = _signature(self._store.path)
            if self._known is None or self._known[0] != at:
                self._known = at, self._read()
            return self._known[1]

    def _read(self) -> dict[str, Any]:
        try:
            found = versions(self._spec)
        except InvalidInput as error:
            problem = "; ".join(str(error).splitlines())
            return {"problem": problem, "keep": self._keep, "before": False, "versions": []}
        return {
            "problem": None,
            "keep": self._keep,
            "before": sum(len(each.deployed) for each in found) > 1,
            "versions": [
                {
                    "sha256": each.sha256,
                    "kind": (each.card or {}).get("head", {}).get("kind"),
                    "accuracy": (each.card or {})
                    .get("metrics", {})
                    .get("test", {})
                    .get("accuracy"),
                    "deployed": format_rfc3339(each.deployed[-1].at_us, "seconds")
                    if each.deployed and each.deployed[-1].at_us is not None
                    else None,
                    "in_force": each.in_force,
                }
                for each in found[: -SHOWN - 1 : -1]
            ],
        }


def _signature(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
