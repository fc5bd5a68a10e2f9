"""The Ray that motet starts for itself: nobody else may run code on it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import yaml
from pipelines import CHAT

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

OWN = """
import sys
from pathlib import Path
import ray
from actors import cluster
from pipeline.spec import loads

found = cluster.connect(loads(sys.argv[1], folder=Path(), environ={}))
print(ray.get_runtime_context().gcs_address, int(found.cpus), flush=True)
sys.stdin.read()
ray.shutdown()
"""
JOIN = """
import sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False)
print("joined")
"""


STRANGERS = ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64})


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("RAY_AUTH", "RAY_ADDRESS"))}
    return {**kept, "RAY_USAGE_STATS_ENABLED": "0", **changes}


def joining(address: str, changes: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", JOIN, address],
        env=environment(changes),
        capture_output=True,
        text=True,
        timeout=150,
    )


def test_who_has_not_its_token_cannot_join_the_ray_that_was_started() -> None:
    command = [sys.executable, "-c", OWN, yaml.safe_dump(CHAT)]
    with subprocess.Popen(
        command, env=environment({}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            told = re.fullmatch(r"(\S+:\d+) \d+\n", line)
            assert told is not None, line
            with ThreadPoolExecutor() as pool:
                for refused in pool.map(partial(joining, told[1]), STRANGERS):
                    assert refused.stdout == ""
                    assert refused.returncode != 0
                    assert "InvalidAuthToken" in refused.stderr
        finally:
            process.stdin.close()
            assert process.wait(60) == 0
