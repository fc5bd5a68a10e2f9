"""Reads one live source in a thread of its own, and connects again where it is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pipeline import clock
from pipeline.connectors.live_buffer import LiveBuffer
from pipeline.connectors.live_clock import BURST_US_MAX, Arrival, LiveClock
from pipeline.connectors.live_connection import Arrived, Connection, Lost, connect
from pipeline.connectors.live_tracks import Track
from pipeline.errors import InvalidInput

RETRY_US = 5 * 60_000_000
_BACKOFF_S = (0.5, 15.0)  # the first wait; each is twice the one before it, up to the last
_STANDS_US = 10_000_000  # a connection that lasted so long begins with the first wait again
_SETTLE_US = 500_000
_SETTLE_BYTES_MAX = 32 << 20
_SAY_DAMAGE_AT = (1, 100, 10_000, 1_000_000)


class LiveReader:
    """One source from its first connection until it ends, is given up, or ``stop`` is set.

    Invariant: what it reads goes into the buffer or is counted, and it never waits for the
    broker: a source that nobody reads would be cut off. It reads no faster than the media plays,
    so what sends as fast as it can is slowed down by the connection itself.

    A lost source is tried again, at growing intervals, until ``retry_us`` have passed since its
    last packet. ``failure`` is why it was given up, None where it ended by itself or was stopped;
    ``cause`` what was raised, where that is the reason.
    """

    def __init__(
        self,
        connection: Connection,
        tracks: Sequence[Track],
        buffer: LiveBuffer,
        stop: threading.Event,
        say: Callable[[str], None],
        retry_us: int = RETRY_US,
    ) -> None:
        """Raises InvalidInput where a stream of the source cannot go where it shall."""
        self.failure: str | None = None
        self.cause: Exception | None = None
        self.reconnects = 0
        self.source = connection.source
        self.tracks = tracks
        self._connection = connection
        self._buffer, self._stop, self._retry_us = buffer, stop, retry_us
        self._tell = say
        self._clock = LiveClock()
        self._wait_s = _BACKOFF_S[0]
        self._heard_us = clock.monotonic_us()
        self._open(connection)
        self._thread = threading.Thread(
            target=self._run, name=f"live-{self.source.stream}", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Whether it has ended; one that waits inside a driver or a socket may not have."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        connection: Connection | None = self._connection
        try:
            while connection is not None:
                began_us = clock.monotonic_us()
                try:
                    why = self._play(connection)
                finally:
                    connection.close()
                if why is None or self._stop.is_set():
                    return
                if connection.is_recording or not self._retry_us:
                    self._give_up(f"it broke off ({why})")
                    return
                if clock.monotonic_us() - began_us >= _STANDS_US:
                    self._wait_s = _BACKOFF_S[0]
                connection = self._again(why)
        except Exception as error:
            why = str(getattr(error, "strerror", None) or error)  # without a URL's credentials
            self._give_up(f"{type(error).__name__}: {why}")
            self.cause = error
        finally:
            self._buffer.ended()

    def _again(self, why: str) -> Connection | None:
        """A new connection; None where ``stop`` was set or the source is given up."""
        lost_us = clock.monotonic_us()
        self._say(f"lost ({why}); it is tried again for {self._retry_us / 1e6:g} s")
        while (left_us := self._heard_us + self._retry_us - clock.monotonic_us()) > 0:
            if self._stop.wait(min(self._wait_s, left_us / 1e6)):
                return None
            self._wait_s = min(2 * self._wait_s, _BACKOFF_S[1])
            try:
                connection = connect(self.source)
                self._open(connection)
            except (InvalidInput, Lost) as error:
                why = str(error)
                continue
            away_s = (clock.monotonic_us() - lost_us) / 1e6
            self._say(f"back after {away_s:.1f} s; event times go on by the clock")
            self.reconnects += 1
            return connection
        self._give_up(f"lost for {self._retry_us / 1e6:g} s ({why})")
        return None

    def _say(self, text: str) -> None:
        self._tell(f"{self.source.name}: {text}")

    def _give_up(self, why: str) -> None:
        self.failure = f"{self.source.name}: {why}"
        self._say(f"{why}; it is given up")

    def _open(self, connection: Connection) -> None:
        try:
            for track in self.tracks:
                stream = connection.stream(track.wanted.kind)
                if stream is None:
                    raise Lost(f"it holds no {track.wanted.kind} any more")
                track.open(stream, self.source.name)
        except (InvalidInput, Lost):
            connection.close()
            raise

    def _play(self, connection: Connection) -> str | None:
        """Reads to the end of a connection; why it was lost, None where it ended as it should."""
        streams = {connection.stream(t.wanted.kind).index: t for t in self.tracks}
        packets = connection.packets([connection.stream(t.wanted.kind) for t in self.tracks])
        try:
            for arrived in self._settled(packets, connection):
                if self._stop.is_set():
                    break
                self._feed(streams[arrived.packet.stream.index], arrived, connection.now_us)
        except Lost as lost:
            return str(lost)
        finally:
            self._flush()
        ends = connection.is_recording or self.source.is_pipe or self._stop.is_set()
        return None if ends else "the other side has ended it"

    def _settled(self, packets: Iterator[Arrived], connection: Connection) -> Iterator[Arrived]:
        """All packets, once the first of them have told where the source's own times lie."""
        held: list[Arrived] = []
        seen: list[Arrival] = []
        held_bytes = 0
        lost: Lost | None = None
        try:
            for arrived in packets:
                held.append(arrived)
                held_bytes += arrived.packet.size
                at_us = _media_us(arrived.packet)
                if at_us is not None:
                    seen.append(Arrival(arrived.arrival_us, at_us))
                    if connection.is_recording or held_bytes > _SETTLE_BYTES_MAX or _enough(seen):
                        break
        except Lost as error:
            lost = error
        if seen:
            self._clock.settle(seen, device=self.source.is_device)
            yield from held
        if lost is not None:
            raise lost
        yield from packets

    def _feed(self, track: Track, arrived: Arrived, now_us: Callable[[], int]) -> None:
        packet = arrived.packet
        self._heard_us = clock.monotonic_us()
        media_us = _media_us(packet)
        if media_us is not None:
            leaps = self._clock.leaps
            at_us = self._clock.at(arrived.arrival_us, media_us)
            if self._clock.leaps != leaps:
                self._say("its own times have leapt; event times go on by the clock")
                self._flush()
            if self._stop.wait(max(0, at_us - now_us()) / 1e6):
                return
        damaged = track.damaged
        for record in track.feed(packet, self._clock.laid()):
            self._buffer.put(record)
        if track.damaged != damaged and track.damaged in _SAY_DAMAGE_AT:
            self._say(f"cannot be read and is left out: {track.damaged} times ({track.damage})")

    def _flush(self) -> None:
        for track in self.tracks:
            for record in track.flush():
                self._buffer.put(record)


def _enough(seen: Sequence[Arrival]) -> bool:
    first, last = seen[0], seen[-1]
    waited_us = last.arrival_us - first.arrival_us
    return waited_us >= _SETTLE_US or last.media_us - first.media_us >= BURST_US_MAX


def _media_us(packet: Any) -> int | None:
    """When a packet can be sent at the earliest, by its own time: sound when its last sample is.

    Pictures by their decoding time: those that are shown late are sent before.
    """
    ticks = packet.pts if packet.dts is None else packet.dts
    if ticks is None:
        return None
    if packet.stream.type == "audio":
        ticks += packet.duration or 0
    at_us: int = round(ticks * packet.time_base * 1_000_000)
    return at_us
