"""What only the Kafka connector has: a client with bugs, a network, settings and secrets."""

from __future__ import annotations

import builtins
import gc
import importlib
import itertools
import logging
import os
import pickle
import platform
import socket
import struct
import subprocess
import sys
import threading
import uuid
from contextlib import closing
from importlib.util import find_spec

import pytest

from pipeline.connectors.environment import CONSUMER_ENV
from pipeline.connectors.kafka import KafkaConnector, setting_names
from pipeline.connectors.kafka.clients import settle
from pipeline.connectors.kafka.sink import KafkaSink
from pipeline.connectors.kafka.watchdog import Watchdog
from pipeline.errors import InvalidInput, Refused, Transient, Unreachable
from pipeline.slot.ports import Committed, OutRecord, TopicPartition

IMPATIENT = {"request_timeout_ms": 1000, "delivery_timeout_ms": 1500}


class Tunnel:
    """A SOCKS5 proxy (RFC 1928, no authentication) whose two directions can be held up.

    What was held up goes on afterwards; where ``loses`` is set it is lost, and its connection ends.
    """

    def __init__(self) -> None:
        self.loses = False
        self.up, self.down = threading.Event(), threading.Event()
        self.up.set()
        self.down.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"socks5://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        near.recv(2 + near.recv(2, socket.MSG_PEEK)[1])
        near.sendall(b"\x05\x00")
        kind = near.recv(4)[3]
        assert kind in (1, 3), kind
        host = socket.inet_ntoa(near.recv(4)) if kind == 1 else near.recv(near.recv(1)[0]).decode()
        [port] = struct.unpack(">H", near.recv(2))
        far = socket.create_connection((host, port))
        self._sockets += [near, far]
        near.sendall(b"\x05\x00\x00\x01" + bytes(6))
        threading.Thread(target=self._pump, args=(near, far, self.up), daemon=True).start()
        self._pump(far, near, self.down)

    def _pump(self, source: socket.socket, target: socket.socket, gate: threading.Event) -> None:
        try:
            while data := source.recv(65536):
                held = not gate.is_set()
                gate.wait()
                if held and self.loses:
                    break
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other end is gone

    def close(self) -> None:
        self.up.set()
        self.down.set()
        self._listener.close()
        for each in self._sockets:
            each.close()


@pytest.fixture
def tunnel():
    with closing(Tunnel()) as tunnel:
        yield tunnel


@pytest.fixture(scope="module")
def control(kafka):
    with closing(KafkaConnector(kafka).control()) as control:
        yield control


@pytest.fixture
def partition(control):
    name = f"kafka-{uuid.uuid4().hex[:8]}"
    control.create_topic(name, 1, None, {})
    return TopicPartition(name, 0)


def committed_values(kafka, control, partition):
    """What a reader finds behind every transaction."""
    connector = KafkaConnector(kafka)
    with closing(connector.publisher()) as publisher:
        publisher.send(OutRecord(*partition, None, b"end", []))
        publisher.flush()
    values = []
    with closing(connector.source()) as source:
        source.assign({partition: 0})
        for fetch in itertools.chain.from_iterable(source.poll(1.0) for _ in range(20)):
            values += [record.value for record in fetch.records]
            if b"end" in values:
                return values[:-1]
    raise AssertionError(f"no end among {values}")


def commit_though_a_batch_expired(sink, tunnel, partition):
    """Two records in one transaction, of which the client gives up the second; then a commit."""
    sink.open()
    sink.begin()
    sink.produce([OutRecord(*partition, None, b"first", [])])
    sink.flush()
    tunnel.loses = True
    tunnel.up.clear()
    sink.produce([OutRecord(*partition, None, b"expires", [])])
    # the network is back before the client gives up on the transaction itself
    healed = threading.Timer(2.0, tunnel.up.set)
    healed.start()
    try:
        sink.commit()
    finally:
        healed.join()


@pytest.mark.kafka
def test_a_batch_that_expires_never_becomes_a_committed_transaction(
    kafka, control, tunnel, partition
):
    """The stock client forgets the batch and commits (facts/kafka 6.1)."""
    connector = KafkaConnector(kafka, {**IMPATIENT, "proxy_url": tunnel.url})
    with closing(connector.sink(partition.topic, "group")) as sink:
        with pytest.raises(Transient):
            commit_though_a_batch_expired(sink, tunnel, partition)
        sink.open()
        sink.begin()
        sink.produce([OutRecord(*partition, None, b"again", [])])
        sink.commit()
    assert committed_values(kafka, control, partition) == [b"again"]


