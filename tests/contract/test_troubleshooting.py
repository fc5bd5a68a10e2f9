"""Every line of docs/TROUBLESHOOTING.md is caused here, by the command, and compared."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka.admin import NewTopic
from kafka_user import BEGIN_US, LOCAL, Command, KafkaUser, await_that
from ports import free_port

from pipeline.cli import connect
from pipeline.connectors.kafka import KafkaConnector

pytestmark = pytest.mark.kafka

PAGE = Path(__file__).parents[2] / "docs" / "TROUBLESHOOTING.md"
# A line of the command is an indented one of the page, and what follows it deeper.
SHOWN = re.findall(r"^    (motet: .+(?:\n      .+)*)$", PAGE.read_text("utf-8"), re.MULTILINE)
LINES = [" ".join(shown.split()) for shown in SHOWN]
OWN = """
class Raises:
    takes, gives = "audio", "vector"
    def __init__(self, device): raise RuntimeError("no weights")
    def encode(self, batch): return []
class Fails:
    takes, gives, length = "audio", "vector", 3
    def __init__(self, device): pass
    def encode(self, batch): raise KeyError("boom")
"""


@dataclass
class World:
    """What a user has: a broker, a command, a folder; the answers are read as of ``lobby``."""

    kafka: str
    user: KafkaUser
    motet: Callable[..., Any]
    start: Callable[..., Command]
    make: Callable[..., Path]
    prefix: str
    folder: Path
    patch: pytest.MonkeyPatch
    base: Path  # of all temporary folders of this run

    def file(self, create: bool = True, **changes: Any) -> Path:
        return self.make(self.prefix, create, **changes)

    def says(self, code: int, *arguments: object) -> str:
        answer = self.motet(*arguments)
        assert answer.code == code, answer.err
        assert "Traceback" not in answer.err
        return answer.err

    def as_shown(self, text: str) -> str:
        """Paths, names and the broker's port as the page has them."""
        for found, shown in (
            (str(self.folder / f"{self.prefix}.yaml"), "lobby.yaml"),
            (f"{self.folder}/", ""),
            (self.prefix, "lobby"),
            (self.kafka, "127.0.0.1:19092"),
        ):
            text = text.replace(found, shown)
        return text

    def closed_port(self) -> str:
        """A file whose broker is not there, asked once; what is said, its port as 9092."""
        self.patch.setitem(connect.await_broker.__kwdefaults__, "limit_us", 0)
        port = free_port()
        file = self.file(create=False, kafka={"bootstrap": f"127.0.0.1:{port}"})
        said = self.says(3, "run", file, "--local")
        return said.replace(f":{port}", ":9092").replace("after 0 s", "after 30 s")

    def stage(self, **stage: Any) -> dict[str, Any]:
        (self.folder / "own.py").write_text(OWN)
        words = {"encoder": "hash_text", "of": "chat", "options": {"dim": 4}}
        return {"sound": {"encoder": "log_mel", "of": "mic", **stage}, "words": words}

    def send(self, key: str | None, count: int, value: bytes) -> None:
        for second in range(count):
            self.user.send(f"{self.prefix}.audio", key, value, BEGIN_US + second * 1_000_000)
        self.user.producer.flush()


def tone(order: str) -> bytes:
    return (8000 * np.sin(np.arange(16_000) * 0.17)).astype(f"{order}i2").tobytes()


def no_broker(world: World) -> str:
    world.patch.setenv("XDG_DATA_HOME", str(world.folder))
    return world.closed_port()


def broker_elsewhere(world: World) -> str:
    [data] = {p.parent.resolve() for p in world.base.glob("kafka*/broker.json")}
    (world.folder / "motet").mkdir()
    (world.folder / "motet" / "kafka").symlink_to(data)
    world.patch.setenv("XDG_DATA_HOME", str(world.folder))
    return world.closed_port()


def no_kafka(world: World) -> str:
    *others, _ = KafkaConnector.__init__.__defaults__ or ()
    world.patch.setattr(KafkaConnector.__init__, "__defaults__", (*others, 0.5))
    with socket.create_server(("127.0.0.1", 0)) as mute:
        where = f"127.0.0.1:{mute.getsockname()[1]}"
        said = world.says(3, "tail", "--topic", "lobby.results", "--bootstrap", where)
    return said.replace(where, "127.0.0.1:9092").replace("within 0.5 s", "within 30 s")


def wrong_client(world: World) -> str:
    flags = ("--client", "security_protocl=SSL")
    return world.says(2, "tail", "--topic", "x", "--bootstrap", world.kafka, *flags)


def no_topics(world: World) -> str:
    return world.says(2, "run", world.file(create=False), "--local")


def one_partition(world: World) -> str:
    counts = {"audio": 4, "text": 1, "results": 4, "late": 4, "dead": 4}
    made = [NewTopic(f"{world.prefix}.{n}", count, 1) for n, count in counts.items()]
    world.user.admin.create_topics(made)
    return world.says(2, "run", world.file(create=False), "--local")


