"""Files of ``motet publish`` on their way: when they begin, their pace, and from where on."""

from __future__ import annotations

import itertools
import resource
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from pipeline import clock
from pipeline.cli.terminal import counted, progress, say
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.connectors.files import FileRecord, Timeline
    from pipeline.connectors.publish import Published
    from pipeline.slot.ports import Connector, TopicInfo


class Play(NamedTuple):
    """Timelines, and when they play; ``loops`` None is without end, ``start_us`` None is now.

    ``resume``: only what an earlier play of the same has not sent.
    """

    lines: Sequence[Timeline]
    period_us: int
    loops: int | None
    start_us: int | None
    realtime: bool
    resume: bool = False

    @property
    def total_us(self) -> int:
        """How long it lasts; 0 where it has no end."""
        return 0 if self.loops is None else self.period_us * self.loops


def demand_topics(connector: Connector, names: Sequence[str], remedy: str) -> dict[str, TopicInfo]:
    """The topics, all there; raises InvalidInput otherwise."""
    from pipeline.cli.connect import topics_of
    from pipeline.connectors.publish import usable

    with closing(connector.control()) as control:
        return usable(topics_of(control, sorted(set(names))), remedy)


def play_to(connector: Connector, play: Play, remedy: str, stop: threading.Event) -> Published:
    """Sends the timelines to their topics until they end or ``stop`` is set."""
    from pipeline.connectors.publish import send

    topics = demand_topics(connector, [line.target.topic for line in play.lines], remedy)
    start_us, records, shift_us = begun(connector, play, topics)
    with (
        closing(connector.publisher()) as publisher,
        progress("publishing", play.total_us / 1e6 or None) as done,
    ):
        return send(
            publisher,
            records,
            topics,
            _pacer(stop, play.realtime, shift_us),
            lambda record: done((record.end_us - start_us) / 1e6),
        )


def begun(
    connector: Connector, play: Play, topics: Mapping[str, TopicInfo]
) -> tuple[int, Iterator[FileRecord], int]:
    """The event time of the beginning, the records to send, and the real time's shift.

    In real time a record goes out ``shift_us`` after its event time.
    """
    from pipeline.connectors.files import merge
    from pipeline.connectors.publish import default_start_us

    start_us = play.start_us
    if play.resume:
        found = _resumed(connector, play, topics)
        if found is not None:
            return found
    now_us = clock.wall_us()
    shift_us = 0
    if start_us is None:
        start_us = default_start_us(now_us, 0 if play.realtime else play.total_us)
    else:
        shift_us = now_us - start_us
    return start_us, merge(play.lines, start_us, play.period_us, play.loops), shift_us


def _resumed(
    connector: Connector, play: Play, topics: Mapping[str, TopicInfo]
) -> tuple[int, Iterator[FileRecord], int] | None:
    """As ``begun``, from behind what the topics hold; None where they hold nothing of it."""
    from pipeline.connectors.resume import began_us, last_records, unsent

    lasts = last_records(connector, topics, play.lines)
    start_us = play.start_us
    if start_us is None:
        start_us = began_us(play.lines, lasts, play.period_us)
    there = sum(last.sequence + 1 for last in lasts if last is not None)
    if start_us is None or not there:
        say("motet: the topics hold no record of these files: they are sent from the beginning")
        return None
    say(f"motet: going on behind {counted(there, 'record')} that the topics hold")
    records = unsent(play.lines, lasts, start_us, play.period_us, play.loops)
    first = next(records, None)
    if first is None:
        say("motet: everything is there already")
        return start_us, iter(()), 0
    return start_us, itertools.chain([first], records), clock.wall_us() - first.due_us


def _pacer(stop: threading.Event, realtime: bool, shift_us: int) -> Callable[[int], bool]:
    """Waits until a record is due; in real time the media plays ``shift_us`` after its time."""

    def at_once(_due_us: int) -> bool:
        return stop.is_set()

    def in_time(due_us: int) -> bool:
        return stop.wait(max(0, due_us + shift_us - clock.wall_us()) / 1e6)

    return in_time if realtime else at_once


def allow_open_files(count: int) -> None:
    """All streams play at once, so each has its file open: a folder may hold thousands."""
    needed = count + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            why = f"that many streams need {needed} open files, and the limit is {hard}"
            remedy = "raise it with ulimit -n, or give fewer sources at a time"
            raise InvalidInput(Problem("SOURCE", f"{count} streams", why, remedy))
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