@pytest.mark.kafka
def test_without_reading_the_futures_a_lost_record_would_be_committed(
    kafka, control, tunnel, partition, monkeypatch, record_property
):
    """The mutant of the safeguard: it waits for the acknowledgements, and looks at none."""

    def only_wait(self, producer):
        limit_s = producer.config["delivery_timeout_ms"] / 1000 + 1
        settle(producer, [future for _, future in self._sent], limit_s)
        self._sent.clear()

    monkeypatch.setattr(KafkaSink, "_read_futures", only_wait)
    connector = KafkaConnector(kafka, {**IMPATIENT, "proxy_url": tunnel.url})
    with closing(connector.sink(partition.topic, "group")) as sink:
        commit_though_a_batch_expired(sink, tunnel, partition)
    assert committed_values(kafka, control, partition) == [b"first"]
    record_property("mutant", "futures are not read before a commit")
    record_property("found", "the transaction stands without one of its records")


@pytest.mark.kafka
def test_after_a_lost_reply_the_committed_offsets_tell_what_happened(
    kafka, control, tunnel, partition
):
    connector = KafkaConnector(kafka, {**IMPATIENT, "proxy_url": tunnel.url})
    with closing(connector.sink(partition.topic, partition.topic)) as sink:
        sink.open()
        sink.begin()
        sink.produce([OutRecord(*partition, None, b"result", [])])
        sink.send_offsets({partition: Committed(7, "cut 7")})
        sink.flush()
        tunnel.down.clear()
        with pytest.raises(Transient):
            sink.commit()
        tunnel.down.set()
        sink.open()
        committed = control.committed(partition.topic, [partition])
    assert committed == {partition: Committed(7, "cut 7")}
    assert committed_values(kafka, control, partition) == [b"result"]


@pytest.mark.kafka
def test_a_sink_waits_for_a_broker_that_went_away(kafka, tunnel):
    settings = {**IMPATIENT, "proxy_url": tunnel.url}
    connector = KafkaConnector(kafka, settings, reach_timeout_s=0.5)
    with closing(connector.sink(uuid.uuid4().hex, "group")) as sink:
        first = sink.open()
        tunnel.down.clear()
        with pytest.raises(Transient, match=kafka):
            sink.open()
        tunnel.down.set()
        assert sink.open() > first


@pytest.mark.kafka
def test_logs_of_the_client_survive_a_producer_that_was_thrown_away(kafka, monkeypatch):
    module = importlib.import_module("kafka.producer.kafka")
    monkeypatch.setattr(module, "log", logging.getLogger(module.__name__))
    sink = KafkaConnector(kafka).sink(uuid.uuid4().hex, "group")
    sink.open()
    sink.close()
    del sink
    gc.collect()
    assert isinstance(module.log, logging.Logger)


@pytest.mark.kafka
def test_every_port_can_be_closed_and_leaves_no_thread(kafka, partition):
    before = set(threading.enumerate())
    connector = pickle.loads(pickle.dumps(KafkaConnector(kafka)))
    source, sink, control = connector.source(), connector.sink(uuid.uuid4().hex, "g"), None
    sink.open()
    source.assign({partition: 0})
    source.poll(0)
    source.stable_ends([partition])
    control = connector.control()
    control.topics([partition.topic])
    control.committed("g", [partition])
    publisher = connector.publisher()
    publisher.send(OutRecord(*partition, None, b"x", []))
    publisher.flush()
    assert control.last_record(partition) is not None
    for port in (source, sink, control, publisher):
        port.close()
    left = [t for t in set(threading.enumerate()) - before if t.join(10) or t.is_alive()]
    assert left == []


@pytest.mark.kafka
@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_topics_are_read_however_they_are_compressed(kafka, codec):
    """The broker compresses them as its topic says, with the libraries that Java producers use."""
    connector, topic = KafkaConnector(kafka), f"{codec}{uuid.uuid4().hex[:8]}"
    with closing(connector.control()) as control:
        control.create_topic(topic, 1, 1, {"compression.type": codec})
    sounds = [bytes([number % 7]) * 100_000 for number in range(40)]  # 4 MB: over 1 MiB a batch
    with closing(connector.publisher()) as publisher:
        for number, sound in enumerate(sounds):
            headers = (("ce_time", b"2026-05-01T12:00:00Z"),)
            publisher.send(OutRecord(topic, 0, b"s%d" % number, sound, headers))
        publisher.flush()
    with closing(connector.source()) as source:
        source.assign({TopicPartition(topic, 0): 3})
        found = []
        while len(found) < 37:
            for fetch in source.poll(10.0):
                found += fetch.records
    assert [record.offset for record in found] == list(range(3, 40))
    assert [record.value for record in found] == sounds[3:]
    assert found[0].headers == [("ce_time", b"2026-05-01T12:00:00Z")]
    assert all(type(record.value) is bytes for record in found)