def near_topic(world: World) -> str:
    world.file()
    topic = f"{world.prefix}.resutls"
    said = world.says(2, "tail", "--topic", topic, "--bootstrap", world.kafka)
    return re.sub(r"( or \S+)+\?", "?", said)  # other tests have topics there too


def illegal_topic(world: World) -> str:
    return world.says(2, "tail", "--topic", "a b", "--bootstrap", world.kafka)


def no_file(world: World) -> str:
    return world.says(2, "run", world.folder / "lobby.yml", "--local")


def wrong_key(world: World) -> str:
    return world.says(2, "run", world.file(create=False), "--set", "windows.sise=1s")


def wrong_set(world: World) -> str:
    return world.says(2, "run", world.file(create=False), "--set", "hop")


def no_key(world: World) -> str:
    file = world.file()
    world.send(None, 20, tone(">"))
    said = world.says(1, "run", file, *LOCAL)
    assert not world.user.read(f"{world.prefix}.dead")  # the positions stay before them
    return said


def swapped(world: World) -> str:
    file = world.file()
    world.send("s0", 2, tone("<"))
    return world.says(0, "run", file, *LOCAL)


def unknown_encoder(world: World) -> str:
    return world.says(2, "validate", world.file(False, stages=world.stage(encoder="log_mels")))


def raising_encoder(world: World) -> str:
    stages = world.stage(encoder="own:Raises")
    return world.says(2, "run", world.file(stages=stages), "--local")


def failing_encoder(world: World) -> str:
    file = world.file(stages=world.stage(encoder="own:Fails"))
    world.send("s0", 2, tone(">"))
    said = world.says(0, "run", file, *LOCAL)
    assert "KeyError: 'boom'" in world.motet("dlq", "list", file).out
    return said


def no_gpu(world: World) -> str:
    world.patch.setenv("CUDA_VISIBLE_DEVICES", "")
    return world.says(2, "run", world.file(stages=world.stage(num_gpus=1)), "--local")


def page_port_taken(world: World) -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = world.says(0, "run", world.file(metrics={"port": port}), *LOCAL)
    return said.replace(str(port), "9464")


def kafka_port_taken(world: World) -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = world.says(2, "kafka", "start", "--port", port, "--data", world.folder / "data")
    return said.replace(str(port), "9092")


def full_disk(world: World) -> str:
    with world.patch.context() as patch:
        full = open("/dev/full", "w")  # noqa: SIM115  its end fails again
        patch.setattr(sys, "stdout", full)
        answer = world.motet("schema")
    with suppress(OSError):
        full.close()
    assert answer.code == 1
    return str(answer.err)


def ejected_twice(world: World) -> str:
    (world.folder / "lobby").mkdir()
    (world.folder / "lobby" / "mine").touch()
    return world.says(2, "demo", "--eject", world.folder / "lobby")


def two_runs(world: World) -> str:
    file = world.file()
    first = world.start("run", file, "--local")
    await_that("its claim", lambda: world.user.committed(world.prefix))
    world.says(0, "run", file, *LOCAL)
    assert first.wait() == 1, first.err
    lane = re.sub(r"lane \d is owned by run \w+ at", "lane 0 is owned by run RUN at", first.err)
    return re.sub(r"at cut \d+", "at cut 1", lane)


CAUSES: dict[str, Callable[[World], str]] = {
    "; start one with": no_broker,
    "`export KAFKA=": broker_elsewhere,
    "is it a Kafka's port?": no_kafka,
    "--client = ": wrong_client,
    "inputs.mic.topic": no_topics,
    "it has 1 partition": one_partition,
    "resutls": near_topic,
    "a b:": illegal_topic,
    "lobby.yml": no_file,
    "windows.sise": wrong_key,
    "--set = ": wrong_set,
    "no stream id": no_key,
    "byte-swapped": swapped,
    "log_mels": unknown_encoder,
    "no weights": raising_encoder,
    "2 entries": failing_encoder,
    "num_gpus": no_gpu,
    "metrics.port": page_port_taken,
    "--port = ": kafka_port_taken,
    "stdout": full_disk,
    "--eject": ejected_twice,
    "took over": two_runs,
}


@pytest.fixture
def world(kafka, user, motet, start, make_file, prefix, tmp_path, monkeypatch, tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    return World(kafka, user, motet, start, make_file, prefix, tmp_path, monkeypatch, base)


def test_each_cause_is_of_one_line_and_each_line_has_one():
    for mark in CAUSES:
        assert len([line for line in LINES if mark in line]) == 1, mark
    assert len(CAUSES) == len(LINES)


@pytest.mark.parametrize("mark", CAUSES)
def test_the_line_is_what_the_command_says(world, mark):
    [line] = [line for line in LINES if mark in line]
    said = world.as_shown(CAUSES[mark](world)).splitlines()
    assert line in said, "\n".join(said)
