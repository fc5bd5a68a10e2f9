"""deploy/kuberay, built: valid, confined as `restricted` demands, at one with image and code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from deploy_files import DEPLOY, ROOT, environment_of_the_image
from kube_schemas import wrong_in
from kustomized import built

from pipeline import __version__
from pipeline.spec.units import parse_size

BUILT = {
    folder: built(DEPLOY / "kuberay" / folder)
    for folder in (
        "overlays/cpu",
        "overlays/gpu",
        "overlays/dev",
        "overlays/autoscale",
        "backfill",
    )
}
OBJECTS = [
    pytest.param(one, id=f"{folder}-{one['kind']}-{one['metadata']['name']}")
    for folder, objects in BUILT.items()
    for one in objects
]
SIZES = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def size(text: str) -> int:
    """Bytes of `512Mi`."""
    return int(text[:-2]) * SIZES[text[-2:]]


def templates(one: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod template in an object, with the name of what it is for."""
    if one["kind"] in ("Deployment", "StatefulSet", "Job"):
        yield one["metadata"]["name"], one["spec"]["template"]
    if one["kind"] == "RayJob":
        yield "submitter", one["spec"]["submitterPodTemplate"]
    for group in groups(one):
        yield group.get("groupName", "head"), group["template"]


def groups(one: dict[str, Any]) -> list[dict[str, Any]]:
    if one["kind"] not in ("RayCluster", "RayJob"):
        return []
    spec = one["spec"].get("rayClusterSpec", one["spec"])
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


PODS = [
    pytest.param(template, id=f"{folder}-{one['kind']}-{name}")
    for folder, objects in BUILT.items()
    for one in objects
    for name, template in templates(one)
]
GROUPS = [
    pytest.param(group, id=f"{folder}-{group.get('groupName', 'head')}")
    for folder, objects in BUILT.items()
    for one in objects
    for group in groups(one)
]


@pytest.mark.parametrize("one", OBJECTS)
def test_it_is_what_kubernetes_and_the_operators_take(one):
    assert wrong_in(one) == []
    assert one["kind"] == "Namespace" or one["metadata"]["namespace"] == "motet"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("RayCluster", lambda one: one["spec"].update(rayVersoin="2.60.0")),
        ("RayCluster", lambda one: one["spec"]["headGroupSpec"].pop("template")),
        ("RayCluster", lambda one: one["spec"]["workerGroupSpecs"][0].update(replicas="two")),
        (
            "RayCluster",
            lambda one: one["spec"]["headGroupSpec"]["template"]["spec"].update(hostnetwork=True),
        ),
        ("Deployment", lambda one: one["spec"]["strategy"].update(typ="Recreate")),
        ("NetworkPolicy", lambda one: one["spec"].update(egres=[])),
        ("PodMonitor", lambda one: one["spec"]["podMetricsEndpoints"][0].update(ports="http")),
    ],
)
def test_a_slip_is_seen(kind, change):
    [one, *_] = [o for o in built(DEPLOY / "kuberay/overlays/cpu") if o["kind"] == kind]
    change(one)
    assert wrong_in(one)


