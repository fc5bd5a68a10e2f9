"""deploy/kuberay: what one object names, another has: secrets, ports, labels, commands, files."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_files import DEPLOY, DOCKERFILE
from deploy_objects import ALL, driver, objects_of, of, pipeline_file, plain_environment
from kube_schemas import wrong_in

from pipeline.cli.app import command_line
from pipeline.spec import load

SECRETS = {  # made by hand, as docs/DEPLOY.md says; `motet` by KubeRay
    "motet": {"auth_token"},
    "motet-metrics": {"token"},
    "motet-kafka": {"username", "password", "ca.crt"},
}


@pytest.fixture
def spec_of(tmp_path):
    """The pipeline of a folder, with its secrets at another place."""

    def loaded(folder: str) -> Any:
        text = pipeline_file(folder).replace("/run/secrets", str(tmp_path))
        for secret, keys in (("metrics", ["token"]), ("kafka", ["username", "password"])):
            (tmp_path / secret).mkdir(exist_ok=True)
            for key in keys:
                (tmp_path / secret / key).write_text(f"{secret} {key}")
        (tmp_path / "lobby.yaml").write_text(text)
        env = {} if folder == "backfill" else plain_environment(folder)
        return load(tmp_path / "lobby.yaml", environ=env)

    return loaded


@pytest.mark.parametrize("folder", [*ALL, "backfill"])
def test_the_pipeline_is_valid_and_asks_for_a_token(spec_of, folder):
    spec = spec_of(folder)
    assert (spec.metrics.host, spec.metrics.port) == ("0.0.0.0", 9464)
    assert str(spec.metrics.token) == "metrics token"
    assert spec.ray.autoscaler is (folder == "overlays/autoscale")
    secure = folder != "overlays/dev"
    assert (spec.kafka.client.get("security_protocol") == "SASL_SSL") is secure


@pytest.mark.parametrize("folder", [*ALL, "backfill"])
def test_secrets_and_config_maps_that_are_named_are_there(folder):
    objects = objects_of(folder)
    made = {one["metadata"]["name"]: one for one in objects if one["kind"] == "ConfigMap"}
    text = json.dumps(objects)
    used = set()

    def look(node: Any) -> None:
        if isinstance(node, dict):
            if "secretKeyRef" in node:
                name, key = node["secretKeyRef"]["name"], node["secretKeyRef"]["key"]
                assert key in SECRETS[name]
            if "secretName" in node:
                used.add(node["secretName"])
                assert {item["key"] for item in node.get("items", [])} <= SECRETS[
                    node["secretName"]
                ]
                assert node["defaultMode"] == 0o440  # for the group of the pod
            if "configMap" in node:
                assert node["configMap"]["name"] in made
            for inner in node.values():
                look(inner)
        elif isinstance(node, list):
            for inner in node:
                look(inner)

    look(objects)
    assert "motet-metrics" in used
    assert ("motet-kafka" in used) is (folder != "overlays/dev")
    for path in ("/run/secrets/metrics/token", "/run/secrets/kafka/ca.crt"):
        if path in pipeline_file(folder):
            assert f'"mountPath": "{Path(path).parent}"' in text


def test_the_page_says_how_the_secrets_are_made():
    page = (DEPLOY.parent / "docs" / "DEPLOY.md").read_text().replace("\\\n", "")
    for name in ("motet-metrics", "motet-kafka"):
        [line] = re.findall(rf"create secret generic {name} (.*)", page)
        made = re.findall(r"--from-(?:literal|file)=([\w.]+)", line)
        assert set(made) == SECRETS[name]


@pytest.mark.parametrize("folder", ["overlays/cpu", "overlays/gpu", "backfill"])
def test_every_worker_can_read_the_certificate_of_the_brokers(spec_of, folder):
    kind, name = ("RayJob", "motet-backfill") if folder == "backfill" else ("RayCluster", "motet")
    cluster = of(folder, kind, name)["spec"]
    for group in cluster.get("rayClusterSpec", cluster)["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        mounts = {m["mountPath"]: m["name"] for m in pod["containers"][0]["volumeMounts"]}
        [volume] = [one for one in pod["volumes"] if one["name"] == mounts["/run/secrets/kafka"]]
        # and nothing more: what is secret comes from the driver
        assert volume["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    assert spec_of(folder).kafka.client["ssl_cafile"].endswith("/kafka/ca.crt")


@pytest.mark.parametrize("folder", ALL)
def test_the_driver_joins_the_cluster_and_ends_in_its_own_time(folder):
    deployment = of(folder, "Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    pod, container = driver(folder)
    # A drain ends within 20 s (docs/LIMITS.md), and kubelet kills nobody before.
    assert pod["terminationGracePeriodSeconds"] >= 30
    assert pod["shareProcessNamespace"] is True
    env = {one["name"]: one for one in container["env"]}
    cluster = of(folder, "RayCluster")["metadata"]["name"]
    assert env["RAY_ADDRESS"]["value"] == f"{cluster}-head-svc:6379"
    token = env["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert token == {"name": cluster, "key": "auth_token"}


def parsed(line: list[str]) -> dict[str, Any]:
    """What a command of motet or Ray takes its arguments for."""
    program, *arguments = line
    command: Any = command_line()
    if program == "ray":
        import ray.scripts.scripts

        command = ray.scripts.scripts.cli
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    with command.make_context(program, arguments) as context:
        return dict(context.params)


@pytest.mark.parametrize("folder", ALL)
def test_the_commands_of_driver_and_groups_parse(folder):
    _, container = driver(folder)
    shell, flag, script = container["command"]
    assert (shell, flag) == ("sh", "-c")
    until, do, done, run = (part.strip() for part in script.split(";"))
    assert (do, done) == ("do sleep 3", "done")
    asked = parsed(until.removeprefix("until ").split())
    assert (asked["num_cpus"], asked["num_gpus"]) == (0, 0)
    assert asked["address"] == '"$RAY_ADDRESS"'
    asked = parsed(run.removeprefix("exec ").split())
    [file] = [value for value in asked.values() if isinstance(value, Path)]
    mounts = {m["mountPath"]: m for m in container["volumeMounts"]}
    assert mounts[str(file)]["subPath"] == file.name
    assert f"install -d {file.parent}" in DOCKERFILE
    cluster = of(folder, "RayCluster")["spec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        flags = [f"--{key}={value}" for key, value in group["rayStartParams"].items()]
        assert parsed(["ray", "start", *flags])


def test_the_commands_of_jobs_parse():
    job = of("backfill", "RayJob", "motet-backfill")["spec"]
    assert parsed(job["entrypoint"].split())["until_end"] is True
    assert job["backoffLimit"] > 0
    assert job["shutdownAfterJobFinishes"] is True
    topics = of("overlays/dev", "Job", "motet-topics")["spec"]["template"]["spec"]
    [file] = [v for v in parsed(topics["containers"][0]["command"]).values() if isinstance(v, Path)]
    assert str(file) == topics["containers"][0]["volumeMounts"][1]["mountPath"]


@pytest.mark.parametrize("folder", ALL)
def test_ports_and_probes_are_where_the_run_and_ray_answer(spec_of, folder):
    from ray._private.ray_constants import DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
    from ray.dashboard.http_server_agent import PUBLIC_EXACT_PATHS

    port = spec_of(folder).metrics.port
    _, container = driver(folder)
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert ports["http"] == port
    assert "--metrics-export-port=8080" in container["command"][2]
    assert ports["ray-metrics"] == 8080
    [service] = of(folder, "Service")["spec"]["ports"]
    assert (service["port"], service["targetPort"]) == (port, "http")
    probes = {kind: container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")}
    asked = {kind: probe["exec"]["command"] for kind, probe in probes.items()}
    health, ready = ["motet-probe", "/healthz"], ["motet-probe", "/readyz"]
    assert asked == {"startup": health, "liveness": health, "readiness": ready}
    assert "deploy/probe.py /usr/local/bin/motet-probe" in DOCKERFILE
    assert all(probe["timeoutSeconds"] > 4 for probe in probes.values())  # its own
    cluster = of(folder, "RayCluster")["spec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        own = group["template"]["spec"]["containers"][0]
        for kind in ("readiness", "liveness"):
            asked_of = own[f"{kind}Probe"]["httpGet"]
            assert asked_of["port"] == DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
            assert asked_of["path"] in PUBLIC_EXACT_PATHS


@pytest.mark.parametrize("folder", [*ALL, "backfill"])
def test_a_worker_leaves_before_it_is_ended(folder):
    assert "deploy/leave.sh /usr/local/bin/motet-leave" in DOCKERFILE
    kind, name = ("RayJob", "motet-backfill") if folder == "backfill" else ("RayCluster", "motet")
    cluster = of(folder, kind, name)["spec"]
    for group in cluster.get("rayClusterSpec", cluster)["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        hook = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert hook[0] == "motet-leave"
        assert pod["terminationGracePeriodSeconds"] >= int(hook[1]) + 30


def test_a_worker_without_a_node_of_ray_is_not_held_up():
    """Processes of this machine may have one: an empty folder stands for /proc."""
    script = (DEPLOY / "leave.sh").read_text().replace("/proc/[0-9]*", "/nonexistent/[0-9]*")
    done = subprocess.run(
        ["sh", "-c", script, "motet-leave", "120"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr == "motet-leave: there is no Ray node here\n"


def test_the_cluster_of_a_backfill_is_like_the_live_one():
    job = of("backfill", "RayJob", "motet-backfill")["spec"]["rayClusterSpec"]
    live = of("overlays/cpu", "RayCluster")["spec"]
    head, own = live["headGroupSpec"]["template"]["spec"], job["headGroupSpec"]["template"]["spec"]
    assert own["securityContext"] == head["securityContext"]
    for key in ("securityContext", "readinessProbe", "livenessProbe"):
        assert own["containers"][0][key] == head["containers"][0][key]
    [group], [worker] = job["workerGroupSpecs"], live["workerGroupSpecs"]
    spread = {"topologySpreadConstraints"}
    assert {k: v for k, v in group["template"]["spec"].items() if k not in spread} == {
        k: v for k, v in worker["template"]["spec"].items() if k not in spread
    }
    assert group["rayStartParams"] == worker["rayStartParams"]


def test_the_operator_scrapes_as_the_alerts_and_the_dashboard_name_it():
    for folder in ("overlays/cpu", "overlays/gpu"):
        _, container = driver(folder)
        known = {one["name"] for one in container["ports"]}
        for name in ("motet", "ray"):
            monitor = of(folder, "PodMonitor", name)["spec"]
            [endpoint] = monitor["podMetricsEndpoints"]
            assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": name}]
            labels = of(folder, "Deployment")["spec"]["template"]["metadata"]["labels"]
            assert monitor["selector"]["matchLabels"].items() <= labels.items()
            assert endpoint.get("port", "http") in known


def test_the_rules_of_prometheus_are_made_objects_of_its_operator():
    script = DEPLOY / "kuberay" / "prometheus-rules.sh"
    done = subprocess.run(
        ["sh", str(script)], capture_output=True, text=True, timeout=30, check=True
    )
    made = [one for one in yaml.safe_load_all(done.stdout) if one]
    for one, name in zip(made, ("recording", "alerts"), strict=True):
        assert wrong_in(one) == []
        assert one["metadata"]["name"] == f"motet-{name}"
        assert one["spec"] == yaml.safe_load((DEPLOY / f"{name}.yml").read_text())
