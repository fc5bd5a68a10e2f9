"""A queue that is fair between streams."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items of many streams: one of each stream in turn, those of one stream in their order.

    So a stream that comes with an hour of backlog delays the others by one window each, not by
    an hour; or by as many as share the work of one.
    """

    def __init__(self) -> None:
        self._items: dict[str, deque[T]] = {}
        self._turns: deque[str] = deque()  # streams that have items, the next one first
        self._count = 0

    def put(self, stream: str, item: T) -> None:
        items = self._items.get(stream)
        if items is None:
            items = self._items[stream] = deque()
            self._turns.append(stream)
        items.append(item)
        self._count += 1

    def peek(self) -> T:
        """The item that ``take`` would give; IndexError where there is none."""
        return self._items[self._turns[0]][0]

    def take(self) -> T:
        """The next stream's oldest item; IndexError where there is none."""
        stream = self._turns.popleft()
        items = self._items[stream]
        item = items.popleft()
        self._turn(stream, items, 1)
        return item

    def take_together(self, most: int, together: Callable[[T, T], bool]) -> list[T]:
        """The next stream's oldest item, and those right after it of which ``together(oldest,
        item)`` holds, in one turn; at most ``most`` of 1 or more. IndexError where there is none.
        """
        stream = self._turns.popleft()
        items = self._items[stream]
        taken = [items.popleft()]
        while items and len(taken) < most and together(taken[0], items[0]):
            taken.append(items.popleft())
        self._turn(stream, items, len(taken))
        return taken

    def _turn(self, stream: str, left: deque[T], taken: int) -> None:
        if left:
            self._turns.append(stream)
        else:
            del self._items[stream]
        self._count -= taken

    def __len__(self) -> int:
        return self._count
