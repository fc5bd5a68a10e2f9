"""The embedded Kafka for real: start, stop, start again, and what stands in its way."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from ports import free_port

from pipeline.broker import process, server, settings
from pipeline.broker.data_dir import DataDir
from pipeline.broker.jars import ensure_jars
from pipeline.broker.process import PidFile
from pipeline.errors import InvalidInput, Unreachable

pytestmark = pytest.mark.kafka

MOTET = [sys.executable, "-c", "from pipeline.cli import main; raise SystemExit(main())"]


@pytest.fixture(scope="module")
def used_dir(tmp_path_factory):
    """A data directory whose path needs care; new to the first test, used to the others."""
    return tmp_path_factory.mktemp("broker") / "dätä ✓"


@pytest.fixture
def data_dir(used_dir):
    """The data directory; whatever runs on it is stopped at the end."""
    yield used_dir
    server.stop(used_dir)


def publish(bootstrap: str, value: bytes) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic("kept", num_partitions=1, replication_factor=1)])
    admin.close()
    producer = KafkaProducer(
        bootstrap_servers=bootstrap, transactional_id="t", max_request_size=64 << 20
    )
    producer.init_transactions()
    producer.begin_transaction()
    producer.send("kept", value).get(timeout=30)
    producer.commit_transaction()
    producer.close()


def read_one(bootstrap: str) -> bytes:
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=64 << 20,
        consumer_timeout_ms=30_000,
    )
    consumer.assign([TopicPartition("kept", 0)])
    value = next(consumer).value
    consumer.close()
    return value


def test_data_outlives_a_stop_and_a_change_of_port(data_dir):
    first = server.start(0, data_dir)
    assert server.status(data_dir) == first
    value = os.urandom(32 << 20)  # the largest record that a pipeline takes
    publish(first.bootstrap, value)

    assert server.start(None, data_dir) == first  # safe to run again
    with pytest.raises(InvalidInput, match=f"runs on port {first.port}"):
        server.start(free_port(), data_dir)

    assert server.stop(data_dir) is True
    assert not process.is_ours(first.pid, DataDir.of(data_dir).properties)
    assert server.status(data_dir) is None
    assert server.stop(data_dir) is False

    port = free_port()
    second = server.start(port, data_dir)
    assert second.port == port != first.port
    assert read_one(second.bootstrap) == value


def test_a_killed_broker_and_a_stale_file_are_not_in_the_way(data_dir):
    first = server.start(0, data_dir)
    os.kill(first.pid, signal.SIGKILL)
    properties = DataDir.of(data_dir).properties
    assert process.wait_until(lambda: not process.is_ours(first.pid, properties), 10)
    assert server.status(data_dir) is None
    PidFile(os.getpid(), first.port).write(data_dir / "broker.json")  # given to another program

    said: list[str] = []
    with ThreadPoolExecutor(2) as pool:  # two at once: one starts it, the other finds it
        one, two = pool.map(lambda _: server.start(None, data_dir, on_progress=said.append), "ab")
    assert one == two
    assert one.pid not in (first.pid, os.getpid())
    assert any("stale" in line and "another program's" in line for line in said)
    assert sum(line.startswith("starting Kafka") for line in said) == 1


def test_without_any_java_on_the_machine(data_dir, tmp_path):
    ensure_jars()
    nothing = tmp_path / "bin"
    nothing.mkdir()
    env = {k: v for k, v in os.environ.items() if "JAVA" not in k.upper()}
    env |= {"PATH": str(nothing), "JAVA_TOOL_OPTIONS": "-XX:NoSuchOption"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [*MOTET, "kafka", *words, "--data", str(data_dir)]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=90)

    started = run("start")
    assert started.returncode == 0, started.stderr
    assert re.fullmatch(r"127\.0\.0\.1:\d+\n", started.stdout)
    bootstrap = started.stdout.strip()
    says_export = f"export KAFKA={bootstrap}\n" in started.stderr
    assert says_export == (bootstrap != f"127.0.0.1:{server.USUAL_PORT}")
    status = run("status")
    assert (status.returncode, status.stdout) == (0, started.stdout)
    pid = server.status(data_dir).pid
    assert os.readlink(f"/proc/{pid}/exe") == str(settings.java().resolve())
    stopped = run("stop")
    assert (stopped.returncode, stopped.stdout) == (0, "")
    gone = run("status")
    assert (gone.returncode, gone.stdout) == (3, "")
    assert re.fullmatch("motet: error: no Kafka answers .*\n", gone.stderr)


def test_what_kafka_said_when_it_died_is_shown(data_dir):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        data_dir.mkdir(exist_ok=True)
        with pytest.raises(Unreachable, match=f"{port}: Address already in use") as caught:
            # Past the check: another program may take a port while Java starts.
            server._launch(DataDir.of(data_dir), port, ensure_jars(), lambda _: None)
    assert "server.log" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (data_dir / "broker.json").exists()
