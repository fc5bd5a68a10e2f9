"""What all rooms of the test suite share; their helpers stand in tests/support."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "support"))

import order_of_tests

from pipeline.broker import process, server
from pipeline.broker.data_dir import DataDir
from pipeline.heap import settle_heap, swell_heap

swell_heap()

# Triton comes with torch's CUDA build, and some model libraries load it in passing. Nothing here
# compiles kernels, and its bindings write pages of complaints behind the last line of a run.
sys.modules["triton"] = None  # type: ignore[assignment]

# Ray runs its workers niced by 15: beside two test processes that compute they would stand still.
os.environ.setdefault("RAY_worker_niceness", "0")

_STOP_AT_END_OF_INPUT = """
import sys
from pathlib import Path
from pipeline.broker import server
sys.stdin.read()
server.stop(Path(sys.argv[1]))
"""


def pytest_configure() -> None:
    # The two below are not on every machine for tests on a GPU.
    if find_spec("hypothesis"):
        from hypothesis import settings

        # How long an example takes says how busy the machine is; the timeout of a test stays.
        settings.register_profile("motet", settings.default, deadline=None)
        settings.load_profile("motet")
    if find_spec("kafka"):
        from kafka.net.inet import KafkaNetSocket

        KafkaNetSocket.socket = lambda _self, *given: _ClosedWhenDropped(*given)
    if find_spec("librosa"):
        from pipeline.encoders.one_compiler import one_compiler

        with one_compiler():  # the workers of a run import their tests at the same moment
            import librosa.beat  # noqa: F401  (with all that it compiles when it is imported)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order_of_tests.order(items, of_a_worker="PYTEST_XDIST_WORKER" in os.environ)


def pytest_collection_finish() -> None:
    settle_heap()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    return order_of_tests.one_ray(config, log)


class _ClosedWhenDropped(socket.socket):
    """A socket of kafka-python, which leaves one to the collector where a client is closed while
    it connects or still has something to send: the warning would fail any test that runs then."""

    def __del__(self) -> None:
        self.close()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory):
    """``HOST:PORT`` of a real Kafka, started once for the run and stopped at its end."""
    data_dir = tmp_path_factory.mktemp("kafka")
    # The broker is detached. Its end hangs on a pipe, not on a finalizer: the pipe closes
    # even where the run is killed.
    command = [sys.executable, "-c", _STOP_AT_END_OF_INPUT, str(data_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as stopper:
        broker = server.start(port=0, data_dir=data_dir)
        yield broker.bootstrap
        stopper.stdin.close()
        assert stopper.wait(timeout=60) == 0
    with suppress(ChildProcessError):
        os.waitpid(broker.pid, 0)  # our child: it has ended, or is in the middle of its exit
    assert not process.is_ours(broker.pid, DataDir.of(data_dir).properties)
