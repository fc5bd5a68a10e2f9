"""The network between a pipeline and its brokers: a proxy that understands Kafka's frames.

Each broker advertises the gate's port on a listener of its own, so that every connection of a
client that bootstraps through the gate goes through it. Layout of a request: length, api key,
version, correlation id; of an answer: length, correlation id (Kafka protocol guide).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

PRODUCE, FETCH, FIND_COORDINATOR, INIT_PRODUCER_ID = 0, 1, 10, 22
ADD_PARTITIONS, ADD_OFFSETS, END_TXN, TXN_OFFSET_COMMIT = 24, 25, 26, 28

Side = Literal["request", "answer"]


@dataclass
class Trap:
    """Springs once, at the first frame of its kind: ``act`` runs before the frame goes on.

    ``lost``: the frame never arrives, as where the network swallows it.
    """

    api: int
    side: Side
    act: Callable[[], None] = lambda: None
    lost: bool = False
    sprung: threading.Event = field(default_factory=threading.Event)


class _Way:
    """One direction of all connections; what is held goes on when it is let go, as with TCP."""

    def __init__(self) -> None:
        self.passing = asyncio.Event()
        self.passing.set()
        self.held = 0  # frames that had to wait


class Gate:
    """Passes bytes on untouched, in order, until it is told to do otherwise.

    All methods are called from one thread of the tests; the frames run in a thread of its own.
    """

    def __init__(self, brokers: int) -> None:
        self._sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(brokers)]
        self.ports: list[int] = [s.getsockname()[1] for s in self._sockets]
        self.targets: list[int] = [0] * brokers  # where the brokers themselves listen
        self.delay_s = 0.0  # each way
        self.bytes_per_s: float | None = None  # of each connection, each way
        self.refused = 0  # connections that were ended or not let in
        self.frames: Counter[tuple[int, Side]] = Counter()
        self._traps: list[Trap] = []
        self._closed = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ways: dict[Side, _Way] = {"request": _Way(), "answer": _Way()}
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="gate", daemon=True)
        self._thread.start()

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    # -- what may happen to a network -------------------------------------------------------

    def trap(self, trap: Trap) -> Trap:
        self._traps.append(trap)
        return trap

    def cut(self) -> None:
        """Ends every connection and lets none in."""
        self._ask(self._cut)

    def hold(self, side: Side) -> int:
        """Nothing arrives on that side any more, and nobody is told; how many waited before."""
        self._ask(self._ways[side].passing.clear)
        return self._ways[side].held

    def held(self, side: Side) -> int:
        return self._ways[side].held

    def heal(self) -> None:
        self.delay_s, self.bytes_per_s = 0.0, None
        self._ask(self._heal)

    def close(self) -> None:
        self._ask(self._cut)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    # -- in its own thread ------------------------------------------------------------------

    def _ask(self, work: Callable[[], None]) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (work(), done.set()))
        assert done.wait(10), "the gate's thread has ended"

    def _cut(self) -> None:
        self._closed = True
        self.refused += len(self._writers)
        for writer in self._writers:
            writer.transport.abort()

    def _heal(self) -> None:
        self._closed = False
        for way in self._ways.values():
            way.passing.set()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        servers = [
            self._loop.run_until_complete(asyncio.start_server(self._server(number), sock=one))
            for number, one in enumerate(self._sockets)
        ]
        self._loop.run_forever()
        for server in servers:
            server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _server(self, number: int) -> Callable[..., object]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self._closed:
                self.refused += 1
                writer.transport.abort()
                return
            self._writers.add(writer)
            try:
                await self._connect(number, reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                pass  # one end has gone: so does the other
            finally:
                self._writers.discard(writer)
                writer.transport.abort()

        return serve

    async def _connect(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        far_reader, far = await asyncio.open_connection("127.0.0.1", self.targets[number])
        asked: dict[int, int] = {}  # correlation id -> api key
        ways = [
            asyncio.create_task(self._pass(reader, far, "request", asked)),
            asyncio.create_task(self._pass(far_reader, writer, "answer", asked)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            far.transport.abort()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        side: Side,
        asked: dict[int, int],
    ) -> None:
        """Reads at once and writes after the delay: what is under way does not wait in a row."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def write() -> None:
            while True:
                due, frame = await waiting.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                if self.bytes_per_s:
                    await asyncio.sleep(len(frame) / self.bytes_per_s)
                way = self._ways[side]
                if not way.passing.is_set():
                    way.held += 1
                    await way.passing.wait()
                writer.write(frame)
                await writer.drain()

        writing = asyncio.create_task(write())
        try:
            while not writing.done():
                head = await reader.readexactly(4)
                frame = head + await reader.readexactly(struct.unpack(">i", head)[0])
                if await self._goes_on(frame, side, asked):
                    waiting.put_nowait((loop.time() + self.delay_s, frame))
        finally:
            writing.cancel()

    async def _goes_on(self, frame: bytes, side: Side, asked: dict[int, int]) -> bool:
        if side == "request":
            api, _version, number = struct.unpack_from(">hhi", frame, 4)
            asked[number] = api
        else:
            (number,) = struct.unpack_from(">i", frame, 4)
            api = asked.pop(number, -1)
        self.frames[api, side] += 1
        for trap in self._traps:
            if (trap.api, trap.side) == (api, side):
                self._traps.remove(trap)
                await asyncio.get_running_loop().run_in_executor(None, trap.act)
                trap.sprung.set()
                return not trap.lost
        return True
