"""Driver and backfill of deploy/kuberay as their pods run them, with a real Kafka and Ray."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import yaml
from contained import possible
from deploy_files import DEPLOY
from kafka_user import BEGIN_US, KafkaUser, await_that, noise, rfc3339
from kustomized import built
from pods import RAY_TOKEN, TOKEN, Pods

from pipeline.cli import main

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not possible(), reason="needs root, for mounts that are its own"),
]
STREAMS = ["s0", "s1", "s2"]
HERE = "/run/motet"  # stands for /etc/motet, which this machine does not have


def of(folder: str, kind: str) -> dict[str, Any]:
    [found] = [one for one in built(DEPLOY / "kuberay" / folder) if one["kind"] == kind]
    return found


def pipeline_file(folder: str, kafka: str, port: int) -> str:
    """The one of a folder, for this broker and this port."""
    tree = yaml.safe_load(of(folder, "ConfigMap")["data"]["lobby.yaml"])
    tree["kafka"] = {"bootstrap": kafka}
    tree["metrics"]["port"] = port
    return yaml.safe_dump(tree)


@pytest.fixture(scope="module")
def user(kafka, tmp_path_factory) -> Iterator[KafkaUser]:
    """Topics as the job of the overlay `dev` makes them, and those of a backfill."""
    file = tmp_path_factory.mktemp("topics") / "lobby.yaml"
    tree = yaml.safe_load(pipeline_file("overlays/dev", kafka, 0))
    file.write_text(yaml.safe_dump(tree | {"metrics": {"port": 0}}))
    program, *arguments = of("overlays/dev", "Job")["spec"]["template"]["spec"]["containers"][0][
        "command"
    ]
    assert program == "motet"
    command = [str(file) if "/" in word else word for word in arguments]
    assert main(command) == 0
    assert main([*command, "--name", "backfill"]) == 0
    with closing(KafkaUser(kafka)) as user:
        yield user


def send(user: KafkaUser, seconds: range) -> None:
    picture = next((DEPLOY.parent / "pipeline/demo/media").rglob("*.jpg")).read_bytes()
    for second in seconds:
        for stream in STREAMS:
            at_us = BEGIN_US + second * 1_000_000
            user.send("lobby.audio", stream, noise(second), at_us)
            user.send("lobby.video", stream, picture, at_us + 500_000)
    user.producer.flush()


def windows(user: KafkaUser, topic: str = "lobby.results") -> list[tuple[str, int]]:
    """What committed results are about."""
    told = [json.loads(record.value) for record in user.read(topic)]
    return sorted((one["stream"], one["window"]["start_us"]) for one in told)


def due(seconds: range) -> list[tuple[str, int]]:
    return sorted((s, BEGIN_US + second * 1_000_000) for s in STREAMS for second in seconds)


class Driver:
    """The Deployment's container beside the cluster of the overlay `dev`."""

    def __init__(self, pods: Pods, kafka: str) -> None:
        pod = of("overlays/dev", "Deployment")["spec"]["template"]["spec"]
        self._pods, self._container = pods, pod["containers"][0]
        self._grace_s = pod["terminationGracePeriodSeconds"]
        env = {one["name"]: one.get("value", TOKEN) for one in self._container["env"]}
        env["RAY_ADDRESS"] = f"127.0.0.1:{pods.gcs}"
        shell, flag, line = self._container["command"]
        line = line.replace("--metrics-export-port=8080", pods.ports("driver"))
        files = {
            f"{HERE}/lobby.yaml": pipeline_file("overlays/dev", kafka, pods.http),
            env["METRICS_TOKEN_FILE"]: TOKEN,
        }
        pods.start("driver", [shell, flag, line.replace("/etc/motet", HERE)], env, files)

    def passes(self, probe: str) -> bool:
        [_, target] = self._container[f"{probe}Probe"]["exec"]["command"]
        return self._pods.probe(target)

    def await_ready(self) -> None:
        self._pods.await_probe("driver", lambda: self.passes("startup"))
        self._pods.await_probe("driver", lambda: self.passes("readiness"))
        assert self.passes("liveness")

    def again(self) -> None:
        """In the same pod: what lay in its /tmp is there."""
        self._pods["driver"].again()
        self.await_ready()

    def end(self) -> int:
        """SIGTERM, and the exit code within the pod's grace."""
        self._pods["driver"].terminate()
        return self._pods["driver"].wait(self._grace_s)

    def kill(self) -> None:
        self._pods["driver"].kill()


def test_the_driver_runs_drains_and_is_started_anew_in_its_pod(kafka, user, tmp_path):
    with closing(Pods(tmp_path, of("overlays/dev", "RayCluster")["spec"])) as pods:
        pods.start_ray({})
        send(user, range(4))
        driver = Driver(pods, kafka)
        driver.await_ready()
        await_that("results", lambda: windows(user) >= due(range(3)), 120)

        assert driver.end() == 0, pods["driver"].said
        before = windows(user)
        send(user, range(4, 6))
        driver.again()
        await_that("more results", lambda: set(windows(user)) >= set(due(range(5))), 120)
        driver.kill()
        send(user, range(6, 8))
        driver.again()
        await_that("all results", lambda: set(windows(user)) >= set(due(range(7))), 120)
        assert driver.end() == 0, pods["driver"].said

        found = windows(user)
        assert len(found) == len(set(found)), "a window came twice"
        assert set(before) <= set(found)
        assert all(pods.healthy(name) for name in ("head", "worker"))


def test_a_backfill_is_a_job_on_its_cluster_that_ends(kafka, user, tmp_path):
    send(user, range(10, 14))
    job = of("backfill", "RayJob")["spec"]
    with closing(Pods(tmp_path, job["rayClusterSpec"])) as pods:
        pods.start_ray(
            {
                f"{HERE}/lobby.yaml": pipeline_file("backfill", kafka, pods.http),
                "/run/secrets/metrics/token": TOKEN,
            }
        )
        span = [rfc3339(BEGIN_US + second * 1_000_000) for second in (10, 13)]
        entrypoint = job["entrypoint"].replace("/etc/motet", HERE)
        for flag, at in zip(("--from", "--to"), span, strict=True):
            entrypoint, found = re.subn(rf"{flag} \S+", f"{flag} {at}", entrypoint)
            assert found == 1
        # as KubeRay has the submitter do it (common/job.go)
        address = f"--address=http://127.0.0.1:{pods.dashboard}"
        command = ["ray", "job", "submit", address, "--", *shlex.split(entrypoint)]
        pods.start("submitter", command, RAY_TOKEN, {})
        assert pods["submitter"].wait(400) == 0, pods["submitter"].said
        assert '"windows": 9' in pods["submitter"].said
        assert windows(user, "lobby.results.backfill") == due(range(10, 13))

        # The worker's pod is deleted: nothing is left on its node, which ends before SIGTERM comes.
        [group] = job["rayClusterSpec"]["workerGroupSpecs"]
        hook = group["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        program, limit_s = hook
        assert program == "motet-leave"
        leave = ["sh", str(DEPLOY / "leave.sh"), limit_s]
        assert pods["worker"].also(leave, float(limit_s) + 60) == 0, pods["worker"].said
        assert not pods.healthy("worker")
        assert "there is no Ray node" not in pods["worker"].said
        pods["worker"].terminate()
        pods["worker"].wait(60)
