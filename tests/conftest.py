"""Fixtures that several rooms of the test suite share."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

import pytest

from pipeline.broker import process, server
from pipeline.broker.data_dir import DataDir

# Triton comes with torch's CUDA build, and some model libraries load it in passing. Nothing here
# compiles kernels, and its bindings write pages of complaints behind the last line of a run.
sys.modules["triton"] = None  # type: ignore[assignment]

_STOP_AT_END_OF_INPUT = """
import sys
from pathlib import Path
from pipeline.broker import server
sys.stdin.read()
server.stop(Path(sys.argv[1]))
"""


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
