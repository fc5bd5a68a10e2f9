"""deploy/'s compose file, as far as that can be checked without Docker.

What is mounted exists, names and ports agree with each other, every command line parses and the
pipeline is valid.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_files import COMPOSE, DEPLOY, DOCKERFILE, INSTRUCTIONS, PROMETHEUS, SERVICES
from deploy_server import TOKEN
from kube_schemas import wrong_in_compose

from pipeline.broker.jars import locked
from pipeline.cli.app import command_line
from pipeline.spec import load

OURS = [name for name, service in SERVICES.items() if service["image"].startswith("motet:")]
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+(-[a-z-]+)?$")
SCRATCH = {"type": "volume", "target": "/tmp"}  # a volume without a name: gone with its container
VARIABLE = re.compile(r"\$\{(\w+)(?::[-?]([^}]*))?\}")


def expanded(text: str) -> str:
    """With the defaults of variables, as compose would without an .env file."""
    return VARIABLE.sub(lambda found: found[2] or "", text)


def mounts(service: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Source, target and whether it is read-only."""
    for line in service.get("volumes", []):
        if isinstance(line, dict):
            assert line == SCRATCH
            continue
        source, target, *mode = line.split(":")
        yield source, target, mode == ["ro"]


@pytest.fixture
def spec(tmp_path):
    """The pipeline, with its secret at another place."""
    (tmp_path / "token").write_text(TOKEN)
    environ = {**SERVICES["motet"]["environment"], "METRICS_TOKEN_FILE": str(tmp_path / "token")}
    return load(DEPLOY / "pipelines" / "lobby.yaml", environ=environ)


def test_every_service_is_pinned_watched_and_bounded():
    for name, service in SERVICES.items():
        assert PINNED.match(service["image"]), name
        assert service["restart"] == ("no" if name == "topics" else "unless-stopped")
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
        watched = "healthcheck" in service or service["image"] == SERVICES["motet"]["image"]
        assert watched, name  # motet's own check is in the image
    bases = [argument.split()[0] for word, argument in INSTRUCTIONS if word == "FROM"]
    bases += re.findall(r"--from=(\S+:\S+)", DOCKERFILE)
    stages = {"runtime"}  # what the images for CPUs and GPUs are made from
    assert len(set(bases) - stages) == 2
    assert all(PINNED.match(base) for base in set(bases) - stages)


def test_compose_takes_the_file():
    assert wrong_in_compose(COMPOSE) == []
    slip = {**COMPOSE, "services": {"kafka": {"imaeg": "apache/kafka:4.3.1"}}}
    assert wrong_in_compose(slip)


def test_no_service_may_more_than_it_needs():
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"privileged", "cap_add", "network_mode", "pid"} & service.keys()
    for name in OURS:
        assert SERVICES[name]["read_only"] is True
        assert SCRATCH in SERVICES[name]["volumes"]


def test_what_a_service_waits_for_is_there_and_can_become_so():
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            awaited = SERVICES[name]
            if how["condition"] == "service_completed_successfully":
                assert awaited["restart"] == "no"
            else:
                assert how == {"condition": "service_healthy"}
                assert "test" in awaited["healthcheck"]


def test_what_is_mounted_exists_and_named_volumes_are_declared():
    named = set()
    for service in SERVICES.values():
        for source, target, read_only in mounts(service):
            assert target.startswith("/")
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
                assert read_only, f"{source} could be changed from inside"
            else:
                named.add(source)
    assert named == set(COMPOSE["volumes"])
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    # Compose cannot put what comes from the environment into a root that is read-only.
    made = re.search(r"for name in (.*?);", (DEPLOY / ".env.example").read_text())
    assert made is not None
    assert set(made[1].split()) == used
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}


def test_only_this_machine_reaches_the_ports():
    for service in SERVICES.values():
        for port in service.get("ports", []):
            assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)


def test_every_variable_is_in_the_example():
    text = (DEPLOY / "compose.yaml").read_text()
    used = {name for name, _ in VARIABLE.findall(text)}
    example = (DEPLOY / ".env.example").read_text()
    assert used == set(re.findall(r"^#?(\w+)=", example, re.MULTILINE))


