"""The transactional producer of the in-memory broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from pipeline.connectors.limits import check_metadata
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.errors import MotetError, Transient
from pipeline.slot.ports import Committed, OutRecord, TopicPartition

T = TypeVar("T")


def run_step(broker: MemoryBroker, name: str, port: object, effect: Callable[[], T]) -> T:
    """Runs an effect between its two hook calls, where a script may let it fail.

    What ``hook("commit", ...)`` raises leaves no effect; what ``hook("commit-reply", ...)``
    raises is a reply that was lost.
    """
    if broker.hook is None:
        return effect()
    broker.hook(name, port)
    result = effect()
    broker.hook(f"{name}-reply", port)
    return result


class MemorySink:
    """A transactional producer; after an error only ``open`` and ``close`` are of use.

    Hook steps: ``open``, ``begin``, ``produce``, ``flush``, ``send_offsets``, ``commit``,
    ``abort``, each with its ``-reply``; and ``produce-part`` where half of it is appended.
    """

    def __init__(
        self, broker: MemoryBroker, transactional_id: str, group: str, timeout_us: int
    ) -> None:
        self.transactional_id = transactional_id
        self.group = group
        self._broker = broker
        self._timeout_us = timeout_us
        self._epoch: int | None = None  # the newest that this sink has held
        self._usable = False
        self._begun = False

    def prepare(self) -> None: ...

    def open(self) -> int:
        self._usable = self._begun = False

        def effect() -> int:
            opened = self._broker.open(self.transactional_id, self._timeout_us, self._epoch)
            self._epoch = opened
            return opened

        epoch = run_step(self._broker, "open", self, effect)
        self._usable = True
        return epoch

    def begin(self) -> None:
        if self._usable and self._begun:
            raise RuntimeError("begin(): a transaction has begun already")

        def effect(_: int) -> None:
            self._begun = True

        self._run("begin", effect)

    def produce(self, records: Sequence[OutRecord]) -> None:
        self._need_begun("produce")
        self._run("produce", lambda epoch: self._produce(epoch, records))

    def _produce(self, epoch: int, records: Sequence[OutRecord]) -> None:
        hook, half = self._broker.hook, len(records) // 2
        if hook is None or not half:
            self._broker.produce(self.transactional_id, epoch, records)
            return
        self._broker.produce(self.transactional_id, epoch, records[:half])
        hook("produce-part", self)
        self._broker.produce(self.transactional_id, epoch, records[half:])

    def flush(self) -> None:
        self._need_begun("flush")
        self._run("flush", lambda epoch: self._broker.check(self.transactional_id, epoch))

    def send_offsets(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        check_metadata(offsets)
        self._need_begun("send_offsets")
        self._run(
            "send_offsets",
            lambda e: self._broker.add_offsets(self.transactional_id, e, self.group, offsets),
        )

    def commit(self) -> None:
        self._finish("commit", True)

    def abort(self) -> None:
        self._finish("abort", False)

    def interrupt(self, new_epoch: bool) -> None:
        """For faults: the broker ends what this sink has begun, if the id is still its own."""
        if self._epoch is not None:
            self._broker.interrupt(self.transactional_id, self._epoch, new_epoch)

    def close(self) -> None:
        """Aborts what is open (no hook: a crash is a sink that is dropped, not closed)."""
        if self._usable and self._begun and self._epoch is not None:
            with suppress(MotetError):
                self._broker.end(self.transactional_id, self._epoch, False)
        self._usable = False

    def _finish(self, name: str, commit: bool) -> None:
        self._need_begun(name)
        self._run(name, lambda epoch: self._broker.end(self.transactional_id, epoch, commit))
        self._begun = False

    def _need_begun(self, name: str) -> None:
        if self._usable and not self._begun:
            raise RuntimeError(f"{name}(): no transaction has begun")

    def _run(self, name: str, effect: Callable[[int], None]) -> None:
        epoch = self._epoch
        if not self._usable or epoch is None:
            raise Transient(f"transactional id {self.transactional_id}: not open; open it again")
        try:
            run_step(self._broker, name, self, lambda: effect(epoch))
        except BaseException:
            self._usable = False
            raise