@pytest.mark.parametrize("template", PODS)
def test_a_pod_is_confined_as_restricted_demands(template):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards, restricted; and more."""
    spec = template["spec"]
    pod = spec["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] > 0
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & spec.keys()
    for volume in spec["volumes"]:
        [kind] = volume.keys() - {"name"}
        assert kind in ("emptyDir", "configMap", "secret")
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert not {"privileged", "runAsUser", "runAsNonRoot", "procMount"} & own.keys()
        assert own.get("readOnlyRootFilesystem", False) or container["name"] == "kafka"
        assert not any("hostPort" in port for port in container.get("ports", []))
    # Nothing asks Kubernetes anything, but the autoscaler beside a head.
    asks = spec["serviceAccountName"] == "motet-autoscaler"
    assert spec["automountServiceAccountToken"] is asks
    assert asks or spec["serviceAccountName"] == "motet"


def test_the_autoscaler_is_there_where_asked_for_and_confined_too():
    for folder, objects in BUILT.items():
        [cluster] = [one["spec"] for one in objects if groups(one)]
        asked = folder == "overlays/autoscale"
        assert cluster.get("enableInTreeAutoscaling", False) is asked
        head, *workers = [g for one in objects for g in groups(one)]
        account = head["template"]["spec"]["serviceAccountName"]
        assert (account == "motet-autoscaler") is asked
        accounts = {o["metadata"]["name"] for o in objects if o["kind"] == "ServiceAccount"}
        assert account in accounts or folder == "backfill"  # which stands beside an overlay
        if asked:
            options = cluster["autoscalerOptions"]
            container = head["template"]["spec"]["containers"][0]
            assert options["securityContext"] == container["securityContext"]
            assert options["volumeMounts"] == container["volumeMounts"][:1]
            asked_for, limits = options["resources"]["requests"], options["resources"]["limits"]
            assert asked_for["memory"] == limits["memory"]
            # Its version 2 wants pods that are not restarted in place (validation.go).
            for group in (head, *workers):
                assert "restartPolicy" not in group["template"]["spec"]


def test_the_namespace_admits_restricted_pods_alone():
    for folder in ("overlays/cpu", "overlays/gpu", "overlays/dev"):
        [namespace] = [one for one in BUILT[folder] if one["kind"] == "Namespace"]
        labels = namespace["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("template", PODS)
def test_memory_and_disk_are_bounded_and_what_is_written_fits_in(template):
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    for container in template["spec"]["containers"]:
        asked, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert asked["memory"] == limits["memory"]
        assert asked["ephemeral-storage"] == limits["ephemeral-storage"]
        assert {"cpu", "memory", "ephemeral-storage"} <= limits.keys()
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert {mount["name"] for mount in mounts.values()} <= volumes.keys()
        on_disk = 0
        for mount in mounts.values():
            volume = volumes[mount["name"]]
            if "emptyDir" not in volume:
                assert mount["readOnly"] is True
            elif volume["emptyDir"].get("medium") != "Memory":
                on_disk += size(volume["emptyDir"]["sizeLimit"])
        assert on_disk < size(limits["ephemeral-storage"])
        if container["name"] != "kafka":
            assert "emptyDir" in volumes[mounts["/tmp"]["name"]]


@pytest.mark.parametrize("group", GROUPS)
def test_the_object_store_fits_into_shared_memory_and_that_into_the_pod(group):
    """Else Ray keeps objects on the disk, or kubelet ends the pod when they fill up."""
    spec = group["template"]["spec"]
    [volume] = [one for one in spec["volumes"] if one["name"] == "shm"]
    shared = size(volume["emptyDir"]["sizeLimit"])
    assert volume["emptyDir"]["medium"] == "Memory"
    assert int(group["rayStartParams"]["object-store-memory"]) <= 0.95 * shared
    assert 4 * shared <= size(spec["containers"][0]["resources"]["limits"]["memory"]) * 1.001
    mounts = {m["mountPath"]: m["name"] for m in spec["containers"][0]["volumeMounts"]}
    assert mounts["/dev/shm"] == "shm"


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_as_kuberay_demands(group):
    """What the operator refuses beyond its schema (validation.go), and what the head is for."""
    if "groupName" not in group:
        assert group["rayStartParams"]["num-cpus"] == "0"
    else:
        assert 0 < group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert "num-gpus" not in group["rayStartParams"]  # by the container's limit
    assert "labels" not in group["rayStartParams"]
    assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    memory = group.get("labels", {}).get("motet/gpu-memory")
    assert memory is None or parse_size(memory)


def locked(package: str) -> str:
    lock = (ROOT / "requirements-models.lock").read_text()
    [found] = re.findall(rf"^{package}(?:\[\w+\])?==(\S+)", lock, re.MULTILINE)
    return str(found)


def test_ray_is_that_of_the_image_and_wants_a_token():
    clusters = [
        one["spec"].get("rayClusterSpec", one["spec"])
        for objects in BUILT.values()
        for one in objects
        if groups(one)
    ]
    assert len(clusters) == len(BUILT)
    for spec in clusters:
        assert spec["rayVersion"] == locked("ray")
        assert spec["authOptions"] == {"mode": "token"}


def test_images_are_pinned_and_of_this_version():
    for objects in BUILT.values():
        for one in objects:
            for _, template in templates(one):
                for container in template["spec"]["containers"]:
                    name, _, tag = container["image"].rpartition(":")
                    if container["name"] == "kafka":
                        compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
                        assert container["image"] == compose["services"]["kafka"]["image"]
                    else:
                        assert name.rpartition("/")[2] == "motet"
                        assert tag.removesuffix("-cuda") == __version__
    cuda = {"motet:" + __version__ + "-cuda"}
    for group in [g for one in BUILT["overlays/gpu"] for g in groups(one)]:
        image = group["template"]["spec"]["containers"][0]["image"]
        assert {image.rpartition("/")[2]} == cuda


def test_a_node_with_a_gpu_is_asked_for_where_the_group_says_so():
    [cluster] = [one for one in BUILT["overlays/gpu"] if one["kind"] == "RayCluster"]
    [_, _, gpu] = groups(cluster)
    spec = gpu["template"]["spec"]
    limits = spec["containers"][0]["resources"]
    assert limits["limits"]["nvidia.com/gpu"] == limits["requests"]["nvidia.com/gpu"] == 1
    assert spec["nodeSelector"]
    assert [one["key"] for one in spec["tolerations"]] == ["nvidia.com/gpu"]


def test_variables_are_those_that_the_code_or_ray_reads():
    code = "\n".join(
        path.read_text() for room in ("pipeline", "actors") for path in (ROOT / room).rglob("*.py")
    )
    probe = (DEPLOY / "probe.py").read_text()
    image = environment_of_the_image()
    for objects in BUILT.values():
        files = "".join(text for one in objects for text in one.get("data", {}).values())
        for one in objects:
            for name, template in templates(one):
                for container in template["spec"]["containers"]:
                    if name == "kafka":
                        continue
                    for variable in (env["name"] for env in container.get("env", [])):
                        of_ray = variable in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ADDRESS")
                        ours = f'"{variable}"' in code + probe or f"${{{variable}" in files
                        assert of_ray or ours, variable
                        assert variable not in image
