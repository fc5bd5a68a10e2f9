"""How far ``run --until-end`` is, and how long it will take: a bar on a terminal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.cli.terminal import progress, progress_is_shown

if TYPE_CHECKING:
    from pipeline.tasks.view import Snapshot, View

LOOK_S = 0.5
Show = Callable[["View"], None]


class ReadShare:
    """Which share of what the topics held at the start is applied; told snapshots of a run.

    Invariant: it never falls. An owner that begins anew reads records again that were applied
    before; what was applied then still counts.
    """

    def __init__(self) -> None:
        self._starts: dict[tuple[int, str], int] = {}
        self._done: dict[tuple[int, str], int] = {}
        self._whole: dict[tuple[int, str], int] = {}

    def told(self, snapshot: Snapshot) -> float | None:
        """None while nothing is known of the lanes; 1 where there is nothing to read."""
        for lane in snapshot.lanes:
            self._lane(lane.lane, lane.positions, lane.ends)
        if not self._starts:
            return None
        whole = sum(self._whole.values())
        return 1.0 if whole == 0 else sum(self._done.values()) / whole

    def _lane(
        self, lane: int, positions: Mapping[str, int], ends: Mapping[str, int | None]
    ) -> None:
        for name, position in positions.items():
            end, key = ends.get(name), (lane, name)
            if end is None:
                continue
            start = self._starts.setdefault(key, position)
            self._whole[key] = max(0, end - start)
            done = min(max(0, position - start), self._whole[key])
            self._done[key] = max(done, self._done.get(key, 0))


@contextmanager
def bar_until_end(show: Show, wanted: bool) -> Iterator[Show]:
    """``show`` for the host; where a bar is ``wanted`` and can be shown it follows the view.

    The bar comes once something is applied: before that there is nothing to reckon with.
    """
    if not wanted or not progress_is_shown():
        yield show
        return
    views: list[View] = []
    ended = threading.Event()

    def shown(view: View) -> None:
        views.append(view)
        show(view)

    follower = threading.Thread(target=_follow, args=(views, ended), name="progress", daemon=True)
    follower.start()
    try:
        yield shown
    finally:
        ended.set()
        follower.join()


def _follow(views: list[View], ended: threading.Event) -> None:
    share = ReadShare()
    while not ended.wait(LOOK_S):
        if views and share.told(views[-1].snapshot()) is not None:
            break
    if ended.is_set():
        return
    with progress("running", 1.0) as done:
        while not ended.wait(LOOK_S):
            done(share.told(views[-1].snapshot()) or 0.0)
