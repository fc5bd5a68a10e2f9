"""A user with a broker, topics and pipeline files; the helpers stand in tests/support."""

from __future__ import annotations

import itertools
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from kafka_user import PARTITIONS, Command, KafkaUser, await_that

from pipeline.cli import main


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def user(kafka: str) -> Iterator[KafkaUser]:
    with closing(KafkaUser(kafka)) as user:
        yield user


@pytest.fixture
def prefix() -> str:
    """What the topics of one test begin with."""
    return f"p{uuid.uuid4().hex[:8]}"


@pytest.fixture
def motet(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs a command line in this process."""

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def make_file(
    kafka: str, prefix: str, tmp_path: Path, motet: Callable[..., Answer]
) -> Callable[..., Path]:
    """Writes a pipeline file over the test's inputs, with output topics of its own name.

    Keys of the top level can be replaced. All its topics are made unless ``create`` is False.
    """

    def write(name: str, create: bool = True, **changes: Any) -> Path:
        tree = {
            "version": 1,
            "name": name,
            "kafka": {"bootstrap": kafka},
            "inputs": {
                "mic": {"topic": f"{prefix}.audio", "type": "audio/L16;rate=16000;channels=1"},
                "chat": {"topic": f"{prefix}.text", "type": "text/plain", "gating": False},
            },
            "windows": {"size": "1s"},
            "stages": {
                "sound": {"encoder": "log_mel", "of": "mic", "options": {"n_mels": 8}},
                "words": {"encoder": "hash_text", "of": "chat", "options": {"dim": 4}},
            },
            "fusion": {"rule": "concat", "of": {"sound": 1, "words": 1}},
            "metrics": {"port": 0},  # runs of the suite may go side by side
            "outputs": {
                "results": f"{name}.results",
                "late": f"{name}.late",
                "dead_letter": f"{name}.dead",
            },
            **changes,
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(tree, sort_keys=False))
        if create:
            assert motet("topics", "create", path, "--partitions", PARTITIONS).code == 0
        return path

    return write


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Starts a command line in a process of its own; whatever still runs at the end is killed."""
    started: list[Command] = []
    folders = (tmp_path / f"command-{number}" for number in itertools.count())

    def run(*arguments: object) -> Command:
        started.append(Command(arguments, next(folders)))
        return started[-1]

    yield run
    for command in started:
        command.kill()


@pytest.fixture
def run_until(
    user: KafkaUser, prefix: str, start: Callable[..., Command]
) -> Callable[[Path, int], None]:
    """Runs a pipeline until so many results are there, and stops it: what is open stays open."""

    def run(file: Path, results: int) -> None:
        live = start("run", file, "--local")
        await_that("results", lambda: len(user.results(prefix, settled=False)) >= results)
        live.signal(signal.SIGTERM)
        assert live.wait() == 0, live.err

    return run
