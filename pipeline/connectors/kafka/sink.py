"""One transactional producer, thrown away after any error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from kafka import TopicPartition as KafkaPartition
from kafka import errors as kafka_errors
from kafka.admin import TransactionState as AdminTransactionState
from kafka.producer.transaction_manager import InitProducerIdHandler, TransactionState
from kafka.structs import OffsetAndMetadata

from pipeline.connectors.kafka.clients import Clients, Producer, settle
from pipeline.connectors.kafka.errors import (
    is_too_large,
    largest_error,
    looks_fenced,
    reraise,
    translated,
)
from pipeline.connectors.kafka.sending import Ack, all_succeeded
from pipeline.connectors.kafka.watchdog import Watchdog
from pipeline.connectors.limits import check_metadata, fenced
from pipeline.errors import Fenced, InvalidInput, MotetError, Refused, Transient, Unreachable
from pipeline.slot.ports import Committed, OutRecord, TopicPartition

log = logging.getLogger(__name__)
T = TypeVar("T")

_CLOSE_LIMIT_S = 2.0
_ABORT_LIMIT_S = 3.0  # of the one at the end; the broker itself ends the transaction after 15 s
_ASK_LIMIT_S = 30.0
_REQUEST_LIMIT_MS = 5_000  # of the question before it; a coordinator that hangs gives no answer


class KafkaSink:
    """Commits only what the broker has acknowledged, and never takes an id back.

    kafka-python commits a transaction although a batch of it has expired, so ``commit`` reads
    every future first. It also keeps offsets of a failed transaction and hangs on to broken
    states, so an error closes the producer and ``open`` makes another one.

    A broker answers with the same "fenced" to an owner that was taken over, to one whose
    transaction took too long, and to one whose transaction a zombie's recovery has aborted.
    Only the first may stop for good. So the sink asks: InitProducerId with its own epoch
    (KIP-360) is granted unless another owner has opened the id since.
    """

    def __init__(self, clients: Clients, transactional_id: str, group: str) -> None:
        self._clients = clients
        self._id = transactional_id
        self._group = group
        self._producer: Producer | None = None
        self._prepared: Producer | None = None  # that has opened nothing yet
        self._watchdog: Watchdog | None = None
        self._identity: Any = None  # the newest producer id and epoch that this sink has held
        self._verified = False  # the producer was made by the question above and is unused
        self._begun = False
        self._sent: list[tuple[OutRecord, Ack]] = []  # records of the transaction, not yet read
        self._partitions: dict[str, frozenset[int]] = {}

    def prepare(self) -> None:
        if self._identity is None and self._prepared is None:
            self._prepared = self._clients.transactional_producer(self._id)

    def open(self) -> int:
        if not self._verified:
            self._discard()
            self._make()
        self._verified = False
        epoch: int = self._identity.epoch
        return epoch

    def begin(self) -> None:
        if self._begun:
            raise RuntimeError("begin(): a transaction has begun already")
        producer = self._opened()
        self._run("begin", producer.begin_transaction)
        self._begun = True

    def produce(self, records: Sequence[OutRecord]) -> None:
        producer = self._in_transaction("produce")
        try:
            self._send(producer, records)
        except BaseException as error:
            shown = largest_error(records) if is_too_large(error) else error
            reraise(error, self._failed("produce", shown))

    def flush(self) -> None:
        producer = self._in_transaction("flush")
        try:
            self._read_futures(producer)
        except BaseException as error:
            reraise(error, self._failed("flush", error))

    def send_offsets(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        check_metadata(offsets)
        producer = self._in_transaction("send_offsets")
        wanted = {
            KafkaPartition(*partition): OffsetAndMetadata(committed.offset, committed.metadata, -1)
            for partition, committed in offsets.items()
        }
        self._run("send_offsets", producer.send_offsets_to_transaction, wanted, self._group)

    def commit(self) -> None:
        self.flush()
        self._run("commit", self._in_transaction("commit").commit_transaction)
        self._begun = False

    def abort(self) -> None:
        self._run("abort", self._in_transaction("abort").abort_transaction)
        self._sent.clear()
        self._begun = False

    def close(self) -> None:
        """Aborts what is open, so that readers need not wait for its timeout; never raises."""
        if self._begun and self._producer is not None:
            try:
                self._watched(_ABORT_LIMIT_S, "abort", self._producer.abort_transaction)
            except (MotetError, kafka_errors.KafkaError) as error:
                log.warning("%s: closing without abort: %s", self._id, error)
        if self._prepared is not None:
            self._prepared.close(timeout=_CLOSE_LIMIT_S)
        self._discard()

    # the transaction

    def _send(self, producer: Producer, records: Sequence[OutRecord]) -> None:
        by_partition: dict[tuple[str, int], list[OutRecord]] = {}
        for record in records:
            by_partition.setdefault((record.topic, record.partition), []).append(record)
        for (topic, partition), theirs in by_partition.items():
            if partition not in self._partitions.get(topic, ()):
                self._partitions[topic] = producer.demand_partition(topic, partition)
            futures = producer.send_to(topic, partition, theirs)
            self._sent += zip(theirs, futures, strict=True)

    def _read_futures(self, producer: Producer) -> None:
        """Returns once every record is acknowledged; raises the error of one that is not.

        The futures alone are the truth: the client's flush fails where it had to split a batch,
        though all is well, and succeeds where a batch has expired. All that were read already are
        asked about no more: of an empty flush a transaction would have two turns of threads.
        """
        if not self._sent:
            return
        limit_s = producer.config["delivery_timeout_ms"] / 1000 + 1
        acks = [ack for _, ack in self._sent]
        self._watched(2 * limit_s + 1, "flush", settle, producer, acks, limit_s)
        if all_succeeded(acks):
            self._sent.clear()
            return
        lost = [(record, future) for record, future in self._sent if not future.succeeded()]
        errors = [future.exception for _, future in lost if future.exception is not None]
        if any(is_too_large(error) for error in errors):
            raise largest_error([record for record, _ in lost])
        if errors:
            raise errors[0]
        if lost:
            raise kafka_errors.KafkaTimeoutError("a record was not acknowledged in time")
        self._sent.clear()

    # the producer

    def _opened(self) -> Producer:
        if self._producer is None or self._verified:
            raise Transient(f"transactional id {self._id}: not open; open it (again)")
        return self._producer

    def _in_transaction(self, what: str) -> Producer:
        producer = self._opened()
        if not self._begun:
            raise RuntimeError(f"{what}(): no transaction has begun")
        return producer

    def _run(self, what: str, call: Callable[..., T], *arguments: Any) -> T:
        """One call that has no timeout of its own; an error throws the producer away."""
        assert self._producer is not None
        limit_s = self._producer.config["transaction_timeout_ms"] / 1000 + 5
        try:
            return self._watched(limit_s, what, call, *arguments)
        except BaseException as error:
            reraise(error, self._failed(what, error))

    def _watched(self, limit_s: float, what: str, call: Callable[..., T], *arguments: Any) -> T:
        assert self._watchdog is not None
        return self._watchdog.call(limit_s, f"{self._id}: {what}", call, *arguments)

    def _make(self) -> None:
        """Makes a producer and opens the id: the first time for anyone, later as its owner."""
        limit_s = self._clients.reach_timeout_s
        self._watchdog = Watchdog(self._id)
        try:
            if self._identity is not None:
                self._watched(limit_s + _ASK_LIMIT_S, "open", self._demand_not_taken)
            prepared, self._prepared = self._prepared, None
            self._producer = prepared or self._clients.transactional_producer(self._id)
            self._watched(limit_s + 5, "open", self._initialize, self._producer, limit_s)
        except BaseException as error:
            manager = self._producer._transaction_manager if self._producer else None
            last = manager.last_error if manager else None
            self._discard()
            if not isinstance(error, Exception):
                raise
            if looks_fenced(error, last):
                raise fenced(self._id) from error
            if isinstance(error, Unreachable) and self._identity is not None:
                raise Transient(str(error)) from error  # once running, an owner waits
            if isinstance(error, InvalidInput) and self._identity is not None:
                raise Refused(str(error)) from error  # a password that was good at the start
            reraise(error, translated(f"{self._id}: open", error, last))
        self._identity = self._producer._transaction_manager.producer_id_and_epoch

    def _demand_not_taken(self) -> None:
        """Raises Fenced where another owner has a transaction open.

        InitProducerId would abort that transaction before it compares epochs, so it is asked
        only where there is none (DescribeTransactions, from Kafka 3.0 on, changes nothing).
        """
        admin = self._clients.admin(_REQUEST_LIMIT_MS)
        try:
            found = admin.describe_transactions([self._id])[self._id]
        except kafka_errors.KafkaError as error:  # too old, or not permitted: the price is a retry
            log.debug("%s: state of the transaction unknown: %r", self._id, error)
            return
        finally:
            admin.close()
        ours = (self._identity.producer_id, self._identity.epoch)
        theirs = (found.producer_id, found.producer_epoch)
        if found.state is AdminTransactionState.ONGOING and theirs != ours:
            raise fenced(self._id)

    def _initialize(self, producer: Producer, limit_s: float) -> None:
        manager = producer._transaction_manager
        if self._identity is None:
            result = manager.initialize_transactions()
        else:
            with manager._lock:
                manager._transition_to(TransactionState.INITIALIZING)
                manager.set_producer_id_and_epoch(self._identity)
                handler = InitProducerIdHandler(
                    manager, manager.transaction_timeout_ms, is_epoch_bump=True
                )
                manager._enqueue_request(handler)
                result = handler.result
        producer._sender.wakeup()
        if not result.wait(timeout_ms=limit_s * 1000):
            raise kafka_errors.KafkaTimeoutError(f"no producer id within {limit_s:g} s")

    def _failed(self, what: str, error: BaseException) -> BaseException:
        """Throws the producer away; returns what to raise, Fenced only where that is proven."""
        producer = self._producer
        last = None
        if producer is not None:
            manager = producer._transaction_manager
            last = manager.last_error
            if manager.producer_id_and_epoch.is_valid:
                self._identity = manager.producer_id_and_epoch
        self._discard()
        if not isinstance(error, Exception):
            return error
        log.info("%s: %s failed (%r, %r): producer thrown away", self._id, what, error, last)
        if looks_fenced(error, last):
            try:
                self._make()
            except Fenced as proven:
                return proven
            except MotetError as unknown:
                return Transient(f"{self._id}: {what}: fenced or timed out: {unknown}")
            self._verified = True
            return Transient(
                f"{self._id}: {what}: the broker ended the transaction (it took longer than its "
                "timeout, or a former owner interfered)"
            )
        return translated(f"{self._id}: {what}", error, last)

    def _discard(self) -> None:
        producer, self._producer = self._producer, None
        watchdog, self._watchdog = self._watchdog, None
        self._begun = self._verified = False
        self._sent.clear()
        if watchdog is not None:
            watchdog.close()
        if producer is not None:
            producer._sender.force_close()  # fails what is in flight, so that close need not wait
            producer.close(timeout=_CLOSE_LIMIT_S)
