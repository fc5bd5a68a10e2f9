"""The overlays hold what their pipelines may take; OPERATIONS.md has the numbers of the code."""

from __future__ import annotations

import re

import pytest
import yaml
from deploy_files import ROOT
from deploy_objects import ALL, of, pipeline_file

from pipeline.cli.topic_plan import HEADROOM_BYTES
from pipeline.connectors.kafka import clients
from pipeline.slot.metadata import FORMAT_VERSION
from pipeline.spec.units import parse_size

PAGE = (ROOT / "docs" / "OPERATIONS.md").read_text()
LANES = 4  # of `motet topics create`, unless told
PROCESS_BYTES, REPLICA_BYTES = 100_000_000, 400_000_000


@pytest.mark.parametrize("folder", ALL)
def test_a_worker_holds_all_owners_and_a_replica_of_each_stage(folder):
    """The worst: the other workers are gone, and everything waits."""
    file = yaml.safe_load(pipeline_file(folder))
    limits = {key: parse_size(text) for key, text in file["limits"].items()}
    owners = file["slots"] * limits["in_flight_bytes"] + LANES * limits["open_bytes"]
    owners += clients._CONSUMER["fetch_max_bytes"] + 2 * PROCESS_BYTES
    for group in of(folder, "RayCluster")["spec"]["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        memory = parse_size(f"{pod['containers'][0]['resources']['limits']['memory']}B")
        [shm] = [one["emptyDir"]["sizeLimit"] for one in pod["volumes"] if one["name"] == "shm"]
        taken = owners + len(file["stages"]) * REPLICA_BYTES + parse_size(f"{shm}B")
        assert taken < memory
        assert parse_size(f"{shm}B") >= file["slots"] * limits["in_flight_bytes"]


def row(of_table: str) -> str:
    [found] = re.findall(rf"^\| {re.escape(of_table)} .*$", PAGE, re.MULTILINE)
    return str(found)


def test_the_page_has_the_numbers_of_the_code():
    fetch = clients._CONSUMER["fetch_max_bytes"] >> 20
    assert f"{fetch} MiB (one fetch)" in row("memory of an owner")
    timeout_s = clients._TRANSACTIONAL["transaction_timeout_ms"] // 1000
    assert f"asks for {timeout_s} s" in row("`transaction.max.timeout.ms`")
    headroom = HEADROOM_BYTES >> 10
    assert f"`limits.record_bytes` + {headroom} KiB" in row("inputs")
    assert f"input + {headroom} KiB" in row("`late`, `dead_letter`")
    assert f"+ {2 * headroom} KiB" in row("`message.max.bytes`, `replica.fetch.max.bytes`")
    positions = row("positions and open windows")
    assert f"`v` {FORMAT_VERSION}" in positions
    assert f"commit format {FORMAT_VERSION + 1} is not {FORMAT_VERSION}" in positions
