"""deploy/kuberay: who may speak with whom, and who stays when machines are emptied."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from deploy_objects import ALL, objects_of, of, pipeline_file


@pytest.mark.parametrize("folder", ALL)
def test_all_workers_but_one_stay_when_machines_are_emptied(folder):
    budget = of(folder, "PodDisruptionBudget", "motet-workers")["spec"]
    cluster = of(folder, "RayCluster")
    replicas = sum(group["minReplicas"] for group in cluster["spec"]["workerGroupSpecs"])
    # A budget for pods of a custom resource takes this number and no share.
    assert budget.keys() == {"minAvailable", "selector"}
    assert budget["minAvailable"] == replicas - 1
    labels = {"ray.io/cluster": cluster["metadata"]["name"], "ray.io/node-type": "worker"}
    assert budget["selector"]["matchLabels"] == labels


def allowed(folder: str, direction: str, labels: dict[str, str]) -> list[dict[str, Any]]:
    """The rules of all policies that hold for a pod with these labels."""
    rules = []
    for one in objects_of(folder):
        if one["kind"] == "NetworkPolicy" and _chosen(one["spec"]["podSelector"], labels):
            assert direction not in one["spec"] or direction.title() in one["spec"]["policyTypes"]
            rules += one["spec"].get(direction, [])
    return rules


def _chosen(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    for asked in selector.get("matchExpressions", []):
        assert asked["operator"] == "NotIn"
        if labels.get(asked["key"]) in asked["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


@pytest.mark.parametrize("folder", ALL)
def test_what_is_not_named_may_not_pass(folder):
    deny = of(folder, "NetworkPolicy", "default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    node = of(folder, "Deployment")["spec"]["template"]["metadata"]["labels"]
    cluster = of(folder, "RayCluster")["spec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        assert group["template"]["metadata"]["labels"].items() <= node.items()
    incoming = allowed(folder, "ingress", node)
    among = [{"podSelector": {"matchLabels": {"motet/ray-node": "true"}}}]
    assert {"from": among} in incoming  # Ray's ports are of its own choice
    for rule in incoming:
        if rule["from"] != among:
            [peer] = rule["from"]
            assert set(peer) == {"namespaceSelector"}
            assert sorted(one["port"] for one in rule["ports"]) == [8080, 9464]
    outgoing = allowed(folder, "egress", node)
    ports = {one["port"] for rule in outgoing for one in rule.get("ports", [])}
    kafka = int(yaml.safe_load(pipeline_file(folder))["kafka"]["bootstrap"].rpartition(":")[2])
    assert ports == {53, kafka}
    assert all(rule["to"] for rule in outgoing)