def test_kafka_is_the_version_that_is_tested_and_listens_where_others_look(spec):
    kafka = SERVICES["kafka"]["environment"]
    [server] = [jar.version for jar in locked() if jar.artifact == "kafka_2.13"]
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{server}"
    listeners = dict(one.split("://") for one in kafka["KAFKA_LISTENERS"].split(","))
    advertised = dict(one.split("://") for one in kafka["KAFKA_ADVERTISED_LISTENERS"].split(","))
    protocols = dict(
        one.split(":") for one in kafka["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    )
    assert set(listeners) == set(protocols)
    assert set(advertised) == set(listeners) - {kafka["KAFKA_CONTROLLER_LISTENER_NAMES"]}
    for name, address in advertised.items():
        assert address.rpartition(":")[2] == listeners[name].rpartition(":")[2]
    assert (
        spec.kafka.bootstrap == advertised["INSIDE"] == SERVICES["topics"]["environment"]["KAFKA"]
    )
    assert advertised["INSIDE"].partition(":")[0] == SERVICES["kafka"]["hostname"]
    host, _, port = advertised["OUTSIDE"].rpartition(":")
    assert SERVICES["kafka"]["ports"] == [f"{host}:{port}:{port}"]
    assert load_default() == advertised["OUTSIDE"]
    voter = kafka["KAFKA_CONTROLLER_QUORUM_VOTERS"].partition("@")[2]
    assert voter == SERVICES["kafka"]["hostname"] + listeners["CONTROLLER"]
    assert kafka["KAFKA_MESSAGE_MAX_BYTES"] >= spec.limits.record_bytes
    assert ("kafka-data", kafka["KAFKA_LOG_DIRS"], False) in mounts(SERVICES["kafka"])


def load_default() -> str:
    """The broker of the file where KAFKA is not set: as on the host."""
    found = re.search(r"\$\{KAFKA:-([^}]*)\}", (DEPLOY / "pipelines" / "lobby.yaml").read_text())
    assert found is not None
    return found[1]


def test_the_metrics_are_where_prometheus_asks(spec):
    jobs = {job["job_name"]: job for job in PROMETHEUS["scrape_configs"]}
    motet = SERVICES["motet"]
    [target] = jobs["motet"]["static_configs"][0]["targets"]
    assert target == f"{motet['hostname']}:{spec.metrics.port}"
    assert (spec.metrics.host, str(spec.metrics.token)) == ("0.0.0.0", TOKEN)
    assert motet["ports"] == [f"127.0.0.1:{spec.metrics.port}:{spec.metrics.port}"]
    assert ("EXPOSE", str(spec.metrics.port)) in INSTRUCTIONS
    assert motet["environment"]["METRICS_TOKEN_FILE"] == "/run/secrets/metrics-token"

    own = SERVICES["prometheus"]
    secret = Path(jobs["motet"]["authorization"]["credentials_file"])
    assert (str(secret.parent), own["secrets"]) == ("/run/secrets", [secret.name])
    targets = {target: path for path, target, _ in mounts(own)}
    assert f"--config.file={Path('/etc/prometheus/prometheus.yml')}" in own["command"]
    for rules in PROMETHEUS["rule_files"]:
        assert (DEPLOY / targets[f"/etc/prometheus/{rules}"]).name == rules

    [found] = jobs["ray"]["dns_sd_configs"]
    ray = [f"{name}:{found['port']}" for name in found["names"]]
    ray += jobs["ray"]["static_configs"][0]["targets"]
    for target in ray:
        name, port = target.split(":")
        command = " ".join(SERVICES[name]["command"])
        assert f"--metrics-export-port={port}" in command, target
    assert {target.split(":")[0] for target in ray} == set(OURS) - {"topics"}


def test_grafana_finds_its_source_and_its_dashboard():
    grafana = SERVICES["grafana"]
    at = {target: DEPLOY / source for source, target, _ in mounts(grafana)}
    [provider] = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/dashboards/motet.yaml").read_text()
    )["providers"]
    [home] = at[provider["options"]["path"]].glob("*.json")
    shown = f"{provider['options']['path']}/{home.name}"
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == shown
    [source] = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text()
    )["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == PROMETHEUS["global"]["scrape_interval"]
    [variable] = [
        v for v in json.loads(home.read_text())["templating"]["list"] if v["type"] == "datasource"
    ]
    assert variable["current"] == {"text": source["name"], "value": source["uid"]}
    assert "/etc/grafana/provisioning" in at


def command_lines(service: dict[str, Any]) -> list[list[str]]:
    words = [expanded(word) for word in service["command"]]
    if words[:2] != ["sh", "-c"]:
        return [words]
    return [part.removeprefix("exec ").split() for part in words[2].split(" && ")]


@pytest.mark.parametrize("name", OURS)
def test_the_command_lines_parse(name):
    root = command_line()
    for program, *arguments in command_lines(SERVICES[name]):
        command: Any = root
        if program == "ray":
            import ray.scripts.scripts

            command = ray.scripts.scripts.cli
        while hasattr(command, "commands"):
            command = command.commands[arguments.pop(0)]
        with command.make_context(program, list(arguments)) as context:
            files = [value for value in context.params.values() if isinstance(value, Path)]
        if program == "motet":
            inside = {target: DEPLOY / source for source, target, _ in mounts(SERVICES[name])}
            for path in files:
                assert (inside[str(path.parent)] / path.name).is_file()
            assert files


def test_a_ray_node_is_healthy_when_its_own_raylet_is():
    from ray._private.ray_constants import DEFAULT_DASHBOARD_AGENT_LISTEN_PORT

    for name in ("ray-head", "ray-worker"):
        asked = SERVICES[name]["healthcheck"]["test"]
        port = DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
        assert asked == ["CMD", "motet-probe", f":{port}/api/local_raylet_healthz"]


def test_every_ray_process_shows_the_token_and_finds_the_same_files():
    for name in OURS:
        service = SERVICES[name]
        assert list(mounts(service)) == list(mounts(SERVICES["motet"]))
        if name != "topics":
            assert service["environment"]["RAY_AUTH_MODE"] == "token"
            path = Path(service["environment"]["RAY_AUTH_TOKEN_PATH"])
            assert path.parent == Path("/run/secrets")
            assert path.name in service["secrets"]
    address = SERVICES["motet"]["environment"]["RAY_ADDRESS"]
    head = " ".join(SERVICES["ray-head"]["command"])
    assert f"--port={address.partition(':')[2]}" in head
    for name in ("motet", "ray-worker"):
        assert f"ray start --address={address}" in " ".join(SERVICES[name]["command"])
