"""A real Ray on this machine, once for the run, with logical GPUs; helpers: tests/support."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest
from kafka_user import KafkaUser

LOGICAL_CPUS, LOGICAL_GPUS = 4, 2


@pytest.fixture(scope="session")
def ray_address():
    """The address of a local Ray with logical CPUs and GPUs; joined by this process."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    ray = pytest.importorskip("ray")
    context = ray.init(
        num_cpus=LOGICAL_CPUS,
        num_gpus=LOGICAL_GPUS,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        _node_ip_address="127.0.0.1",
    )
    yield context.address_info["gcs_address"]
    ray.shutdown()


@pytest.fixture
def user(kafka: str) -> Iterator[KafkaUser]:
    with closing(KafkaUser(kafka)) as made:
        yield made