@pytest.mark.skipif(find_spec("lz4") is not None, reason="lz4 is installed here")
def test_compression_without_its_package_is_told_with_the_remedy(kafka):
    connector = KafkaConnector(kafka, {"compression_type": "lz4"})
    with pytest.raises(InvalidInput, match=r"compression_type.*lz4.*pip install lz4"):
        connector.publisher()


def test_a_publisher_is_of_use_after_a_refused_record(kafka, control):
    topic = f"small-{uuid.uuid4().hex[:8]}"
    control.create_topic(topic, 1, None, {"max.message.bytes": "500"})
    with closing(KafkaConnector(kafka).publisher()) as publisher:
        for value in (b"before", bytes(600), b"behind"):
            publisher.send(OutRecord(topic, 0, None, value, []))
        with pytest.raises(Refused, match=r"a record of 6\d\d bytes"):
            publisher.flush()
        publisher.send(OutRecord(topic, 0, None, b"after", []))
        publisher.flush()
    assert committed_values(kafka, control, TopicPartition(topic, 0))[-1] == b"after"


@pytest.mark.parametrize("port", ["source", "publisher", "control", "sink"])
def test_an_absent_broker_is_unreachable_by_name(port):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bootstrap = f"127.0.0.1:{taken.getsockname()[1]}"
    connector = KafkaConnector(bootstrap, reach_timeout_s=0.3)
    before = set(threading.enumerate())

    def topics():
        with closing(connector.control()) as control:
            control.topics(["t"])

    first_use = {
        "source": connector.source,
        "publisher": connector.publisher,
        "control": topics,
        "sink": lambda: connector.sink("id", "group").open(),
    }
    with pytest.raises(Unreachable, match=rf"{bootstrap} did not answer.*motet kafka start"):
        first_use[port]()
    clients = [t for t in set(threading.enumerate()) - before if t.name.startswith("kafka-io")]
    assert clients == []


def test_secrets_show_nowhere():
    connector = KafkaConnector("h:1", {"sasl_plain_password": "hush", "sasl_oops": "hush"})
    assert "hush" not in repr(connector)
    assert "hush" not in repr(connector._clients())
    with pytest.raises(InvalidInput) as caught:
        connector.source()
    assert "hush" not in str(caught.value)


def test_secrets_are_kept_out_of_the_clients_own_log(caplog):
    caplog.set_level(logging.DEBUG)
    connector = KafkaConnector("127.0.0.1:1", {"ssl_password": "hush"}, reach_timeout_s=0.1)
    with closing(connector.control()) as control, pytest.raises(Unreachable):
        control.topics(["t"])
    assert "127.0.0.1" in caplog.text
    assert "hush" not in caplog.text


def test_settings_that_are_none_or_not_the_users_are_all_named():
    connector = KafkaConnector("h:1", {"acks": 1, "retires": 3, "linger_ms": 1})
    with pytest.raises(InvalidInput) as caught:
        connector.publisher()
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["kafka.client.acks", "kafka.client.retires"]
    assert "sasl_plain_password" in setting_names()
    assert not setting_names() & {"group_id", "isolation_level", "transactional_id"}


def test_without_crc32c_no_client_is_made(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "crc32c" else find_spec(name)
    )
    with pytest.raises(InvalidInput, match="pip install crc32c"):
        KafkaConnector("h:1").source()


def test_a_stuck_call_is_given_up_and_named():
    watchdog = Watchdog("test")
    released = threading.Event()
    with pytest.raises(Transient, match="slow call: the client gave no answer"):
        watchdog.call(0.05, "slow call", released.wait)
    with pytest.raises(Transient, match="next call"):
        watchdog.call(60, "next call", builtins.len, "x")
    released.set()
    watchdog.close()


def test_the_environment_of_consumers_names_what_malloc_reads():
    assert dict(CONSUMER_ENV) == {
        "MALLOC_MMAP_THRESHOLD_": "33554432",
        "MALLOC_TRIM_THRESHOLD_": "536870912",
        "MALLOC_TOP_PAD_": "67108864",
    }


BUFFERS = """
import resource
from pipeline.connectors.environment import keep_buffers

{keep}
for _ in range(50):
    together = [b"x" * (12 << 20) for _ in range(4)]
    del together
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_process_that_keeps_its_buffers_does_not_fault_them_in_anew():
    """4 of 12 MiB, which are 12,288 pages, 50 times; what is given back is faulted in anew."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}

    def faults(keep: str, **environment: str) -> int:
        program = BUFFERS.format(keep=keep)
        command = [sys.executable, "-c", program]
        return int(subprocess.run(command, capture_output=True, env=bare | environment).stdout)

    assert faults("") > 40 * 12_288
    assert faults("keep_buffers()") < 10 * 12_288
    assert faults("keep_buffers()", MALLOC_MMAP_THRESHOLD_="1048576") > 40 * 12_288, "the user's"
